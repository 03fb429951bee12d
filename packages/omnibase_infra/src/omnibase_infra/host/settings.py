"""What the environment says of a host: its settings and its secrets. The only reader of `os.environ`."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

from omnibase_core.contracts.secrets import EnvironmentSecret, FileSecret, SecretSource, VaultSecret
from omnibase_core.errors import OnexError, SecretMissing

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

_LOG_LEVEL = "RUNTIME_HOST_LOG_LEVEL"
_LOG_FORMAT = "RUNTIME_HOST_LOG_FORMAT"
_STATE_DIR = "RUNTIME_HOST_STATE_DIR"
# Without PYTHONPATH: a worker is told the host's whole path, and a sitecustomize on it, such as that of OpenTelemetry's
# command, would be run in each worker.
_OF_WORKERS = re.compile(
    r"PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ|TZDIR|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|VIRTUAL_ENV|(?!PYTHONPATH)PYTHON[A-Z0-9]+"
    r"|(OMP|OPENBLAS|MKL)_NUM_THREADS"
)
_SECRET = "ONEX_SECRET_"  # noqa: S105 - where secrets are looked for, and none itself


class InvalidSetting(OnexError):
    """A variable of the environment with a value that it cannot have."""

    code = "invalid_setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is set for a process, and not for a host.

    `state_dir` is where running hosts say that they run; None where nothing names a place, not even HOME.
    """

    log_level: LogLevel
    log_format: LogFormat
    state_dir: Path | None


def process_settings() -> Settings:
    """Read the settings of this process. Raises InvalidSetting."""
    return read_settings(os.environ)


def process_state_dir() -> Path:
    """Return where running hosts say that they run. Raises InvalidSetting where there is no place for it."""
    if (state_dir := process_settings().state_dir) is None:
        raise InvalidSetting(f"HOME is not set, so there is no place for state; expected {_STATE_DIR} to name a folder")
    return state_dir


def worker_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what worker processes get of the environment: what an interpreter heeds, and nothing that is a secret."""
    return {name: value for name, value in environ.items() if _OF_WORKERS.fullmatch(name)}


def process_secrets(sources: Mapping[str, SecretSource]) -> "EnvironmentSecrets":
    """Return the secrets of a host contract, and of this process."""
    return EnvironmentSecrets(os.environ, sources)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings; an empty variable counts as none. Raises InvalidSetting."""
    return Settings(
        log_level=_choice(environ, _LOG_LEVEL, get_args(LogLevel), default="info"),
        log_format=_choice(environ, _LOG_FORMAT, get_args(LogFormat), default="auto"),
        state_dir=_state_dir(environ),
    )


class EnvironmentSecrets:
    """Secrets from variables and files, each read at the time when it is asked for. A SecretResolver.

    The secret NAME is where the host contract's `secrets` says. One that is not listed there is the value of
    `ONEX_SECRET_NAME`, or else what the file named by `ONEX_SECRET_NAME_FILE` holds, as Docker and Kubernetes mount
    them. A file's content counts less one newline at its end. What is in Vault a host reads itself; for others it is
    looked for in the environment.
    """

    def __init__(self, environ: Mapping[str, str], sources: Mapping[str, SecretSource] | None = None) -> None:
        """Look in these variables, and where the sources say."""
        self._environ = environ
        self._sources = sources or {}

    def resolve(self, name: str, /) -> str:
        """Return the secret. Raises SecretMissing, which says what to set."""
        match self._sources.get(name):
            case EnvironmentSecret(env=variable):
                if value := self._environ.get(variable):
                    return value
                raise SecretMissing(f"secret {name} is not there: set {variable} to its value (secrets.{name}.env)")
            case FileSecret(file=path):
                return _content(Path(path), named_by=f"secrets.{name}.file")
            case VaultSecret():
                return self._in_place_of_vault(name)
        return self._of_process(name)

    def _in_place_of_vault(self, name: str) -> str:
        """Return what the environment has: who asks here is no host, and has no session with Vault."""
        try:
            return self._of_process(name)
        except SecretMissing as error:
            raise SecretMissing(f"{error} (secrets.{name}.vault is for hosts alone)") from None

    def _of_process(self, name: str) -> str:
        variable = _SECRET + name
        if value := self._environ.get(variable):
            return value
        if path := self._environ.get(f"{variable}_FILE"):
            return _content(Path(path), named_by=f"{variable}_FILE")
        raise SecretMissing(
            f"secret {name} is not there: set {variable} to its value, or {variable}_FILE to a file that holds it"
        )


Choice = TypeVar("Choice", bound=str)


def _choice(environ: Mapping[str, str], variable: str, choices: tuple[Choice, ...], *, default: Choice) -> Choice:
    found = environ.get(variable) or default
    for choice in choices:
        if found.lower() == choice:
            return choice
    raise InvalidSetting(f"{variable} is {found!r}; expected one of: {', '.join(choices)}")


def _state_dir(environ: Mapping[str, str]) -> Path | None:
    if given := environ.get(_STATE_DIR):
        return _absolute(given, _STATE_DIR)
    # The XDG Base Directory Specification wants a relative path to be ignored.
    if (shared := Path(environ.get("XDG_STATE_HOME", ""))).is_absolute():
        return shared / "runtime-host"
    if home := environ.get("HOME"):
        return _absolute(home, "HOME") / ".local" / "state" / "runtime-host"
    return None


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
