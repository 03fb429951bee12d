"""The simulation finds what it is there to find: engines with one fault each, which must not get through."""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pytest

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.engine.flow_control import FlowControl
from omnibase_core.engine.handler_publisher import DEPTH, CommandOutlet, Outgoing
from omnibase_core.engine.idempotency import Claim, IdempotencyGuard, Wait
from omnibase_core.engine.in_flight_limits import InFlightLimits
from omnibase_core.engine.lanes import Lanes
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.engine.transactions import Transactions
from omnibase_core.idempotency_store import Recorded
from omnibase_core.testing.simulated_bus import SimulatedBus
from omnibase_core.testing.simulated_consumer import SimulatedConsumer
from tests.simulation.scenario import play

SEEDS = 500


class CommitsEarly(NodeRuntime):
    """Commits when the answer is on its way, and does not wait for the acknowledgement."""

    def _publish(self, works: Sequence[Any]) -> None:
        super()._publish(works)
        for work in works:
            work.assignment.ledger.complete([work.delivery.offset])
            self._bus.commit({work.assignment.partition: work.assignment.ledger.watermark})


class PublishesLate(NodeRuntime):
    """Forgets, when it publishes, that the partition is gone."""

    def _publish(self, works: Sequence[Any]) -> None:
        closed = {work.assignment: work.assignment.closed for work in works}
        for assignment in closed:
            assignment.closed = False
        super()._publish(works)
        for assignment, was_closed in closed.items():
            assignment.closed = was_closed


class CommitsLate(NodeRuntime):
    """Forgets, when work is done, that the partition is gone."""

    def _complete(self, works: Sequence[Any]) -> None:
        super()._complete(works)
        self._bus.commit({work.assignment.partition: work.assignment.ledger.watermark for work in works})


class LosesDeadLetters(NodeRuntime):
    """Publishes the first message of each command only."""

    def _publish(self, works: Sequence[Any]) -> None:
        for work in works:
            work.messages = work.messages[:1]
        super()._publish(works)


class _Crowd(Lanes[Any]):
    """Lanes that are open to everybody at once."""

    def put(self, lane: Any, item: Any) -> bool:
        super().put(lane, item)
        return True

    def next(self, lane: Any) -> Any:
        waiting = self._waiting.get(lane)
        return waiting.popleft() if waiting else None


class ForgetsLanes(NodeRuntime):
    """Serves the commands of a key at the same time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Let everybody in."""
        super().__init__(*arguments, **options)
        self._lanes = _Crowd()


class CountsCancelledAsDone(NodeRuntime):
    """Takes a command whose work was cancelled for one that is done."""

    async def _serve(self, work: Any) -> Any:
        try:
            return await super()._serve(work)
        except asyncio.CancelledError:
            self._complete([work])
            raise


class PublishesOnce(NodeRuntime):
    """Takes a refused message for one that is done with."""

    async def _publish_again(self, work: Any, refusals: Any) -> None:
        del refusals
        self._complete([work])


class _Roomy(InFlightLimits):
    """Has room for everything."""

    def has_room(self, *_: Any, **__: Any) -> bool:
        return True


class _Unheeding(FlowControl):
    """Pauses nothing."""

    def balance(self) -> None:
        pass


class TakesWithoutRoom(NodeRuntime):
    """Takes whatever comes, however much is under way."""

    def load_nodes(self, nodes: Iterable[CompiledNode], **options: Any) -> None:
        """Have room."""
        super().load_nodes(nodes, **options)
        self._flow.intake.__class__ = _Roomy
        self._flow.__class__ = _Unheeding


class TakesWhatComesBehind(NodeRuntime):
    """Sends a command back, and serves those that are on their way behind it."""

    def _send_back(self, delivery: Any) -> None:
        super()._send_back(delivery)
        self._assignments[delivery.partition].rewinding = False


class ForgetsWhatItSentBack(NodeRuntime):
    """Leaves a command out for which there was no room."""

    def _send_back(self, delivery: Any) -> None:
        pass


class _RecordsEarly(IdempotencyGuard):
    """Records that all went well as soon as it has the key."""

    async def claim(self, delivery: Any, command: Any, planned: Any) -> Any:
        claim = await super().claim(delivery, command, planned)
        if isinstance(claim, Claim) and claim.token is not None:
            messages = self.instance.replies.result(
                delivery, self.instance.answers, command, {}, self.instance.clock.now()
            )
            await super().settle(claim, delivery, command, messages, asyncio.Event())
        return claim


