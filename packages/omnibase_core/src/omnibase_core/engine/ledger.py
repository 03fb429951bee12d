"""Which offset of a partition may be committed: the contiguous watermark. Pure."""

from collections import deque
from collections.abc import Iterable


class PartitionLedger:
    """The commands of one partition under one assignment: begun in order, done in any order.

    `watermark` is the offset of the first command that is not done: committing it can lose nothing. Whoever works on a
    command holds the ledger it was begun in, so what is done after the partition was revoked counts for nothing.
    """

    __slots__ = ("_begun", "_done", "_next")

    def __init__(self) -> None:
        """Start with nothing begun."""
        self._begun: deque[int] = deque()
        self._done: set[int] = set()
        self._next: int | None = None

    def begin(self, offset: int) -> bool:
        """Record that a command is taken. False for one that was begun before: it must not be served again."""
        if self._next is not None and offset < self._next:
            return False
        self._begun.append(offset)
        self._next = offset + 1
        return True

    def begin_run(self, offsets: list[int]) -> bool:
        """Record that commands are taken, in this order. False, and nothing noted, where it goes back anywhere."""
        if (self._next is not None and offsets[0] < self._next) or sorted(set(offsets)) != offsets:
            return False
        self._begun.extend(offsets)
        self._next = offsets[-1] + 1
        return True

    def reach(self, offset: int) -> None:
        """Record that there is nothing more to begin below an offset: what is left there is a gap."""
        if self._next is None or offset > self._next:
            self._next = offset

    def complete(self, offsets: Iterable[int]) -> None:
        """Record that commands are done: their answers or dead letters are acknowledged."""
        begun, done = self._begun, self._done
        for offset in offsets:
            if begun and begun[0] == offset:
                begun.popleft()  # The usual case: what is done is the next.
            elif begun and begun[0] < offset <= begun[-1]:
                done.add(offset)
        while begun and begun[0] in done:
            done.remove(begun.popleft())

    @property
    def watermark(self) -> int | None:
        """The offset that may be committed, or None when nothing was begun or reached."""
        return self._begun[0] if self._begun else self._next

    @property
    def open(self) -> int:
        """How many commands are begun and not done."""
        return len(self._begun) - len(self._done)

    @property
    def unfinished(self) -> int:
        """How many commands hold the watermark back or wait behind the one that does."""
        return len(self._begun)
