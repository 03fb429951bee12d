"""CurrentSecrets: the values of a host's secrets, as they were last read."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from omnibase_core.errors import SecretMissing
from omnibase_core.ports import Observer
from omnibase_infra.secrets.redaction import Redactor
from omnibase_spi import SecretResolver

Reading = Mapping[str, str | SecretMissing]
"""What reading has given: a value for each secret, or why there is none."""


class SecretReader(Protocol):
    """Reads secrets where they are kept. A place that is away is a SecretMissing of each secret that is there."""

    async def read(self, names: Sequence[str], /, *, anew: bool) -> Reading:
        """Give each of them as it is now; without `anew`, what was read a moment ago will do."""


class ResolvingReader:
    """Asks a SecretResolver, on a thread of its own: a file may be on a disk that does not answer. A SecretReader."""

    def __init__(self, resolver: SecretResolver) -> None:
        """Ask this one."""
        self._resolver = resolver

    async def read(self, names: Sequence[str], /, *, anew: bool) -> Reading:  # noqa: ARG002 - it always reads anew
        """Give each of them as it is now."""
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
        """Give the value that was read last. Raises SecretMissing for a secret that was not loaded."""
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
                self._observer.event("warning", "secret_looks_odd", secret=name, what=oddity)
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
        return "it begins or ends with a blank; remove it unless it is meant"
    return None
