"""Recorded answers in memory: for tests, and for a host that may forget them when it ends."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from omnibase_core.errors import StoreFailed
from omnibase_core.idempotency_store import Granted, Recorded, Taken


@dataclass(slots=True)
class _Entry:
    owner: str
    token: int
    until_s: float
    answer: bytes | None = None


_ENTRY_BYTES = 500
"""What an entry takes beside its key and its answer, roughly: measured for 200,000 of them, answers of 450 bytes."""


class MemoryStore:
    """An IdempotencyStore of one process. `now_s` gives monotonic seconds.

    It holds `bytes_max` at the most: keys, answers, and what they take beside. Where that is reached it refuses claims
    by StoreFailed until some are over: to forget one before its time would let an effect happen twice. `full` hears of
    the first claim that is refused, and of the next after there was room again.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        *,
        bytes_max: int = 256 * 1024 * 1024,
        full: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """Start empty."""
        self._now_s = now_s
        self._bytes_max = bytes_max
        self._full = full
        self._is_full = False
        self.size_bytes = 0
        self._entries: dict[str, _Entry] = {}
        self._ends: list[tuple[float, str]] = []
        self._tokens = count(1)

    def __len__(self) -> int:
        """Count the keys that are claimed or recorded, or were so until the last claim."""
        return len(self._entries)

    @property
    def used(self) -> float:
        """How much of its room is taken: from 0 to 1, or a little more where answers came once it was full."""
        self._sweep(self._now_s())
        return self.size_bytes / self._bytes_max

    async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
        """Take the key if it is free, or the owner's already."""
        now_s = self._now_s()
        self._sweep(now_s)
        entry = self._entries.get(key)
        if entry is not None and entry.answer is not None:
            return Recorded(entry.answer)
        if entry is not None and entry.owner != owner:
            return Taken(entry.until_s - now_s)
        if entry is None:
            self._make_sure_of_room()
        token = next(self._tokens)
        self._put(key, _Entry(owner, token, now_s + lease_s))
        return Granted(token)

    async def record(self, key: str, /, *, owner: str, answer: bytes, window_s: float) -> bool:
        """Keep the answer, unless the key is another's by now."""
        now_s = self._now_s()
        entry = self._entries.get(key)
        if entry is not None and entry.owner != owner:
            return False
        self._put(key, _Entry(owner, next(self._tokens), now_s + window_s, answer))
        return True

    async def release(self, key: str, /, *, token: int) -> None:
        """Free the key, if it is still this claim's."""
        entry = self._entries.get(key)
        if entry is not None and entry.token == token and entry.answer is None:
            self._forget(key)

    def _make_sure_of_room(self) -> None:
        if self.size_bytes < self._bytes_max:
            self._is_full = False
            return
        reason = f"the store in memory is full: {len(self)} keys are claimed or recorded, {self.size_bytes} bytes"
        if not self._is_full:
            self._is_full = True
            self._full(reason)
        raise StoreFailed(reason)

    def _put(self, key: str, entry: _Entry) -> None:
        self._forget(key)
        self._entries[key] = entry
        self.size_bytes += _size_of(key, entry)
        heapq.heappush(self._ends, (entry.until_s, key))

    def _sweep(self, now_s: float) -> None:
        """Forget what is over. An end that was put off since is left alone: its new one is in the heap too."""
        while self._ends and self._ends[0][0] <= now_s:
            _, key = heapq.heappop(self._ends)
            entry = self._entries.get(key)
            if entry is not None and entry.until_s <= now_s:
                self._forget(key)

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size_bytes -= _size_of(key, entry)


def _size_of(key: str, entry: _Entry) -> int:
    return _ENTRY_BYTES + len(key) + len(entry.answer or b"")
