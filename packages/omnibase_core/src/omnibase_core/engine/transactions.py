"""Exactly once: the answers to a contiguous prefix of commands, and its offsets, in one transaction after the other.

What is done out of order waits in the line of its partition until everything before it is done, too. A transaction is
bounded in count and in bytes, since it has to end within the broker's time for it: after one that came to nothing the
next is half as large, after one that was committed twice as large again.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

from omnibase_core.engine.in_flight import Assignment, InFlightCommand
from omnibase_core.engine.rejected_messages import mend, refused_of
from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import EnvelopeBus, Observer, Refusal

_AGAIN_FIRST_S = 0.02
_AGAIN_LONGEST_S = 5.0
_DOUBLINGS_MAX = 20
_COUNT_MAX = 5000
_BYTES_MAX = 8 * 1024 * 1024
_GAP_S = 1.0
"""A gap is committed along with the next commands, or, where none come, after so long."""


class Transactions:
    """Makes one transaction at a time of whatever is ready. What was aborted is ready again.

    `assignments` are the host's partitions now. `complete` hears of works that are done, `drop` of those whose
    partition went away meanwhile.
    """

    def __init__(
        self,
        bus: EnvelopeBus,
        observer: Observer,
        assignments: Callable[[], Iterable[Assignment]],
        *,
        complete: Callable[[Sequence[InFlightCommand]], None],
        drop: Callable[[InFlightCommand], None],
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        """Keep what transactions are made of; nothing runs before `run`."""
        self._bus = bus
        self._observer = observer
        self._assignments = assignments
        self._complete = complete
        self._drop = drop
        self._spawn = spawn
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._mending: set[Assignment] = set()
        self._aborted = 0
        self._count_max = _COUNT_MAX
        self._bytes_max = _BYTES_MAX
        self._first = 0
        self._gaps_due = False

    def wake(self) -> None:
        """Look for what is ready."""
        self._woken.set()

    def gap_reached(self) -> None:
        """Commit gaps at the ends of partitions before long."""
        if not self._gaps_due:
            self._gaps_due = True
            asyncio.get_running_loop().call_later(_GAP_S, self.wake)

    async def settled(self, within_s: float) -> None:
        """Wait until no transaction is under way, for so long at the most.

        A partition may be given up within a transaction that does not end: its commit is refused by the group then, or
        waited for by whoever reads the group's offsets next.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            self._observer.event("warning", "transaction_not_ended", waited_s=within_s)

    async def leave(self, leaving: Sequence[Assignment], *, wait_s: float) -> None:
        """Drop what is done behind something that is not, and let the transaction under way end before a release."""
        for assignment in leaving:
            for work in assignment.line:
                if work.messages:
                    self._drop(work)
            assignment.line.clear()
        if wait_s:
            await self.settled(wait_s)

    async def run(self) -> None:
        """Make transactions until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            works = self._ready()
            gaps = self._gaps(works)
            if works or gaps:
                await self._transact(works, gaps)

    def _ready(self) -> list[InFlightCommand]:
        """Take the works of each partition up to the first that is not done, each time beginning at another one."""
        works: list[InFlightCommand] = []
        size_bytes = 0
        assignments = [it for it in self._assignments() if it.line and not it.closed and it not in self._mending]
        self._first += 1
        for index in range(len(assignments)):
            line = assignments[(index + self._first) % len(assignments)].line
            while line and line[0].messages:
                size_bytes += line[0].size_bytes
                if works and (len(works) == self._count_max or size_bytes > self._bytes_max):
                    self._woken.set()
                    return works
                works.append(line.popleft())
        return works

    def _gaps(self, works: Sequence[InFlightCommand]) -> list[Assignment]:
        """Return the partitions of which nothing is left but a gap that is not committed."""
        if not self._gaps_due:
            return []
        self._gaps_due = False
        busy = {work.assignment for work in works}
        gaps = [it for it in self._assignments() if it not in busy and not it.closed and it.gap is not None]
        return [assignment for assignment in gaps if not assignment.leaving.is_set()]

    async def _transact(self, works: Sequence[InFlightCommand], gaps: Sequence[Assignment]) -> None:
        messages = [message for work in works for message in work.messages]
        offsets = {work.assignment: work.delivery.offset + 1 for work in works}
        offsets.update({assignment: assignment.gap or 0 for assignment in gaps})
        self._idle.clear()
        try:
            refusals = await self._bus.transact(messages, {it.partition: offset for it, offset in offsets.items()})
        except TransactionAborted as aborted:
            self._idle.set()
            self._put_back(works)
            self._gaps_due = self._gaps_due or bool(gaps)
            self._resize(len(works), sum(work.size_bytes for work in works), factor=0.5)
            await self._pause(aborted)
            return
        self._idle.set()
        self._aborted = 0
        self._woken.set()
        if not refusals:
            self._resize(self._count_max, self._bytes_max, factor=2)
            self._committed(works, offsets)
            return
        self._put_back(works)
        self._gaps_due = self._gaps_due or bool(gaps)
        for work, its_refusals in refused_of(works, refusals).items():
            if work.assignment not in self._mending:
                self._mending.add(work.assignment)
                self._spawn(self._mended(work, its_refusals))

    def _committed(self, works: Sequence[InFlightCommand], offsets: dict[Assignment, int]) -> None:
        for assignment, offset in offsets.items():
            assignment.committed = offset
        self._complete(works)
        if any(assignment.gap is not None for assignment in offsets):
            self.gap_reached()

    def _resize(self, count: int, size_bytes: int, *, factor: float) -> None:
        self._count_max = max(1, min(_COUNT_MAX, int(count * factor)))
        self._bytes_max = max(1, min(_BYTES_MAX, int(size_bytes * factor)))

    def _put_back(self, works: Sequence[InFlightCommand]) -> None:
        """Stand in line again, in front; what belongs to a partition that is gone is another's now."""
        for work in reversed(works):
            if work.assignment.closed:
                self._drop(work)
            else:
                work.assignment.line.appendleft(work)

    async def _mended(self, work: InFlightCommand, refusals: Sequence[Refusal]) -> None:
        """Keep back the partition of a refused message, and no other, until it has another message."""
        await mend(work, refusals, transacts=True)
        self._mending.discard(work.assignment)
        self.wake()

    async def _pause(self, aborted: TransactionAborted) -> None:
        delay_s = min(_AGAIN_FIRST_S * 2.0 ** min(self._aborted, _DOUBLINGS_MAX), _AGAIN_LONGEST_S)
        self._aborted += 1
        self._observer.event("info", "transaction_aborted", reason=str(aborted), delay_s=delay_s)
        await asyncio.sleep(delay_s)
        self.wake()
