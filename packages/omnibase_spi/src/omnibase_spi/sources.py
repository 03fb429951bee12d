"""Where a host gets contracts and secrets from. Protocols only."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Protocol

from omnibase_core.ports import ContractDocument


class ContractReader(Protocol):
    """Reads contracts from wherever they are kept. Satisfies `omnibase_core.ports.ContractReader`."""

    def __call__(self, path: PurePath, /) -> Iterable[ContractDocument]:
        """Return every contract document below a path. Raises InvalidContracts for what cannot be read."""


class SecretResolver(Protocol):
    """Turns the reference `${secret.NAME}` of a host contract into its value."""

    def resolve(self, name: str, /) -> str:
        """Return the secret. Raises SecretMissing, which names the secret and never holds a value."""
