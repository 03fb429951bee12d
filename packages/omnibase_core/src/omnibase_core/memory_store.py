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


class MemoryStore:
    """An IdempotencyStore of one process. `now_s` gives monotonic seconds.

    It holds `entries_max` keys at most. With more, it refuses claims by StoreFailed until some are over: to forget one
    before its time would let an effect happen twice.
    """

    def __init__(self, now_s: Callable[[], float], *, entries_max: int = 100_000) -> None:
        """Start empty."""
        self._now_s = now_s
        self._entries_max = entries_max
        self._entries: dict[str, _Entry] = {}
        self._ends: list[tuple[float, str]] = []
        self._tokens = count(1)

    def __len__(self) -> int:
        """Count the keys that are claimed or recorded, or were so until the last claim."""
        return len(self._entries)

    async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
        """Take the key if it is free, or the owner's already."""
        now_s = self._now_s()
        self._sweep(now_s)
        entry = self._entries.get(key)
        if entry is not None and entry.answer is not None:
            return Recorded(entry.answer)
        if entry is not None and entry.owner != owner:
            return Taken(entry.until_s - now_s)
        if entry is None and len(self._entries) >= self._entries_max:
            raise StoreFailed(f"the store in memory is full: {self._entries_max} keys are claimed or recorded")
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
            del self._entries[key]

    def _put(self, key: str, entry: _Entry) -> None:
        self._entries[key] = entry
        heapq.heappush(self._ends, (entry.until_s, key))

    def _sweep(self, now_s: float) -> None:
        """Forget what is over. An end that was put off since is left alone: its new one is in the heap too."""
        while self._ends and self._ends[0][0] <= now_s:
            _, key = heapq.heappop(self._ends)
            entry = self._entries.get(key)
            if entry is not None and entry.until_s <= now_s:
                del self._entries[key]
