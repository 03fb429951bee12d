"""The store of recorded answers, as a port: who serves a key, and what was answered. No behaviour."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Granted:
    """The key is the asker's, until it records an answer, releases the claim, or its lease is over."""

    token: int
    """The number of this claim: no other has it."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The key was served within its window."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """Another owner has the key, for `lease_s` seconds more at most."""

    lease_s: float


class IdempotencyStore(Protocol):
    """Keeps who serves a key and, for a time, what was answered. Shared by every host that serves a node.

    Each method is atomic and ends within a bounded time. Raises StoreFailed, and nothing else, for what the outside
    world did; the same call may then be made again, whether or not it was carried out.
    """

    async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
        """Take the key for `lease_s` seconds if it is free, or is claimed by this owner already.

        A key is free when nothing is recorded for it, or no longer, and no claim on it is in force.
        """

    async def record(self, key: str, /, *, owner: str, answer: bytes, window_s: float) -> bool:
        """Keep the owner's answer for `window_s` seconds from now. False, and nothing done: the key is another's."""

    async def release(self, key: str, /, *, token: int) -> None:
        """Release a claim, so that the key is free. A claim that is no longer in force, or a record, stays as it is."""
