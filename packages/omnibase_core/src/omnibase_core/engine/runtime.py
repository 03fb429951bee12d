"""NodeRuntime, the one event loop: commands come in, are served, and their answers go out.

Publish before commit: an offset is committed only when the broker has acknowledged the answers or dead letters of all
commands up to it, so that a crash repeats commands and loses none. With exactly once, the two are one transaction.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Hashable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import PurePath

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.host import Guarantee, RuntimeHostContract
from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.dead_letters import size_of
from omnibase_core.engine.dispatch import TURN_S, serve, serve_at_once, serve_run
from omnibase_core.engine.flow_control import FlowControl
from omnibase_core.engine.in_flight import (
    PARKED,
    Assignment,
    InFlightCommand,
    Run,
    count_answer,
    count_done,
    count_growth,
    count_through,
)
from omnibase_core.engine.in_flight_limits import InFlightLimits
from omnibase_core.engine.lanes import Lanes
from omnibase_core.engine.nodes import HostedNodes
from omnibase_core.engine.rebalance import Rebalance
from omnibase_core.engine.rejected_messages import mend, refused_of
from omnibase_core.engine.status import RuntimeStatus
from omnibase_core.engine.transactions import Transactions
from omnibase_core.errors import described
from omnibase_core.idempotency_store import IdempotencyStore
from omnibase_core.ports import (
    Assigned,
    Batch,
    Clock,
    ContractReader,
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


class NodeRuntime(RuntimeStatus):
    """Serves the commands of every node of a host.

    Guarantees: the commands of a lane are served in their order; what is taken is bounded; an offset is committed only
    below the first command that is not done. Cancelling, stopping or losing a partition is never an acknowledgement.
    """

    def __init__(self, host: RuntimeHostContract, *, bus: EnvelopeBus, clock: Clock, observer: Observer) -> None:
        """Keep what the loop needs; nothing starts before `start`."""
        self._host = host
        self._bus = bus
        self._clock = clock
        self._observer = observer
        self._handlers: dict[str, Handler | InlineHandler] = {}
        self._roster = HostedNodes(host, bus=bus, clock=clock, observer=observer)
        self._assignments: dict[Partition, Assignment] = {}
        self._lanes: Lanes[InFlightCommand] = Lanes()
        self._finished: list[tuple[InFlightCommand, Sequence[Message]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._transactions: Transactions | None = None
        if host.guarantee is Guarantee.EXACTLY_ONCE:
            self._transactions = Transactions(
                bus, observer, self._assignments.values, complete=self._complete, drop=self._drop, spawn=self._spawn
            )
        self._bound(InFlightLimits(per_topic={}, in_all=1, bytes_max=1))
        self._crash: BaseException | None = None
        self._stopping = self._ending = self._stopped = False

    def register_handler(self, handler_type: str, handler: Handler | InlineHandler) -> None:
        """Let the nodes of a type be served by the handler. Call it before `load_nodes`."""
        self._handlers[handler_type] = handler

    def register_store(self, store: IdempotencyStore) -> None:
        """Let nodes with idempotency keep their answers here. Call it before `load_nodes`."""
        self._roster.store = store

    def load_nodes(
        self,
        nodes: Iterable[CompiledNode] | PurePath,
        *,
        read: ContractReader | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """Take on the host's nodes, once: compiled ones, or those of the host contract from a folder, through `read`.

        `tracer` reports their attempts. Raises UnknownHandler or StoreMissing, and of a folder InvalidContracts or
        UnknownNode.
        """
        if isinstance(nodes, PurePath):
            if read is None:
                raise TypeError("a folder of contracts is read through `read`")
            registry = FileRegistry(nodes, read)
            nodes = [registry.get(slug) for slug in self._host.nodes]
        for node in nodes:
            self._roster.add(node, self._handlers.get(node.handler_type), tracer=tracer)
        self._bound(self._roster.intake())
        self._roster.bound_answers(self._flow.room, self._flow.requests_room)

    def _bound(self, intake: InFlightLimits) -> None:
        """Keep to these bounds of what is taken."""
        limits = self._host.limits
        self._flow = FlowControl(
            self._bus, intake, self._assignments, ahead_max=limits.ahead_max, requests=self._roster.requests
        )
        self._handover = Rebalance(
            limits,
            self._assignments,
            self._flow,
            self._transactions,
            clock=self._clock,
            observer=self._observer,
            spawn=self._spawn,
        )

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
        """Begin nothing more, let commands in flight finish, commit what is done, leave the group.

        They have `limits.drain_s`, or `within_s` if that is less, in seconds.
        """
        drain_s = self._host.limits.drain_s if within_s is None else min(within_s, self._host.limits.drain_s)
        self._stopping = True
        self._bus.pause(list(self._assignments))
        await self._handover.drain(list(self._assignments.values()), drain_s)
        self._publish_finished()  # A turn later the partitions may be others'.
        for assignment in self._assignments.values():
            assignment.leaving.set()  # What came while the others drained, too: nothing is begun any more.
        self._ending = True
        running = [task for task in (*self._tasks, self._loop) if task is not None and task.cancel()]
        await asyncio.gather(*running, return_exceptions=True)
        for assignment in self._assignments.values():
            assignment.closed = True  # An acknowledgement that still comes counts for nothing: they are others'.
        self._stopped = True

    # --- The loop -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._hear()
        except BaseException:
            # The group has been left: what still ends here is served again by others, and must not come behind that.
            # So it is too where the engine itself has failed, which cancels this.
            self._handover.lose_all()
            raise

    async def _hear(self) -> None:
        # Closed here, and not by the garbage collector: closing commits what is done and leaves the group.
        async with aclosing(self._bus.receive(self._roster.topics)) as happenings:
            async for happening in happenings:
                match happening:
                    case Batch(deliveries, reached):
                        await self._take_all(deque(deliveries))
                        if reached:
                            self._reach(reached)
                    case Assigned(partitions):
                        self._handover.assign(partitions)
                    case Revoked():
                        self._handover.revoke(happening)
                    case Rewound(partition):
                        if (assignment := self._assignments.get(partition)) is not None:
                            assignment.rewinding = False

    async def _take_all(self, deliveries: deque[Delivery]) -> None:
        """Take a batch, in parts where it fills the host or takes long; what finds no room in time is sent back."""
        while deliveries:
            self._take(deliveries)
            if self._flow.intake.full:
                await self._flow.wait_for_room()
                if self._flow.intake.full and deliveries:
                    for delivery in deliveries:
                        self._send_back(delivery)
                    return
            elif deliveries:
                await asyncio.sleep(0)  # The functions took long: let others have a turn.

    def _take(self, deliveries: deque[Delivery]) -> None:
        """Serve at once what awaits nothing, and queue the rest in lanes, until the host has no more room for bytes."""
        served: list[InFlightCommand | Run] = []
        flow, roster, assignments = self._flow, self._roster, self._assignments
        intake = flow.intake
        now_s, room_bytes = self._clock.monotonic_s(), intake.room_bytes
        until_s = now_s + TURN_S
        topics: set[str] = set()
        last_topic = ""
        while deliveries and room_bytes > 0 and not (served and self._clock.monotonic_s() >= until_s):
            delivery = deliveries[0]
            assignment = assignments.get(delivery.partition)
            if assignment is None or assignment.rewinding or assignment.leaving.is_set():
                deliveries.popleft()
                continue
            if (topic := delivery.partition.topic) is not last_topic:
                topics.add(topic)
                last_topic = topic
            if (pure := roster.pure(topic)) is not None and not intake.waiting(topic):
                run = serve_run(roster, assignment, pure, deliveries, room_bytes=room_bytes, until_s=until_s)
                assignment.begin_run(run, now_s)
                flow.begun(assignment)
                served.append(run)
                room_bytes -= run.size_bytes
                continue
            deliveries.popleft()
            work = roster.work_of(delivery, assignment)
            at_once = work.serves_at_once(waiting=intake.waiting(topic))
            work.parked = work.stray is not None and intake.has_room(PARKED)
            if not (at_once or work.parked or intake.has_room(topic, apart=work.is_apart)):
                if not work.asked:
                    self._send_back(delivery)
                    continue
                # Left where it is, it would be in front of the requests that those here are waiting for.
                work.messages, at_once = roster.refused_request(work), True
            assignment.begin(work, now_s)
            flow.begun(assignment)
            if at_once:
                serve_at_once(roster, work)
                served.append(work)
            else:
                work.size_bytes = size_of(delivery)
                intake.take(work.account, work.size_bytes, apart=work.is_apart)
                if self._lanes.put(work.lane, work):
                    self._spawn(self._run_lane(work.lane))
            room_bytes -= work.size_bytes
        if served:
            count_through(intake, served)
            self._publish(served)
        flow.rest(topics, served, now_s)
        flow.balance()

    def _send_back(self, delivery: Delivery) -> None:
        """Leave to the broker what there is no room for, and what comes after it: it is delivered again later."""
        assignment = self._assignments.get(delivery.partition)
        if assignment is not None and not assignment.rewinding:
            assignment.rewinding = True
            self._bus.rewind(assignment.partition, delivery.offset)

    def _reach(self, reached: Mapping[Partition, int]) -> None:
        """Record where nothing but a gap is left in front, so that it can be committed."""
        watermarks: dict[Partition, int] = {}
        for partition, offset in reached.items():
            assignment = self._assignments.get(partition)
            if assignment is None or assignment.rewinding or assignment.leaving.is_set():
                continue
            assignment.ledger.reach(offset)
            if self._transactions is not None:
                self._transactions.gap_reached()
            elif not assignment.ledger.unfinished:
                watermarks[assignment.partition] = offset
        if watermarks:
            self._bus.commit(watermarks)

    async def _run_lane(self, lane: Hashable) -> None:
        """Serve the work of one lane, one after the other."""
        while (work := self._lanes.next(lane)) is not None:
            messages = await self._serve(work)
            if messages is None:
                self._drop(work)
            else:
                self._publish_soon(work, messages)

    def _serve(self, work: InFlightCommand) -> Coroutine[None, None, Sequence[Message] | None]:
        return serve(self._roster, work, is_ending=self._is_ending)

    def _is_ending(self) -> bool:
        return self._ending

    def _publish_soon(self, work: InFlightCommand, messages: Sequence[Message]) -> None:
        """Publish together what is finished within one turn of the event loop: alone, each costs as much as a call."""
        count_answer(self._flow.intake, work, messages)
        if not self._finished:
            asyncio.get_running_loop().call_soon(self._publish_finished)
        self._finished.append((work, messages))

    def _publish_finished(self) -> None:
        finished, self._finished = self._finished, []
        for work, messages in finished:
            work.messages = messages
        self._publish([work for work, _ in finished])

    def _publish(self, works: Sequence[InFlightCommand | Run]) -> None:
        """Queue the messages of finished work in order; late work of a lost partition is dropped."""
        current = [work for work in works if not work.assignment.closed]
        for work in works if len(current) < len(works) else ():
            if not work.assignment.closed:
                continue
            self._drop(work)
            if isinstance(work, InFlightCommand):
                work.messages = ()  # It may still stand in its partition's line, which is about to be dropped, too.
        if not current:
            return
        if self._transactions is not None:
            self._transactions.wake()
            self._flow.progress.set()
            return
        published = self._bus.publish([message for work in current for message in work.messages])
        published.add_done_callback(partial(self._acknowledged, current))

    def _acknowledged(
        self, served: Sequence[InFlightCommand | Run], outcome: "asyncio.Future[Sequence[Refusal]]"
    ) -> None:
        """Record as done what the broker has; publish again what it refused."""
        if self._stopped or outcome.cancelled() or outcome.exception() is not None:
            return  # The bus is at its end: what is not acknowledged is not done.
        if not outcome.result():
            self._complete(served)
            return
        works = [work for it in served for work in ([it] if isinstance(it, InFlightCommand) else it.works())]
        refused = refused_of(works, outcome.result())
        self._complete([work for work in works if work not in refused])
        for work, refusals in refused.items():
            self._spawn(self._publish_again(work, refusals))

    def _complete(self, works: Sequence[InFlightCommand | Run]) -> None:
        """Move the watermarks of the partitions concerned, and let the bus commit them."""
        offsets: dict[Assignment, list[int]] = {}
        for work in works:
            done = work.offsets
            offsets.setdefault(work.assignment, []).extend(done)
            work.assignment.active -= len(done)
        count_done(self._flow.intake, works)
        watermarks: dict[Partition, int] = {}
        now_s = self._clock.monotonic_s()
        for assignment, ended in offsets.items():
            before = assignment.ledger.watermark
            assignment.ledger.complete(ended)
            self._flow.moved(assignment)
            if assignment.ledger.watermark == before:
                continue
            assignment.moved_s = now_s
            if not (assignment.closed or self._transactions) and assignment.ledger.watermark is not None:
                watermarks[assignment.partition] = assignment.ledger.watermark
        if watermarks:
            self._bus.commit(watermarks)
        self._flow.balance()

    async def _publish_again(self, work: InFlightCommand, refusals: Sequence[Refusal]) -> None:
        before_bytes = sum(map(size_of, work.messages))
        await mend(work, refusals, transacts=False)
        count_growth(self._flow.intake, work, sum(map(size_of, work.messages)) - before_bytes)
        self._publish([work])

    # --- Bookkeeping ----------------------------------------------------------------------------------------------

    def _drop(self, work: InFlightCommand | Run) -> None:
        """Let go of work of a partition that is leaving: its next owner does the work."""
        count_done(self._flow.intake, [work])
        self._flow.balance()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let a bug of the engine end the host: a lane that stands still without a word would be worse."""
        self._tasks.discard(task)
        if self._stopping or self._loop is None:
            return
        error = RuntimeError(f"{task.get_name()} was cancelled") if task.cancelled() else task.exception()
        if error is not None:
            self._crash = self._crash or error
            self._observer.event("error", "engine_failed", reason=described(error))
            self._loop.cancel()
