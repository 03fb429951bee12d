"""NodeRuntime, the one event loop: commands come in, are served, and their answers go out.

Publish before commit: an offset is committed only when the broker has acknowledged the answers or dead letters of all
commands up to it, so that a crash repeats commands and loses none. With exactly once, the two are one transaction.
"""

import asyncio
from collections.abc import Coroutine, Hashable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from omnibase_core.contracts.compiled import CompiledNode
from omnibase_core.contracts.host import Guarantee, RuntimeHostContract
from omnibase_core.floods import Floods
from omnibase_core.idempotency_store import IdempotencyStore
from omnibase_core.instance import NodeFigures
from omnibase_core.intake import Intake
from omnibase_core.lanes import Lanes
from omnibase_core.ports import (
    Assigned,
    Batch,
    Clock,
    Delivery,
    EnvelopeBus,
    Handler,
    InlineHandler,
    Message,
    Observer,
    Partition,
    Refusal,
    Revoked,
    Rewound,
    Tracer,
)
from omnibase_core.roster import Roster
from omnibase_core.transactions import Transactions
from omnibase_core.work import Assignment, Work, count_done, count_through, mend, refused_of

_ROOM_S = 0.5


class NodeRuntime:
    """Serves the commands of every node of a host.

    Guarantees: the commands of a lane are served in their order; what is taken is bounded; an offset is committed only
    below the first command that is not done. Cancelling, stopping or losing a partition is never an acknowledgement.
    """

    def __init__(self, host: RuntimeHostContract, *, bus: EnvelopeBus, clock: Clock, observer: Observer) -> None:
        """Hold what the loop needs; nothing starts before `start`."""
        self._host = host
        self._bus = bus
        self._clock = clock
        self._observer = observer
        self._handlers: dict[str, Handler | InlineHandler] = {}
        self._roster = Roster(host, bus=bus, clock=clock, observer=observer)
        self._assignments: dict[Partition, Assignment] = {}
        self._lanes: Lanes[Work] = Lanes()
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._intake = Intake(per_topic={}, in_all=1, bytes_max=1)
        self._floods = Floods()
        self._holds_all = False
        self._transactions: Transactions | None = None
        if host.guarantee is Guarantee.EXACTLY_ONCE:
            self._transactions = Transactions(
                bus, self._assignments.values, complete=self._complete, drop=self._drop, spawn=self._spawn
            )
        self._crash: BaseException | None = None
        self._stopped = False

    def register_handler(self, handler_type: str, handler: Handler | InlineHandler) -> None:
        """Let the nodes of a type be served by the handler. Call it before `load_nodes`."""
        self._handlers[handler_type] = handler

    def register_store(self, store: IdempotencyStore) -> None:
        """Let nodes with idempotency keep their answers here. Call it before `load_nodes`."""
        self._roster.store = store

    def load_nodes(self, nodes: Iterable[CompiledNode], *, tracer: Tracer | None = None) -> None:
        """Take on the host's nodes, once; the tracer tells of them. Raises UnknownHandler or StoreMissing."""
        for node in nodes:
            self._roster.add(node, self._handlers.get(node.handler_type), tracer=tracer)
        self._intake = self._roster.intake()

    async def start(self) -> None:
        """Start the loop. `wait` tells how it ended."""
        self._loop = asyncio.create_task(self._run(), name="node-runtime")
        if self._transactions is not None:
            self._spawn(self._transactions.run())

    async def wait(self) -> None:
        """Wait until the loop has ended: by `stop`, or by raising BusError."""
        if self._loop is not None:
            await asyncio.wait({self._loop})
            if self._crash is not None:
                raise self._crash
            if not self._loop.cancelled():
                self._loop.result()

    async def stop(self, *, within_s: float | None = None) -> None:
        """Begin nothing more, let work in flight finish for `within_s` or `limits.drain_s`, commit, leave the group."""
        self._bus.pause(list(self._assignments))
        await self._drain(list(self._assignments.values()), within_s=within_s)
        running = [*self._tasks, *([self._loop] if self._loop else [])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        # An acknowledgement that still comes, while the bus closes, counts for nothing: the partitions are others'.
        for assignment in self._assignments.values():
            assignment.closed = True
        self._stopped = True

    @property
    def figures(self) -> Mapping[str, NodeFigures]:
        """What each node has done, by the node's name."""
        return self._roster.figures

    @property
    def breakers(self) -> Mapping[str, str]:
        """The state of each circuit breaker, by the name of what is behind it."""
        return self._roster.breakers

    @property
    def assigned(self) -> Sequence[Partition]:
        """The partitions that this host serves now."""
        return sorted(self._assignments)

    @property
    def stalled_s(self) -> float:
        """For how long the partition has stood that stands the longest though it has something to do, in seconds."""
        busy = [it.moved_s for it in self._assignments.values() if it.ledger.unfinished]
        return max(0.0, self._clock.monotonic_s() - min(busy)) if busy else 0.0

    @property
    def in_flight(self) -> int:
        """How many commands are taken and not yet done."""
        return self._intake.count

    # --- The loop -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        # Closed here, and not by whoever collects the garbage: closing commits what is done and leaves the group.
        async with aclosing(self._bus.receive(self._roster.topics)) as happenings:
            async for happening in happenings:
                match happening:
                    case Batch(deliveries):
                        self._take(deliveries)
                        if self._intake.full:
                            await self._wait_for_room()
                    case Assigned(partitions):
                        self._assign(partitions)
                    case Revoked():
                        await self._hand_over(happening)
                    case Rewound(partition):
                        self._assignments[partition].rewinding = False

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        """Serve at once what awaits nothing, and queue the rest in lanes."""
        served: list[Work] = []
        now_s = self._clock.monotonic_s()
        for delivery in deliveries:
            assignment = self._assignments.get(delivery.partition)
            if assignment is None or assignment.leaving.is_set() or assignment.rewinding:
                continue
            work = self._roster.work_of(delivery, assignment)
            at_once = work.serves_at_once(waiting=self._intake.waiting(work.topic))
            if not at_once and not self._intake.has_room(work.topic, apart=work.is_apart):
                self._send_back(work)
                continue
            if not assignment.begin(work, now_s):
                continue
            if assignment.ledger.unfinished == self._host.limits.ahead_max:
                self._hold(assignment)
            if at_once:
                # It is done as soon as it is taken: what it waits for is the broker alone.
                work.in_line = False
                assignment.active += 1
                work.messages = work.messages or work.instance.serve_inline(delivery)
                served.append(work)
                continue
            self._intake.take(work.topic, work.size_bytes, apart=work.is_apart)
            if self._lanes.put(work.lane, work):
                self._spawn(self._run_lane(work.lane))
        if served:
            count_through(self._intake, served)
            self._publish(served)
        for topic, rest_s in self._floods.rests({it.partition.topic for it in deliveries}, served, now_s).items():
            self._intake.rest(topic, 1)
            asyncio.get_running_loop().call_later(rest_s, self._rested, topic)
        self._balance()

    def _rested(self, topic: str) -> None:
        self._intake.rest(topic, -1)
        self._balance()

    def _send_back(self, work: Work) -> None:
        """Leave to the broker what there is no room for, and what comes after it: it is delivered again later."""
        work.assignment.rewinding = True
        self._bus.rewind(work.assignment.partition, work.delivery.offset)

    async def _wait_for_room(self) -> None:
        """Take nothing more while the host is full: by waiting, which costs less, and by pausing where that goes on."""
        try:
            async with asyncio.timeout(_ROOM_S):
                while self._intake.full:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            self._holds_all = True
            self._balance()

    async def _run_lane(self, lane: Hashable) -> None:
        """Serve the work of one lane, one after the other."""
        while (work := self._lanes.next(lane)) is not None:
            messages = await self._serve(work)
            if messages is None:
                self._drop(work)
            else:
                work.messages = messages
                self._publish([work])

    async def _serve(self, work: Work) -> Sequence[Message] | None:
        """Give the messages that end the work; None when its partition is leaving: its next owner does the work."""
        assignment = work.assignment
        if assignment.leaving.is_set():
            return None
        assignment.active += 1
        messages = await self._roster.attempts(work).serve(work.origin, assignment.leaving, work.tried)
        if messages is None:
            assignment.active -= 1
        return messages

    def _publish(self, works: Sequence[Work]) -> None:
        """Queue the messages of finished work in order; late work of a lost partition is dropped."""
        current = [work for work in works if not work.assignment.closed]
        for work in works:
            if work.assignment.closed:
                self._drop(work)
        if not current:
            return
        if self._transactions is not None:
            self._transactions.wake()
            self._progress.set()
            return
        published = self._bus.publish([message for work in current for message in work.messages])
        published.add_done_callback(partial(self._acknowledged, current))

    def _acknowledged(self, works: Sequence[Work], outcome: "asyncio.Future[Sequence[Refusal]]") -> None:
        """Note as done what the broker has; publish again what it refused."""
        if self._stopped or outcome.cancelled() or outcome.exception() is not None:
            return  # The bus is at its end: what is not acknowledged is not done.
        refused = refused_of(works, outcome.result())
        self._complete([work for work in works if work not in refused])
        for work, refusals in refused.items():
            self._spawn(self._publish_again(work, refusals))

    def _complete(self, works: Sequence[Work]) -> None:
        """Move the watermarks of the partitions concerned, and let the bus commit them."""
        offsets: dict[Assignment, list[int]] = {}
        for work in works:
            offsets.setdefault(work.assignment, []).append(work.delivery.offset)
            work.assignment.active -= 1
        count_done(self._intake, works)
        watermarks: dict[Partition, int] = {}
        now_s = self._clock.monotonic_s()
        for assignment, done in offsets.items():
            before = assignment.ledger.watermark
            assignment.ledger.complete(done)
            if assignment.ledger.watermark == before:
                continue
            assignment.moved_s = now_s
            self._let_go_on(assignment)
            if not (assignment.closed or self._transactions) and assignment.ledger.watermark is not None:
                watermarks[assignment.partition] = assignment.ledger.watermark
        if watermarks:
            self._bus.commit(watermarks)
        self._balance()

    async def _publish_again(self, work: Work, refusals: Sequence[Refusal]) -> None:
        await mend(work, refusals)
        self._publish([work])

    # --- Partitions come and go -----------------------------------------------------------------------------------

    def _assign(self, partitions: Iterable[Partition]) -> None:
        now_s, transacts = self._clock.monotonic_s(), self._transactions is not None
        for partition in sorted(partitions):
            self._assignments[partition] = Assignment(partition, now_s, transacts)
        self._bus.pause([partition for partition in partitions if partition.topic in self._intake.held])
        self._observer.event("info", "partitions_assigned", count=len(self._assignments))

    async def _hand_over(self, revoked: Revoked) -> None:
        """Let work in flight finish while the partitions are still ours, then let them go."""
        leaving = [self._assignments[name] for name in revoked.partitions if name in self._assignments]
        if revoked.lost:
            for assignment in leaving:
                assignment.closed = True
        await self._drain(leaving)
        for assignment in leaving:
            assignment.closed = True
            del self._assignments[assignment.partition]
        if self._transactions is not None:
            await self._transactions.leave(leaving, wait=not revoked.lost)
        revoked.release()
        self._observer.event("info", "partitions_revoked", count=len(leaving), lost=revoked.lost)

    async def _drain(self, assignments: Sequence[Assignment], *, within_s: float | None = None) -> None:
        """Begin nothing more of these partitions, and wait for what was begun, for a bounded time."""
        for assignment in assignments:
            assignment.leaving.set()
        try:
            async with asyncio.timeout(self._host.limits.drain_s if within_s is None else within_s):
                while any(it.settling and not it.closed for it in assignments):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            self._observer.event("warning", "drain_timed_out", unfinished=sum(it.active for it in assignments))

    # --- Bookkeeping ----------------------------------------------------------------------------------------------

    def _balance(self) -> None:
        """Pause the partitions of what is full, resume those of what has room again; tell who waits for a change."""
        self._progress.set()
        self._holds_all = self._holds_all and self._intake.full
        if (change := self._intake.change(hold_all=self._holds_all)) is not None:
            self._bus.pause([partition for partition in self._assignments if partition.topic in change.pause])
            resumed = [it.partition for it in self._assignments.values() if it.partition.topic in change.resume]
            self._bus.resume([partition for partition in resumed if not self._assignments[partition].held])

    def _drop(self, work: Work) -> None:
        """Let go of work of a partition that is leaving: whoever serves it next will do the work."""
        count_done(self._intake, [work])
        self._balance()

    def _hold(self, assignment: Assignment) -> None:
        """Pause a partition where too much is begun behind a command that is not done."""
        if assignment.partition.topic != self._roster.requests and not assignment.held:
            assignment.held = True
            self._bus.pause([assignment.partition])

    def _let_go_on(self, assignment: Assignment) -> None:
        """Resume a partition that was held, once its watermark has caught up by half."""
        if assignment.held and assignment.ledger.unfinished <= self._host.limits.ahead_max // 2:
            assignment.held = False
            if not assignment.leaving.is_set() and assignment.partition.topic not in self._intake.held:
                self._bus.resume([assignment.partition])

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let a bug of the engine end the host: a lane that stands still without a word would be worse."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._loop is not None:
            self._crash = self._crash or error
            self._loop.cancel()
