"""Order within a lane, concurrency across lanes. Pure bookkeeping: who may run now, and what comes next."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Lanes(Generic[Item]):
    """Queues by lane. A lane is active from the item that opens it until `next` finds it empty."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        """Start without a lane."""
        self._waiting: dict[Hashable, deque[Item]] = {}

    def put(self, lane: Hashable, item: Item) -> bool:
        """Queue an item. True when it opened its lane: the caller must then run it until `next` gives None."""
        waiting = self._waiting.get(lane)
        if waiting is None:
            self._waiting[lane] = deque((item,))
            return True
        waiting.append(item)
        return False

    def next(self, lane: Hashable) -> Item | None:
        """Take the lane's next item; None ends the lane."""
        waiting = self._waiting[lane]
        if waiting:
            return waiting.popleft()
        del self._waiting[lane]
        return None

    def __len__(self) -> int:
        """How many lanes are active."""
        return len(self._waiting)
