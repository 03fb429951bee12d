"""Which partitions are not fetched for now, and why: the one place that pauses and resumes them.

A partition is paused as long as there is a reason: its node is full, or the host; its node rests after a flood of dead
letters; too much of it is done behind a command that is not; or it has its share of a busy node. Every reason can be
told, so that nothing is held in silence.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from omnibase_core.engine.dead_letter_throttle import DeadLetterThrottle
from omnibase_core.engine.in_flight import Assignment, InFlightCommand, Run
from omnibase_core.engine.in_flight_limits import InFlightLimits
from omnibase_core.engine.response_reservations import ResponseReservations
from omnibase_core.ports import EnvelopeBus, Partition

_ROOM_S = 0.5


class PartitionProgress(NamedTuple):
    """How far a partition is.

    Everything below `watermark` is done; it is None where nothing was begun. For `stalled_s` seconds nothing was done,
    or there was nothing to do. `pause_reason` is why it is paused; None where it is read.
    """

    watermark: int | None
    stalled_s: float
    pause_reason: str | None


class FlowControl:
    """Pauses the partitions of what is full, and resumes those of what has room again.

    `assignments` are the host's partitions now; `ahead_max` bounds what is begun of one behind a command that is not
    done, except on the topic of `requests`, whose commands may wait for each other.
    """

    def __init__(
        self,
        bus: EnvelopeBus,
        intake: InFlightLimits,
        assignments: Mapping[Partition, Assignment],
        *,
        ahead_max: int,
        requests: str,
    ) -> None:
        """Start with nothing held."""
        self.intake = intake
        unknown_max = intake.fits(bus.message_bytes_max)
        self.room = ResponseReservations(intake, unknown_max)
        self.requests_room = ResponseReservations(intake, unknown_max, apart=True)
        self.progress = asyncio.Event()
        """Set whenever something is done, for those who wait for room or for the last of what is in flight."""
        self._bus = bus
        self._assignments = assignments
        self._ahead_max = ahead_max
        self._requests = requests
        self._floods = DeadLetterThrottle()
        self._shares: dict[str, float] = {}
        self._sated: set[str] = set()
        self._holds_all = False

    @property
    def held(self) -> Mapping[Partition, str]:
        """The partitions that are not fetched for now, each with the reason."""
        reasons = {it.partition: self._reason(it) for it in self._assignments.values()}
        return {partition: reason for partition, reason in reasons.items() if reason is not None}

    def standings(self, now_s: float) -> Mapping[Partition, PartitionProgress]:
        """Return how each partition is."""
        return {
            it.partition: PartitionProgress(it.ledger.watermark, max(0.0, now_s - it.moved_s), self._reason(it))
            for it in self._assignments.values()
        }

    def balance(self) -> None:
        """Pause and resume as there is room, and wake what waits for a change."""
        self.progress.set()
        self.wake()
        self._holds_all = self._holds_all and self.intake.full
        if (change := self.intake.change(hold_all=self._holds_all)) is not None:
            topics = change.pause | change.resume
            self.switch([it for it in self._assignments.values() if it.partition.topic in topics])
        if self._sated:
            self._go_on()

    def wake(self) -> None:
        """Let calls begin for which there is room by now, and end the waits of those whose partition leaves."""
        self.room.wake()
        self.requests_room.wake()

    def switch(self, assignments: Iterable[Assignment]) -> None:
        """Pause and resume partitions as there is a reason to hold them, or none."""
        changed = [it for it in assignments if it.paused != self._is_held(it) and not it.leaving.is_set()]
        for assignment in changed:
            assignment.paused = not assignment.paused
        if pause := [it.partition for it in changed if it.paused]:
            self._bus.pause(pause)
        if resume := [it.partition for it in changed if not it.paused]:
            self._bus.resume(resume)

    async def wait_for_room(self) -> None:
        """Let nothing more be taken while the host is full: by waiting, which costs less, or by pausing if it lasts."""
        try:
            async with asyncio.timeout(_ROOM_S):
                while self.intake.full:
                    self.progress.clear()
                    await self.progress.wait()
        except TimeoutError:
            self._holds_all = True
            self.balance()

    def assigned(self) -> None:
        """Record that partitions have come or gone: each has another share of its node."""
        self._shares.clear()

    def begun(self, assignment: Assignment) -> None:
        """Pause a partition where too much is begun behind a command that is not done, or more than its share."""
        unfinished, topic = assignment.ledger.unfinished, assignment.partition.topic
        if topic == self._requests:
            return
        ahead = assignment.ahead or unfinished >= self._ahead_max
        sated = assignment.sated or (self.intake.is_busy(topic) and assignment.ledger.open >= self._share(topic))
        if sated and not assignment.sated:
            self._sated.add(topic)
        self._hold(assignment, ahead=ahead, sated=sated)

    def moved(self, assignment: Assignment) -> None:
        """Go on with a partition that was held, once its watermark has caught up by half, or what is open of it."""
        if not (assignment.ahead or assignment.sated):
            return
        unfinished = assignment.ledger.unfinished
        ahead = assignment.ahead and unfinished > self._ahead_max // 2
        sated = assignment.sated and assignment.ledger.open > self._share(assignment.partition.topic) / 2
        self._hold(assignment, ahead=ahead, sated=sated)

    def _hold(self, assignment: Assignment, *, ahead: bool, sated: bool) -> None:
        if (ahead, sated) != (assignment.ahead, assignment.sated):
            assignment.ahead, assignment.sated = ahead, sated
            self.switch([assignment])

    def _go_on(self) -> None:
        """Let every partition go on of a node that has room again for more than their shares."""
        topics = {topic for topic in self._sated if self.intake.is_idle(topic)}
        if topics:
            self._sated -= topics
            sated = [it for it in self._assignments.values() if it.sated and it.partition.topic in topics]
            for assignment in sated:
                assignment.sated = False
            self.switch(sated)

    def _share(self, topic: str) -> float:
        """Return how many commands one partition of a topic may hold while its node is busy."""
        share = self._shares.get(topic)
        if share is None:
            count = sum(it.partition.topic == topic for it in self._assignments.values())
            share = self._shares[topic] = self.intake.share_of(topic, count)
        return share

    def rest(self, topics: Iterable[str], served: Sequence[InFlightCommand | Run], now_s: float) -> None:
        """Let the topics of nodes rest that flood the dead letters."""
        for topic, rest_s in self._floods.rests(topics, served, now_s).items():
            self.intake.rest(topic, 1)
            asyncio.get_running_loop().call_later(rest_s, self._rested, topic)

    def _rested(self, topic: str) -> None:
        self.intake.rest(topic, -1)
        self.balance()

    def _is_held(self, assignment: Assignment) -> bool:
        return assignment.ahead or assignment.sated or assignment.partition.topic in self.intake.held

    def _reason(self, assignment: Assignment) -> str | None:
        """Return why a partition is not fetched; None where it is."""
        if assignment.leaving.is_set():
            return "draining: the partition moves to another host, or this host stops"
        if assignment.ahead:
            return f"{assignment.ledger.unfinished} commands in flight behind one that is not done"
        if assignment.sated:
            return f"{assignment.ledger.open} commands in flight: the share of the partition in the limit of its node"
        if (reason := self.intake.reason(assignment.partition.topic)) is not None:
            return reason
        return "paused: a limit left no capacity for its next command" if assignment.rewinding else None
