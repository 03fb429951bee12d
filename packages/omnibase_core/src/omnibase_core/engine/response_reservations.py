"""Room for the answers that calls under way are going to bring: what is not there yet has to fit, too."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from omnibase_core.engine.in_flight_limits import InFlightLimits
from omnibase_core.engine.revocation import CommandPosition

_SMALL_BYTES = 4096
"""Smaller answers need no reservation: those of all calls of a host are less than the host may hold."""
_FADES = 0.95


@dataclass(eq=False, slots=True)
class _Waiter:
    topic: str
    place: CommandPosition
    admitted: "asyncio.Future[int]"


@dataclass(slots=True)
class ResponseReservations:
    """Lets a call begin when there is room for an answer as large as its node's largest of late.

    Without it a node of a hundred calls at a time, each of which brings a megabyte, would hold a hundred megabytes,
    whatever the host's limit. Before a node has answered at all, nothing is known and nothing reserved: `unknown_max`
    calls may be under way until its first answer says what the others are going to bring.

    `apart`: it is room for the answers to requests, of which there is as much again.
    """

    intake: InFlightLimits
    unknown_max: int
    apart: bool = False
    _expected: dict[str, float] = field(default_factory=dict)
    _calls: Counter[str] = field(default_factory=Counter)
    _waiters: list[_Waiter] = field(default_factory=list)

    async def enter(self, topic: str, place: CommandPosition) -> int:
        """Wait for room, and return what is reserved, in bytes. It ends at once, with 0, when the partition leaves.

        Each call that it lets begin ends with `leave`.
        """
        if (reserved_bytes := self.begin(topic, place)) is not None:
            return reserved_bytes
        waiter = _Waiter(topic, place, asyncio.get_running_loop().create_future())
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
        """Take a reservation back, and remember how large the answer was; 0 for none, which says nothing of others."""
        if size_bytes:
            self._expected[topic] = max(float(size_bytes), self._expected.get(topic, 0.0) * _FADES)
        self._end(topic, reserved_bytes)
        self.wake()

    def wake(self) -> None:
        """Let those begin for whom there is room by now, in the order in which they came."""
        if not self._waiters:
            return
        for waiter in [it for it in self._waiters if not it.admitted.done()]:
            if (reserved_bytes := self.begin(waiter.topic, waiter.place)) is not None:
                self._waiters.remove(waiter)
                waiter.admitted.set_result(reserved_bytes)

    def begin(self, topic: str, place: CommandPosition) -> int | None:
        """Count a call, and return what is reserved for it, in bytes. None where it has to wait: it does not count."""
        reserved_bytes = 0
        if not place.leaving.is_set():
            expected = self._expected.get(topic)
            if expected is None:
                if self._calls[topic] >= self.unknown_max and not place.is_first():
                    return None
            elif expected >= _SMALL_BYTES:
                reserved_bytes = int(expected)
                # What others wait for is let through: they hold room that only this one can make.
                if not self.intake.reserve(topic, reserved_bytes, at_once=place.is_first(), apart=self.apart):
                    return None
        self._calls[topic] += 1
        return reserved_bytes

    def _end(self, topic: str, reserved_bytes: int) -> None:
        self._calls[topic] -= 1
        if reserved_bytes:
            self.intake.unreserve(topic, reserved_bytes, apart=self.apart)
