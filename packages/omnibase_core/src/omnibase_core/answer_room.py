"""Room for the answers that calls under way are going to bring: what is not there yet has to fit, too."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from omnibase_core.intake import Intake

_SMALL_BYTES = 4096
"""Smaller answers need no reservation: those of all calls of a host are less than the host may hold."""
_FADES = 0.95


@dataclass(eq=False, slots=True)
class _Waiter:
    topic: str
    size_bytes: int
    leaving: asyncio.Event
    admitted: "asyncio.Future[bool]"


@dataclass(slots=True)
class AnswerRoom:
    """Lets a call begin when there is room for an answer as large as its node's largest of late.

    Without it a node of a hundred calls at a time, each of which brings a megabyte, would hold a hundred megabytes,
    whatever the host's limit. Before a node has answered at all, nothing is known and nothing reserved.
    """

    intake: Intake
    _expected: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _waiters: list[_Waiter] = field(default_factory=list)

    async def enter(self, topic: str, leaving: asyncio.Event) -> int:
        """Wait for room, and return what is reserved, in bytes. It ends at once, with 0, when `leaving` is set."""
        size_bytes = int(self._expected[topic])
        if size_bytes < _SMALL_BYTES:
            return 0
        if self.intake.reserve(topic, size_bytes):
            return size_bytes
        waiter = _Waiter(topic, size_bytes, leaving, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            return size_bytes if await waiter.admitted else 0
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled() and waiter.admitted.result():
                self.intake.unreserve(topic, size_bytes)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def leave(self, topic: str, reserved_bytes: int, size_bytes: int) -> None:
        """Take a reservation back, and remember how large the answer was; 0 for none."""
        self._expected[topic] = max(float(size_bytes), self._expected[topic] * _FADES)
        if reserved_bytes:
            self.intake.unreserve(topic, reserved_bytes)
            self.wake()

    def wake(self) -> None:
        """Let those begin for whom there is room by now, in the order in which they came."""
        for waiter in [it for it in self._waiters if not it.admitted.done()]:
            if waiter.leaving.is_set() or self.intake.reserve(waiter.topic, waiter.size_bytes):
                self._waiters.remove(waiter)
                waiter.admitted.set_result(not waiter.leaving.is_set())
