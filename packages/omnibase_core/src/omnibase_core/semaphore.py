"""Places for so many at a time, taken in the order in which they were asked for."""

import asyncio
from collections import deque


class FairSemaphore:
    """Bounds how many are under way, as asyncio.Semaphore does.

    That looks through everyone who waits whenever a place is given back: with a thousand that wait, it takes longer
    than what is bounded. Here a place is handed to the first who waits, in a time that does not depend on how many do.
    """

    __slots__ = ("_free", "_waiting")

    def __init__(self, count: int) -> None:
        """Start with so many free places."""
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a place, and return whether there was a free one. Each place that is taken is to be given back."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Wait for a place, behind all who wait already, and take it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back()  # It was handed over, and is not wanted any more.
            raise

    def give_back(self) -> None:
        """Hand a place to the first who waits for one, or let it be free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
