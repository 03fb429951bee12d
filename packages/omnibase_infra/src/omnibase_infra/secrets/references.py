"""Puts secrets where settings refer to them as `${secret.NAME}`."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from omnibase_core.contracts.secrets import EXPECTED_REFERENCE, reference_of, references_in
from omnibase_core.errors import OnexError, SecretMissing
from omnibase_infra.secrets.current import oddity_of
from omnibase_spi import SecretResolver


class MalformedSecretReference(OnexError):
    """Text that means a secret and is no reference to one. The message gives places and never the text itself."""

    code = "malformed_secret_reference"


class SecretUnfit(OnexError):
    """A secret whose value cannot stand where it is referred to. The message gives places and never the value."""

    code = "secret_unfit"


Model = TypeVar("Model", bound=BaseModel)


def secrets_of(settings: BaseModel) -> frozenset[str]:
    """Give the names of the secrets that settings refer to."""
    return frozenset(name for _, name in references_in(_written(settings)) if name)


def resolved(settings: Model, secrets: SecretResolver) -> Model:
    """Give a host's settings with every secret reference replaced.

    Raises SecretUnfit where the settings refuse a value, and what `resolve_secrets` does.
    """
    tree = resolve_secrets(settings.model_dump(exclude_unset=True), secrets)
    try:
        return settings.model_validate(tree)
    except ValidationError as error:
        places = [".".join(map(str, it["loc"])) or "value" for it in error.errors(include_input=False)]
        odd = {name: oddity_of(secrets.resolve(name)) for name in sorted(secrets_of(settings))}
        why = "".join(f"; secret {name}: {oddity}" for name, oddity in odd.items() if oddity is not None)
        # Not chained: what refuses a value likes to repeat it.
        raise SecretUnfit(f"{', '.join(places)}: the value of the secret cannot stand here{why}") from None


def resolve_secrets(tree: Any, secrets: SecretResolver) -> Any:
    """Give a copy of a JSON-like tree in which each string `${secret.NAME}` is replaced by its secret.

    Raises MalformedSecretReference or SecretMissing, with every such fault of the tree.
    """
    malformed = [at for at, name in references_in(_revealed(tree)) if name is None]
    if malformed:
        places = ", ".join(".".join(map(str, at)) or "value" for at in malformed)
        raise MalformedSecretReference(f"{places}: {EXPECTED_REFERENCE}")
    missing: list[SecretMissing] = []
    found = _resolved(tree, secrets, missing)
    if missing:
        raise SecretMissing("\n".join(dict.fromkeys(map(str, missing)))) from missing[0]
    return found


def _written(settings: BaseModel) -> Any:
    return _revealed(settings.model_dump(exclude_unset=True))


def _revealed(tree: Any) -> Any:
    """Give a tree with its SecretStr as text: before it is resolved, what they hold is a reference."""
    if isinstance(tree, Mapping):
        return {key: _revealed(child) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        return [_revealed(child) for child in tree]
    return tree.get_secret_value() if isinstance(tree, SecretStr) else tree


def _resolved(tree: Any, secrets: SecretResolver, missing: list[SecretMissing]) -> Any:
    if isinstance(tree, Mapping):
        return {key: _resolved(child, secrets, missing) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        children = [_resolved(child, secrets, missing) for child in tree]
        return tuple(children) if isinstance(tree, tuple) else children
    if isinstance(tree, SecretStr):
        return SecretStr(_resolved(tree.get_secret_value(), secrets, missing))
    if isinstance(tree, str) and (name := reference_of(tree)):
        try:
            return secrets.resolve(name)
        except SecretMissing as error:
            missing.append(error)
    return tree
