"""Partitions come and go: how an assignment begins, how its commands drain, and when it is over."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

from omnibase_core.contracts.host import Limits
from omnibase_core.engine.flow_control import FlowControl
from omnibase_core.engine.in_flight import Assignment
from omnibase_core.engine.transactions import Transactions
from omnibase_core.ports import Clock, Observer, Partition, Revoked


class Rebalance:
    """Takes on partitions and lets them go, beside the loop: neighbours are served meanwhile.

    A partition that moves keeps its commands in flight for `limits.revoke_s`; what has not ended by then is left to its
    next owner, and what it still brings here counts for nothing.
    """

    def __init__(
        self,
        limits: Limits,
        assignments: dict[Partition, Assignment],
        flow: FlowControl,
        transactions: Transactions | None,
        *,
        clock: Clock,
        observer: Observer,
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        """Start with the assignments that there are."""
        self._limits = limits
        self._assignments = assignments
        self._flow = flow
        self._transactions = transactions
        self._clock = clock
        self._observer = observer
        self._spawn = spawn

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Begin to serve partitions."""
        now_s, transacts = self._clock.monotonic_s(), self._transactions is not None
        for partition in sorted(partitions):
            if (before := self._assignments.get(partition)) is not None:
                self._close(before)
            assignment = self._assignments[partition] = Assignment(partition, now_s, transacts)
            self._flow.switch([assignment])
        self._flow.assigned()
        self._observer.event("info", "partitions_assigned", count=len(self._assignments))

    def revoke(self, revoked: Revoked) -> None:
        """Begin nothing more of these partitions, and let them go in bounded time; at once if they are lost."""
        leaving = [self._assignments[name] for name in revoked.partitions if name in self._assignments]
        for assignment in leaving:
            assignment.leaving.set()
            if revoked.lost:
                self._close(assignment)
        self._spawn(self._let_go(revoked, leaving))

    def lose_all(self) -> None:
        """Let nothing count any more, of any partition."""
        for assignment in list(self._assignments.values()):
            self._close(assignment)

    async def drain(self, assignments: Sequence[Assignment], within_s: float) -> None:
        """Begin nothing more of these partitions, and wait for what was begun, for a bounded time."""
        for assignment in assignments:
            assignment.leaving.set()
        self._flow.wake()
        try:
            async with asyncio.timeout(within_s):
                while any(it.settling and not it.closed for it in assignments):
                    self._flow.progress.clear()
                    await self._flow.progress.wait()
        except TimeoutError:
            self._observer.event("warning", "drain_timed_out", unfinished=sum(it.active for it in assignments))

    async def _let_go(self, revoked: Revoked, leaving: Sequence[Assignment]) -> None:
        revoke_s = 0.0 if revoked.lost else self._limits.revoke_s
        until_s = self._clock.monotonic_s() + revoke_s
        await self.drain(leaving, revoke_s)
        for assignment in leaving:
            assignment.closed = True
        if self._transactions is not None:
            await self._transactions.leave(leaving, wait_s=max(0.0, until_s - self._clock.monotonic_s()))
        for assignment in leaving:
            self._close(assignment)
        revoked.release()
        self._observer.event("info", "partitions_revoked", count=len(leaving), lost=revoked.lost)

    def _close(self, assignment: Assignment) -> None:
        """Let nothing count any more that is still done for a partition."""
        assignment.leaving.set()
        assignment.closed = True
        if self._assignments.get(assignment.partition) is assignment:
            del self._assignments[assignment.partition]
            self._flow.assigned()
