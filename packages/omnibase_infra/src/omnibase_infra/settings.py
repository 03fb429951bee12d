"""What the environment says of a host: its settings and its secrets. The only reader of `os.environ`."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, SecretStr

from omnibase_core.errors import OnexError, SecretMissing
from omnibase_spi import SecretResolver

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

_LOG_LEVEL = "RUNTIME_HOST_LOG_LEVEL"
_LOG_FORMAT = "RUNTIME_HOST_LOG_FORMAT"
_STATE_DIR = "RUNTIME_HOST_STATE_DIR"
_SECRET = "ONEX_SECRET_"  # noqa: S105 - where secrets are looked for, and none itself

_REFERENCE = re.compile(r"\$\{secret\.(?P<name>[A-Z][A-Z0-9_]*)\}")
_MEANT_AS_REFERENCE = re.compile(r"\$\{\s*secret")


class InvalidSetting(OnexError):
    """A variable of the environment with a value that it cannot have."""

    code = "invalid_setting"


class MalformedSecretReference(OnexError):
    """Text that means a secret and is no reference to one. The message gives places and never the text itself."""

    code = "malformed_secret_reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is set for a process, and not for a host. `state_dir` is where running hosts say that they run."""

    log_level: LogLevel
    log_format: LogFormat
    state_dir: Path


def process_settings() -> Settings:
    """Read the settings of this process. Raises InvalidSetting."""
    return read_settings(os.environ)


def process_secrets() -> "EnvironmentSecrets":
    """Give the secrets of this process."""
    return EnvironmentSecrets(os.environ)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings; an empty variable counts as none. Raises InvalidSetting."""
    return Settings(
        log_level=_choice(environ, _LOG_LEVEL, get_args(LogLevel), default="info"),
        log_format=_choice(environ, _LOG_FORMAT, get_args(LogFormat), default="auto"),
        state_dir=_state_dir(environ),
    )


class EnvironmentSecrets:
    """Secrets from variables, or from the files that variables name, as Docker and Kubernetes mount them.

    The secret NAME is the value of `ONEX_SECRET_NAME`, or else what the file named by `ONEX_SECRET_NAME_FILE` holds,
    less one newline at its end. A SecretResolver.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Look in these variables, at the time when a secret is asked for."""
        self._environ = environ

    def resolve(self, name: str, /) -> str:
        """Give the secret. Raises SecretMissing, which says what to set."""
        variable = _SECRET + name
        if value := self._environ.get(variable):
            return value
        if path := self._environ.get(f"{variable}_FILE"):
            return _content(Path(path), named_by=f"{variable}_FILE")
        raise SecretMissing(
            f"secret {name} is not there: set {variable} to its value, or {variable}_FILE to a file that holds it"
        )


def resolve_secrets(tree: Any, secrets: SecretResolver) -> Any:
    """Give a copy of a JSON-like tree in which each string `${secret.NAME}` is replaced by its secret.

    Raises MalformedSecretReference or SecretMissing, with every such fault of the tree.
    """
    if malformed := list(_malformed(tree, ())):
        places = ", ".join(malformed)
        raise MalformedSecretReference(
            f"{places}: expected the whole value to be ${{secret.NAME}}, with NAME of A-Z, 0-9 and _"
        )
    missing: list[SecretMissing] = []
    resolved = _resolved(tree, secrets, missing)
    if missing:
        raise SecretMissing("\n".join(dict.fromkeys(map(str, missing)))) from missing[0]
    return resolved


Model = TypeVar("Model", bound=BaseModel)


def resolved(settings: Model, secrets: SecretResolver) -> Model:
    """Give a host's settings with every secret reference replaced. Raises as `resolve_secrets` does."""
    return settings.model_validate(resolve_secrets(settings.model_dump(exclude_unset=True), secrets))


Choice = TypeVar("Choice", bound=str)


def _choice(environ: Mapping[str, str], variable: str, choices: tuple[Choice, ...], *, default: Choice) -> Choice:
    found = environ.get(variable) or default
    for choice in choices:
        if found.lower() == choice:
            return choice
    raise InvalidSetting(f"{variable} is {found!r}; expected one of: {', '.join(choices)}")


def _state_dir(environ: Mapping[str, str]) -> Path:
    if given := environ.get(_STATE_DIR):
        return _absolute(given, _STATE_DIR)
    # The XDG Base Directory Specification wants a relative path to be ignored.
    if (shared := Path(environ.get("XDG_STATE_HOME", ""))).is_absolute():
        return shared / "runtime-host"
    if home := environ.get("HOME"):
        return _absolute(home, "HOME") / ".local" / "state" / "runtime-host"
    raise InvalidSetting(f"HOME is not set, so there is no place for state; expected {_STATE_DIR} to name a folder")


def _absolute(found: str, variable: str) -> Path:
    path = Path(found)
    if not path.is_absolute():
        raise InvalidSetting(f"{variable} is {found!r}; expected an absolute path")
    return path


def _content(path: Path, *, named_by: str) -> str:
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8 text"
        # Not chained: that error holds the path or the content, and either may be the secret itself.
        raise SecretMissing(f"the file that {named_by} names cannot be read: {reason}") from None
    if not (secret := re.sub(r"\r?\n\Z", "", text)):
        raise SecretMissing(f"the file that {named_by} names is empty; expected it to hold the secret")
    return secret


def _malformed(tree: Any, place: tuple[str, ...]) -> Iterator[str]:
    for key, child in _children(tree):
        yield from _malformed(child, (*place, str(key)))
    if isinstance(tree, SecretStr):
        tree = tree.get_secret_value()
    if isinstance(tree, str) and _MEANT_AS_REFERENCE.search(tree) and not _REFERENCE.fullmatch(tree):
        yield ".".join(place) or "value"


def _children(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, Mapping):
        yield from tree.items()
    elif isinstance(tree, list | tuple):
        yield from enumerate(tree)


def _resolved(tree: Any, secrets: SecretResolver, missing: list[SecretMissing]) -> Any:
    if isinstance(tree, Mapping):
        return {key: _resolved(child, secrets, missing) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        children = [_resolved(child, secrets, missing) for child in tree]
        return tuple(children) if isinstance(tree, tuple) else children
    if isinstance(tree, SecretStr):
        return SecretStr(_resolved(tree.get_secret_value(), secrets, missing))
    if isinstance(tree, str) and (reference := _REFERENCE.fullmatch(tree)):
        try:
            return secrets.resolve(reference["name"])
        except SecretMissing as error:
            missing.append(error)
    return tree