class _TakesWhatIsTaken(IdempotencyGuard):
    """Does not wait for another command that has its key."""

    async def claim(self, delivery: Any, command: Any, planned: Any) -> Any:
        claim = await super().claim(delivery, command, planned)
        return Claim("taken", 1) if isinstance(claim, Wait) else claim


class _ServesAnew(IdempotencyGuard):
    """Does not look at what is recorded for a key."""

    async def claim(self, delivery: Any, command: Any, planned: Any) -> Any:
        claim = await super().claim(delivery, command, planned)
        return Claim("recorded", 1) if isinstance(claim, Recorded) else claim


class _OtherwiseOnce(NodeRuntime):
    """An engine that is right, but for how its nodes keep to one effect a key."""

    once: type[IdempotencyGuard]

    def load_nodes(self, nodes: Any) -> None:
        """Put the mutant in."""
        super().load_nodes(nodes)
        attempts = self._roster._attempts  # noqa: SLF001 - the engine's own, of which this is a kind
        for topic, found in attempts.items():
            if found.once is not None:
                fields = {field.name: getattr(found.once, field.name) for field in dataclasses.fields(found.once)}
                attempts[topic] = dataclasses.replace(found, once=self.once(**fields))


class RecordsBeforeTheEffect(_OtherwiseOnce):
    """Takes a command that was begun for one that is done."""

    once = _RecordsEarly


class IgnoresTheClaim(_OtherwiseOnce):
    """Lets two commands of a key have their effects at once."""

    once = _TakesWhatIsTaken


class IgnoresTheRecord(_OtherwiseOnce):
    """Serves every command, whatever was answered before."""

    once = _ServesAnew


class _Hasty(Transactions):
    """Takes whatever is done, and does not wait for what is before it."""

    def _ready(self) -> list[Any]:
        works = super()._ready()
        for assignment in self._assignments():
            done = [work for work in assignment.line if work.messages]
            works.extend(done)
            for work in done:
                assignment.line.remove(work)
        return works


class _Clinging(Transactions):
    """Tries again for partitions that are gone."""

    def _put_back(self, works: Sequence[Any]) -> None:
        super()._put_back(works)
        self._clung = [work for work in works if work.assignment.closed]

    def _ready(self) -> list[Any]:
        clung, self._clung = getattr(self, "_clung", []), []
        return [*super()._ready(), *clung]


class _Forgetful(Transactions):
    """Takes an aborted transaction for one that is done."""

    def _put_back(self, works: Sequence[Any]) -> None:
        self._complete(works)


class _Impatient(Transactions):
    """Lets partitions go while a transaction is under way."""

    async def settled(self, within_s: float) -> None:
        pass


class SkipsAhead(NodeRuntime):
    """Commits past what is not done, within a transaction."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Have such transactions."""
        super().__init__(*arguments, **options)
        self._transactions = _with(_Hasty, self._transactions)


class ClingsToWhatIsLost(NodeRuntime):
    """Answers for partitions that have another owner."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Have such transactions."""
        super().__init__(*arguments, **options)
        self._transactions = _with(_Clinging, self._transactions)


class ForgetsTheAborted(NodeRuntime):
    """Loses what was in an aborted transaction."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Have such transactions."""
        super().__init__(*arguments, **options)
        self._transactions = _with(_Forgetful, self._transactions)


class ReleasesWithin(NodeRuntime):
    """Gives partitions back before the transaction that commits for them has ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Have such transactions."""
        super().__init__(*arguments, **options)
        self._transactions = _with(_Impatient, self._transactions)


class PublishesBesideTheTransaction(NodeRuntime):
    """Publishes at once what belongs into the transaction of the answer."""

    def load_nodes(self, nodes: Iterable[CompiledNode]) -> None:  # noqa: D102 - the class says it
        super().load_nodes(nodes)
        for attempts in self._roster._attempts.values():  # noqa: SLF001 - the fault is put in from outside
            object.__setattr__(attempts.instance, "outlet", partial(CommandOutlet, self._bus, transacts=False))


class ForgetsWhatHandlersPublish(NodeRuntime):
    """Publishes answers and dead letters alone."""

    def _publish(self, works: Sequence[Any]) -> None:
        for work in works:
            work.messages = [it for it in work.messages if not isinstance(it, Outgoing)]
        super()._publish(works)


def _with(kind: type[Transactions], transactions: Transactions | None) -> Transactions | None:
    if transactions is not None:
        transactions.__class__ = kind
    return transactions


