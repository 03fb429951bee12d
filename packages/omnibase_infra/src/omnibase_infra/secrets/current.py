"""The values of a host's secrets, as they were last read, put where settings refer to them as `${secret.NAME}`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from omnibase_core.contracts.secrets import EXPECTED_REFERENCE, reference_of, references_in
from omnibase_core.errors import OnexError, SecretMissing
from omnibase_core.ports import Observer
from omnibase_infra.secrets.redaction import Redactor
from omnibase_spi import SecretResolver

Reading = Mapping[str, str | SecretMissing]
"""What reading has given: a value for each secret, or why there is none."""


class SecretReader(Protocol):
    """Reads secrets where they are kept. A place that is away is a SecretMissing of each secret that is there."""

    async def read(self, names: Sequence[str], /, *, anew: bool) -> Reading:
        """Return each of them as it is now; without `anew`, what was read a moment ago will do."""


class ResolvingReader:
    """Asks a SecretResolver, on a thread of its own: a file may be on a disk that does not answer. A SecretReader."""

    def __init__(self, resolver: SecretResolver) -> None:
        """Ask this one."""
        self._resolver = resolver

    async def read(self, names: Sequence[str], /, *, anew: bool) -> Reading:  # noqa: ARG002 - it always reads anew
        """Return each of them as it is now."""
        return await asyncio.to_thread(self._read, names)

    def _read(self, names: Sequence[str]) -> Reading:
        found: dict[str, str | SecretMissing] = {}
        for name in names:
            try:
                found[name] = self._resolver.resolve(name)
            except SecretMissing as error:
                found[name] = error
        return found


class CurrentSecrets:
    """Gives every secret that was loaded at its last value that could be read. A SecretResolver.

    `faults` says of which secrets the last reading gave no value, and why. What is read, the redactor knows first.
    """

    def __init__(self, reader: SecretReader, redactor: Redactor, *, observer: Observer) -> None:
        """Read nothing yet."""
        self.faults: dict[str, str] = {}
        self._observer = observer
        self._reader = reader
        self._redactor = redactor
        self._values: dict[str, str] = {}

    def resolve(self, name: str, /) -> str:
        """Return the value that was read last. Raises SecretMissing for a secret that was not loaded."""
        if name not in self._values:
            raise SecretMissing(f"secret {name} was not loaded")
        return self._values[name]

    async def load(self, names: Iterable[str]) -> None:
        """Read these for the first time. Raises SecretMissing, with every one that is not there."""
        found = await self._reader.read(sorted(names), anew=True)
        missing = [it for it in found.values() if isinstance(it, SecretMissing)]
        if missing:
            raise SecretMissing("\n".join(dict.fromkeys(map(str, missing)))) from missing[0]
        self._take(found)

    async def refresh(self, *, anew: bool) -> frozenset[str]:
        """Read all of them again, and give the names of those that are new. One without a value keeps its last."""
        found = await self._reader.read(sorted(self._values), anew=anew)
        self.faults = {name: str(it) for name, it in found.items() if isinstance(it, SecretMissing)}
        return self._take(found)

    def _take(self, found: Reading) -> frozenset[str]:
        changed = {
            name: value for name, value in found.items() if isinstance(value, str) and value != self._values.get(name)
        }
        for name, value in changed.items():
            self._redactor.learn(name, value)
            if (oddity := oddity_of(value)) is not None:
                self._observer.event("warning", "secret_suspicious", secret=name, what=oddity)
        self._values |= changed
        return frozenset(changed)


def oddity_of(value: str) -> str | None:
    """Return what of a secret was hardly meant, such as an editor or a shell leaves there; None for most.

    It is used as it is: some passwords end with a blank.
    """
    if value.startswith("\ufeff"):
        return "it begins with a byte order mark; save the file without one"
    if value.strip("\r\n") != value:
        return "it begins or ends with a line end besides the last one of its file; remove it"
    if value.strip() != value:
        return "it begins or ends with a space; remove it unless it is intended"
    return None


class MalformedSecretReference(OnexError):
    """Text that means a secret and is no reference to one. The message gives places and never the text itself."""

    code = "malformed_secret_reference"


class SecretUnfit(OnexError):
    """A secret whose value cannot stand where it is referred to. The message gives places and never the value."""

    code = "secret_unfit"


Model = TypeVar("Model", bound=BaseModel)


def secrets_of(settings: BaseModel) -> frozenset[str]:
    """Return the names of the secrets that settings refer to."""
    return frozenset(name for _, name in references_in(_written(settings)) if name)


def resolved(settings: Model, secrets: SecretResolver) -> Model:
    """Return a host's settings with every secret reference replaced.

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
    """Return a copy of a JSON-like tree in which each string `${secret.NAME}` is replaced by its secret.

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
    """Return a tree with its SecretStr as text: before it is resolved, what they hold is a reference."""
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
