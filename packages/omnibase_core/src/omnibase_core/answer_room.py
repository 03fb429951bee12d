"""Room for the answers that calls under way are going to bring: what is not there yet has to fit, too."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from omnibase_core.intake import Intake

_SMALL_BYTES = 4096
"""Smaller answers need no reservation: those of all calls of a host are less than the host may hold."""
_FADES = 0.95


@dataclass(eq=False, slots=True)
class _Waiter:
    topic: str
    leaving: asyncio.Event
    admitted: "asyncio.Future[int]"


@dataclass(slots=True)
class AnswerRoom:
    """Lets a call begin when there is room for an answer as large as its node's largest of late.

    Without it a node of a hundred calls at a time, each of which brings a megabyte, would hold a hundred megabytes,
    whatever the host's limit. Before a node has answered at all, nothing is known and nothing reserved: `unknown_max`
    calls may be under way until its first answer says what the others are going to bring.
    """

    intake: Intake
    unknown_max: int
    _expected: dict[str, float] = field(default_factory=dict)
    _calls: Counter[str] = field(default_factory=Counter)
    _waiters: list[_Waiter] = field(default_factory=list)

    async def enter(self, topic: str, leaving: asyncio.Event) -> int:
        """Wait for room, and return what is reserved, in bytes. It ends at once, with 0, when `leaving` is set.

        Each call that it lets begin ends with `leave`.
        """
        if (reserved_bytes := self._begin(topic, leaving)) is not None:
            return reserved_bytes
        waiter = _Waiter(topic, leaving, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            return await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                self._end(topic, waiter.admitted.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def leave(self, topic: str, reserved_bytes: int, size_bytes: int) -> None:
        """Take a reservation back, and remember how large the answer was; 0 for none."""
        if size_bytes or topic in self._expected:
            self._expected[topic] = max(float(size_bytes), self._expected.get(topic, 0.0) * _FADES)
        self._end(topic, reserved_bytes)
        self.wake()

    def wake(self) -> None:
        """Let those begin for whom there is room by now, in the order in which they came."""
        for waiter in [it for it in self._waiters if not it.admitted.done()]:
            if (reserved_bytes := self._begin(waiter.topic, waiter.leaving)) is not None:
                self._waiters.remove(waiter)
                waiter.admitted.set_result(reserved_bytes)

    def _begin(self, topic: str, leaving: asyncio.Event) -> int | None:
        """Count a call, and return what is reserved for it; None where it has to wait."""
        reserved_bytes = 0
        if not leaving.is_set():
            if topic not in self._expected:
                if self._calls[topic] >= self.unknown_max:
                    return None
            elif (reserved_bytes := int(self._expected[topic])) < _SMALL_BYTES:
                reserved_bytes = 0
            elif not self.intake.reserve(topic, reserved_bytes):
                return None
        self._calls[topic] += 1
        return reserved_bytes

    def _end(self, topic: str, reserved_bytes: int) -> None:
        self._calls[topic] -= 1
        if reserved_bytes:
            self.intake.unreserve(topic, reserved_bytes)