class DropsTheGuard(NodeRuntime):
    """Lets what escapes from serving a command end its lane."""

    async def _serve(self, work: Any) -> Any:
        assignment = work.assignment
        if assignment.leaving.is_set():
            return None
        assignment.active += 1
        serving = self._roster.attempts(work)
        delivery = work.origin if work.stray is None else work.delivery
        messages = await serving.serve(delivery, work, work.tried)
        if messages is None:
            assignment.active -= 1
        return messages


class GuardRemoved(NodeRuntime):
    """Catches what escapes from serving a command, wherever it is served, and does nothing about it."""

    def load_nodes(self, nodes: Iterable[CompiledNode], **options: Any) -> None:
        """Let it go on."""
        super().load_nodes(nodes, **options)
        self._roster.raw_letter = self._raised_again  # type: ignore[method-assign]

    def _raised_again(self, _: Any, error: BaseException) -> Any:
        raise error


class TakesCancellationsForItsOwn(NodeRuntime):
    """Lets a handler that cancels its own task end its lane."""

    def _is_ending(self) -> bool:
        return True


class MakesNoProgress(NodeRuntime):
    """Publishes again, as it is, what was refused: each retry is as the one before it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Have such transactions."""
        super().__init__(*arguments, **options)
        self._transactions = _with(_Stubborn, self._transactions)

    async def _publish_again(self, work: Any, refusals: Any) -> None:
        work.messages = [work.messages[refusal.index] for refusal in refusals]
        self._publish([work])


class _Stubborn(Transactions):
    """Mends nothing."""

    async def _mended(self, work: Any, _: Any) -> None:
        self._mending.discard(work.assignment)
        self.wake()


class DepthUnbounded(NodeRuntime):
    """Takes whatever depth a sender has chosen."""

    def load_nodes(self, nodes: Iterable[CompiledNode], **options: Any) -> None:
        """Know no bound."""
        super().load_nodes(nodes, **options)
        for attempts in self._roster._attempts.values():  # noqa: SLF001 - the fault is put in from outside
            object.__setattr__(attempts.instance, "depth_max", 1_000_000)


class _Trusting(CommandOutlet):
    """Takes a number of any length for the depth of a request."""

    @property
    def depth(self) -> int:
        return int(dict(self._headers).get(DEPTH) or 0)


class DepthOfRequestsUnbounded(NodeRuntime):
    """Believes what a header says of how many nodes wait."""

    def load_nodes(self, nodes: Iterable[CompiledNode], **options: Any) -> None:
        """Know no bound."""
        super().load_nodes(nodes, **options)
        transacts = self._transactions is not None
        for attempts in self._roster._attempts.values():  # noqa: SLF001 - the fault is put in from outside
            object.__setattr__(attempts.instance, "outlet", partial(_Trusting, self._bus, transacts=transacts))


class GuessesHeaders(NodeRuntime):
    """Serves commands whose headers cannot be read as if they had none."""

    async def _take_all(self, deliveries: Any) -> None:
        await super()._take_all(deque(it._replace(headers_error=None) for it in deliveries))


class UnboundedTransactions(NodeRuntime):
    """Puts whatever is ready into one transaction, however long the broker takes for it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Have such transactions."""
        super().__init__(*arguments, **options)
        self._transactions = _with(_Unbounded, self._transactions)


class _Unbounded(Transactions):
    """Never makes a transaction smaller."""

    def _resize(self, *_: Any, **__: Any) -> None:
        pass


class ForgetsGaps(NodeRuntime):
    """Commits behind the last record, and leaves what is a gap for ever."""

    def _reach(self, reached: Any) -> None:
        pass


class HoldsInSilence(NodeRuntime):
    """Says of no partition that it is held."""

    held = {}  # noqa: RUF012 - stands for the property


class LeavesStraysDead(NodeRuntime):
    """Ends commands of nodes that another host of the pool has."""

    def load_nodes(self, nodes: Iterable[CompiledNode], **options: Any) -> None:
        """Leave nothing to others."""
        super().load_nodes(nodes, **options)
        limits = self._host.limits.model_copy(update={"unknown_node_s": 0.0})
        strays = self._roster._strays  # noqa: SLF001 - the fault is put in from outside
        self._roster._strays = dataclasses.replace(  # noqa: SLF001
            strays, host=self._host.model_copy(update={"limits": limits})
        )


class _Uncounted(InFlightLimits):
    """Counts commands, and not what is published for them."""

    def answered(self, *_: Any, **__: Any) -> None:
        pass


