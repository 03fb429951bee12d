"""Where a host gets contracts, secrets and state from. Protocols only."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Protocol

from omnibase_core.ports import ContractDocument


class ContractReader(Protocol):
    """Reads contracts from wherever they are kept. Satisfies `omnibase_core.ports.ContractReader`."""

    def __call__(self, path: PurePath, /) -> Iterable[ContractDocument]:
        """Give every contract document below a path. Raises InvalidContracts for what cannot be read."""


class SecretResolver(Protocol):
    """Turns the reference `${secret.NAME}` of a host contract into its value."""

    def resolve(self, name: str, /) -> str:
        """Give the secret. Raises SecretMissing, which names the secret and never holds a value."""


class StateStore(Protocol):
    """Keeps small values under a key for a time, shared by every host of a pool."""

    async def get(self, key: str, /) -> bytes | None:
        """Give the value, or None when there is none or its time is over."""

    async def put_if_absent(self, key: str, value: bytes, *, ttl_s: float) -> bytes | None:
        """Store the value if there is none, for `ttl_s` seconds; else give the one that is there. Atomic."""

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Store the value for `ttl_s` seconds, whatever was there."""
