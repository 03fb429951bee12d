"""Exactly once: the answers to a contiguous prefix of commands, and its offsets, in one transaction after the other.

What is done out of order waits in the line of its partition until everything before it is done, too.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import EnvelopeBus, Observer, Refusal
from omnibase_core.work import Assignment, Work, mend, refused_of

_AGAIN_FIRST_S = 0.02
_AGAIN_LONGEST_S = 5.0


class Transactions:
    """Makes one transaction at a time of whatever is ready. What was aborted is ready again.

    `assignments` are the host's partitions now. `complete` hears of works that are done, `drop` of those whose
    partition went away meanwhile.
    """

    def __init__(
        self,
        bus: EnvelopeBus,
        assignments: Callable[[], Iterable[Assignment]],
        *,
        complete: Callable[[Sequence[Work]], None],
        drop: Callable[[Work], None],
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        """Hold what transactions are made of; nothing runs before `run`."""
        self._bus = bus
        self._assignments = assignments
        self._complete = complete
        self._drop = drop
        self._spawn = spawn
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._mending: set[Assignment] = set()
        self._aborted = 0

    def wake(self) -> None:
        """Look for what is ready."""
        self._woken.set()

    async def settled(self) -> None:
        """Wait until no transaction is under way."""
        await self._idle.wait()

    async def leave(self, leaving: Sequence[Assignment], *, wait: bool) -> None:
        """Drop what is done behind something that is not, and let the transaction under way end before a release."""
        for assignment in leaving:
            for work in assignment.line:
                if work.messages:
                    self._drop(work)
            assignment.line.clear()
        if wait:
            await self.settled()

    async def run(self) -> None:
        """Make transactions until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            if works := self._ready():
                await self._transact(works)

    def _ready(self) -> list[Work]:
        """Take the works of each partition up to the first that is not done."""
        works: list[Work] = []
        for assignment in self._assignments():
            if assignment in self._mending or assignment.closed:
                continue
            while assignment.line and assignment.line[0].messages:
                works.append(assignment.line.popleft())
        return works

    async def _transact(self, works: Sequence[Work]) -> None:
        messages = [message for work in works for message in work.messages]
        offsets = {work.assignment.partition: work.delivery.offset + 1 for work in works}
        self._idle.clear()
        try:
            refusals = await self._bus.transact(messages, offsets)
        except TransactionAborted as aborted:
            self._idle.set()
            self._put_back(works)
            await self._pause(works[0].instance.observer, aborted)
            return
        self._idle.set()
        self._aborted = 0
        self._woken.set()
        if not refusals:
            self._complete(works)
            return
        self._put_back(works)
        for work, its_refusals in refused_of(works, refusals).items():
            if work.assignment not in self._mending:
                self._mending.add(work.assignment)
                self._spawn(self._mended(work, its_refusals))

    def _put_back(self, works: Sequence[Work]) -> None:
        """Stand in line again, in front; what belongs to a partition that is gone is another's now."""
        for work in reversed(works):
            if work.assignment.closed:
                self._drop(work)
            else:
                work.assignment.line.appendleft(work)

    async def _mended(self, work: Work, refusals: Sequence[Refusal]) -> None:
        """Hold back the partition of a refused message, and no other, until it has another message."""
        await mend(work, refusals)
        self._mending.discard(work.assignment)
        self.wake()

    async def _pause(self, observer: Observer, aborted: TransactionAborted) -> None:
        delay_s = min(_AGAIN_FIRST_S * 2.0**self._aborted, _AGAIN_LONGEST_S)
        self._aborted += 1
        observer.event("info", "transaction_aborted", reason=str(aborted), delay_s=delay_s)
        await asyncio.sleep(delay_s)
        self.wake()