class CountsCommandsAlone(NodeRuntime):
    """Forgets to count what it publishes, and gives it back all the same."""

    def load_nodes(self, nodes: Iterable[CompiledNode], **options: Any) -> None:
        """Count so."""
        super().load_nodes(nodes, **options)
        self._flow.intake.__class__ = _Uncounted


class _KeepsPauses(SimulatedConsumer):
    def start(self, fresh: Any) -> None:
        pass


class KeepsPausesOnAssignment(SimulatedBus):
    """Begins an assignment as librdkafka does: paused, if the partition was paused when it went."""

    def make_consumer(self) -> SimulatedConsumer:
        """Have such a consumer."""
        return _KeepsPauses(self._cluster, self._group, wake=self._woken.set)


class _TakesItForARepeat(SimulatedConsumer):
    def went_back(self, held: Any, *, start: int | None = None) -> None:
        log = self._cluster.log(held.partition)
        held.identity, held.expected = log.identity if log else 0, None
        held.position = 0 if start is not None else held.position


class TakesARegressionForARepeat(SimulatedBus):
    """Passes on offsets that went back as if they were of the same assignment."""

    def make_consumer(self) -> SimulatedConsumer:
        """Have such a consumer."""
        return _TakesItForARepeat(self._cluster, self._group, wake=self._woken.set)


class OldestOffsetWins(SimulatedBus):
    """Notes a failed commit again, whatever was noted since."""

    def commit_ends(self, held: Any, offset: int, is_kept: bool) -> None:  # noqa: FBT001 - as it is overridden
        """Go back to what failed."""
        super().commit_ends(held, offset, is_kept)
        if not is_kept:
            held.noted = offset


class WatchdogOff(SimulatedBus):
    """Waits for a call of the client for as long as it takes."""

    def watch(self, transaction: Any) -> None:
        """Never look."""


MUTANTS: dict[type[NodeRuntime] | type[SimulatedBus], str] = {
    CommitsEarly: "committed too early",
    PublishesLate: "published late",
    CommitsLate: "committed late",
    LosesDeadLetters: "committed too early",
    ForgetsLanes: "too many at once",
    CountsCancelledAsDone: "committed too early",
    PublishesOnce: "committed too early",
    TakesWithoutRoom: "in flight",
    TakesWhatComesBehind: "committed too early",
    ForgetsWhatItSentBack: "committed too early",
    RecordsBeforeTheEffect: "recorded too early",
    IgnoresTheClaim: "two effects at once",
    IgnoresTheRecord: "second effect",
    SkipsAhead: "committed too early",
    ClingsToWhatIsLost: "published late",
    ForgetsTheAborted: "stuck",
    ReleasesWithin: "a partition was released within a transaction",
    PublishesBesideTheTransaction: "failed, and its record is there",
    ForgetsWhatHandlersPublish: "answered without its record",
    DropsTheGuard: "the engine ended by",
    GuardRemoved: "the engine ended by",
    TakesCancellationsForItsOwn: "the engine ended by",
    MakesNoProgress: "refused without end",
    DepthUnbounded: "ended otherwise",
    DepthOfRequestsUnbounded: "ended otherwise",
    GuessesHeaders: "ended otherwise",
    UnboundedTransactions: "stuck",
    ForgetsGaps: "stuck: a gap",
    HoldsInSilence: "not fetched, and nobody says why",
    LeavesStraysDead: "a stray ended early",
    CountsCommandsAlone: "all is done, and still in flight",
    KeepsPausesOnAssignment: "not fetched, and nobody says why",
    TakesARegressionForARepeat: "the engine ended by BusError",
    OldestOffsetWins: "stuck",
    WatchdogOff: "stuck",
}
"""The engines and clients, and how the violation starts that gives each away."""


def caught_at(mutant: type[NodeRuntime] | type[SimulatedBus]) -> int | None:
    """Return the first seed that shows the fault, and in which the engine itself has none of that kind."""
    for seed in range(SEEDS):
        if _shows(mutant, seed, MUTANTS[mutant]) and not _shows(NodeRuntime, seed, MUTANTS[mutant]):
            return seed
    return None


def _shows(mutant: type[NodeRuntime] | type[SimulatedBus], seed: int, fault: str) -> bool:
    history = play(seed, bus=mutant) if issubclass(mutant, SimulatedBus) else play(seed, mutant)
    return any(violation.startswith(fault) for violation in history.invariants.violations)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(mutant: type[NodeRuntime] | type[SimulatedBus]) -> None:
    """Within so many histories, one shows the fault."""
    assert caught_at(mutant) is not None
