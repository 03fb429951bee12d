"""A Kafka in virtual time, the client's side: an EnvelopeBus whose link may break and whose host may crash."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from omnibase_core.dead_letters import size_of
from omnibase_core.errors import BusError, TransactionAborted
from omnibase_core.ports import Assigned, Happening, Message, Partition, Refusal, Revoked
from omnibase_core.testing.simulated_cluster import SimulatedCluster
from omnibase_core.testing.simulated_consumer import Held, SimulatedConsumer
from omnibase_core.testing.simulated_group import Tenure

_COMMIT_EVERY_S = 0.5
_LAST_COMMIT_TRIES = 5
_A_MOMENT_S = 1e-6

Published = asyncio.Future[Sequence[Refusal]]


@dataclass(eq=False)
class _Publication:
    """What one call of `publish` waits for."""

    outcome: Published
    waiting: int
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(eq=False)
class _Transaction:
    """One transaction. Once it is `fenced` the broker takes nothing more of it; `kept` says what it had by then."""

    outcome: Published
    messages: Sequence[Message]
    offsets: Mapping[Tenure, int]
    held: Sequence[Held]
    hangs: bool = False
    fenced: bool = False
    kept: bool = False


class SimulatedBus:
    """An EnvelopeBus on a SimulatedCluster.

    Messages of one client to one partition are kept in their order; acknowledgements come in any. What is committed
    reaches the broker within half a second, or later where commits fail; before a release, and when the iterator is
    closed.
    """

    def __init__(self, cluster: SimulatedCluster, *, group: str, batch_size: int = 6, revoke_s: float = 1.0) -> None:
        """Be a client whose link is up. It takes the broker for a little more generous than it is.

        For `revoke_s` seconds a transaction under way is worth waiting for before a release.
        """
        self._revoke_s = revoke_s
        self.message_bytes_max = cluster.message_bytes_max + 1000
        self.topics: Sequence[str] = ()
        self.batch_size = batch_size
        self.crashed = False
        self._cluster = cluster
        self._dice = cluster.dice
        self._group = cluster.group(group)
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self.consumer = self.make_consumer()
        self._down_until_s = 0.0
        self._receiving = False
        self._failed = False
        self._underway: deque[tuple[Assigned | Revoked, Sequence[Tenure]]] = deque()
        self._committing = False
        self._channels: dict[Partition, deque[tuple[_Publication, int, Message]]] = {}
        self._unanswered: dict[_Publication, None] = {}
        self._transaction: _Transaction | None = None

    def make_consumer(self) -> SimulatedConsumer:
        """Return the consumer of this client."""
        return SimulatedConsumer(self._cluster, self._group, wake=self._woken.set)

    @property
    def receiving(self) -> bool:
        """Whether the iterator of `receive` is open."""
        return self._receiving

    @property
    def held(self) -> Mapping[Partition, Held]:
        """The assignments that the runtime has been told of, and not been told to give up."""
        return self.consumer.held

    # --- The port -------------------------------------------------------------------------------------------------

    async def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Join the group and give what happens until the iterator is closed; then leave."""
        self.topics, self._receiving = topics, True
        self._send(self._come_back)
        try:
            while True:
                await asyncio.sleep(self._way_s())
                if self._failed:
                    raise BusError("the simulated client cannot go on")
                self._woken.clear()
                room = 0 if self._down_s() else 1 + self._dice.below(self.batch_size)
                if (happening := self.consumer.turn(room)) is not None:
                    yield happening
                else:
                    await self._woken.wait()
        finally:
            await self._leave()

    def publish(self, messages: Sequence[Message], /) -> Published:
        """Queue the messages, each on the way to its partition."""
        publication = _Publication(self._loop.create_future(), len(messages))
        if self.crashed:
            return publication.outcome
        self._cluster.witness.published(messages, self.held)
        self._unanswered[publication] = None
        for index, message in enumerate(messages):
            place = self._cluster.place_of(message)
            self._channels.setdefault(place, deque()).append((publication, index, message))
            self._send(partial(self._arrive, place))
        return publication.outcome

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Note the offsets under the assignments that are in force."""
        if self.crashed or not self._receiving:
            return
        self._cluster.witness.noted(self._of_this_log(offsets), self.held)
        self.consumer.note(offsets)
        self._commit_soon()

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Published:
        """Send messages and offsets to the broker, which keeps all or nothing of them."""
        outcome: Published = self._loop.create_future()
        if self.crashed:
            return outcome
        witness = self._cluster.witness
        witness.published(messages, self.held)
        if self._transaction is not None:
            witness.objection("a transaction began before the one before it had ended")
        mine = self.consumer.current(offsets)
        tenures = {held.tenure: offsets[held.partition] for held in mine}
        transaction = self._transaction = _Transaction(outcome, messages, tenures, mine)
        transaction.hangs = self._dice.chance(self._cluster.faults.hung)
        self._send(partial(self._transaction_arrives, transaction))
        if transaction.hangs:
            self.watch(transaction)
        return outcome

    def watch(self, transaction: _Transaction) -> None:
        """Give up a client call that never returns, fence what it may still do, and learn what became of it."""
        self._loop.call_later(self._cluster.faults.watchdog_s, self._send, partial(self._recover, transaction))

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Fetch nothing more of these partitions."""
        self.consumer.ask(self.consumer.pause, partitions)

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Fetch these partitions again."""
        self.consumer.ask(self.consumer.resume, partitions)

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Go back in the partition, after a moment in which more may be on its way."""
        self.consumer.ask(partial(self.consumer.rewind, offset), [partition])

    async def close(self, *, within_s: float = 5.0) -> None:
        """Let what was published go out, for a bounded time. What is not acknowledged then is cancelled."""
        if self._unanswered:
            await asyncio.wait([publication.outcome for publication in self._unanswered], timeout=within_s)
        self.crashed = True
        for publication in list(self._unanswered):
            publication.outcome.cancel()

    # --- What may happen to a client ------------------------------------------------------------------------------

    def crash(self) -> None:
        """Stop in the middle of everything. What is on its way is lost; the group notices when the session ends."""
        self.crashed = True
        self._end_session_later()

    def fail(self) -> None:
        """End `receive` with a BusError. The group notices when the session ends; what was published goes on."""
        self._failed = True
        self._woken.set()

    def cut_off(self, seconds: float) -> None:
        """Break the link for a while: longer than a session lasts, and the group goes on without this client."""
        self._down_until_s = max(self._down_until_s, self._loop.time() + seconds)
        self._end_session_later()
        self._send(self._come_back)

    # --- What the group says --------------------------------------------------------------------------------------

    def tell(self, happening: Assigned | Revoked, tenures: Sequence[Tenure]) -> None:
        """Send word to the client."""
        self._underway.append((happening, tenures))
        self._send(self._hear)

    def has_news(self, partition: Partition) -> None:
        """Look at a partition again."""
        if (held := self.held.get(partition)) is not None:
            self.consumer.watch(held)
            self._woken.set()

    def _hear(self) -> None:
        self.consumer.news.append(partial(self._heard, *self._underway.popleft()))
        self._woken.set()

    def _heard(self, happening: Assigned | Revoked, tenures: Sequence[Tenure]) -> Happening | None:
        """Note what the client is given or has to give up, at the moment when the runtime learns it."""
        if isinstance(happening, Assigned):
            return self.consumer.assigned(tenures)
        mine = [it for it in map(self._held_under, tenures) if it is not None]
        waits_until_s = self._loop.time() + self._revoke_s
        for held in mine:
            held.leaving = True
        partitions = frozenset(held.partition for held in mine)
        if happening.lost:
            for held in mine:
                self.consumer.forget(held)
            return replace(happening, partitions=partitions)
        return replace(happening, partitions=partitions, release=partial(self._release, mine, tenures, waits_until_s))

    def _held_under(self, tenure: Tenure) -> Held | None:
        held = self.held.get(tenure.partition)
        return held if held is not None and held.tenure is tenure else None

    def _release(self, mine: Sequence[Held], tenures: Sequence[Tenure], waits_until_s: float) -> None:
        transaction = self._transaction
        is_early = self._loop.time() < waits_until_s - _A_MOMENT_S
        if transaction is not None and is_early and any(held.tenure in transaction.offsets for held in mine):
            self._cluster.witness.objection("a partition was released within a transaction")
        for held in mine:
            self.consumer.forget(held)
        self._send(partial(self._let_go, mine, tenures, _LAST_COMMIT_TRIES))

    def _let_go(self, mine: Sequence[Held], tenures: Sequence[Tenure], tries: int) -> None:
        """Commit what is noted, some times if need be, and only then let go."""
        left = [held for held in mine if not self._committed_last(held)]
        if left and tries > 1:
            self._send(partial(self._let_go, left, tenures, tries - 1))
        else:
            self._group.release(tenures)

    async def _leave(self) -> None:
        """Commit what is noted and leave; without a link, the session ends by itself."""
        await asyncio.sleep(self._way_s())
        self._receiving = False
        if self.crashed or self._failed or self._down_s():
            self._end_session_later()
        else:
            for held in self.held.values():
                any(self._committed_last(held) for _ in range(_LAST_COMMIT_TRIES))
            self._group.leave(self)
        if not self._failed:
            self.held.clear()  # type: ignore[attr-defined]  # what this client had is nobody's any more

    # --- To the broker and back -----------------------------------------------------------------------------------

    def _arrive(self, place: Partition) -> None:
        """The oldest message on its way to a partition is there."""
        publication, index, message = self._channels[place].popleft()
        error = self._cluster.append(place, message)
        refusals = [] if error is None else [Refusal(index, error)]
        self._send(partial(self._answer, publication, refusals))

    def _answer(self, publication: _Publication, refusals: Sequence[Refusal]) -> None:
        publication.refusals.extend(refusals)
        publication.waiting -= 1
        if not publication.waiting:
            del self._unanswered[publication]
            if not publication.outcome.done():
                publication.outcome.set_result(publication.refusals)

    def _transaction_arrives(self, transaction: _Transaction) -> None:
        """Keep everything, or nothing: by the group's, a quota's or the dice's will."""
        refusals: list[Refusal] = []
        faults = self._cluster.faults
        in_time = sum(map(size_of, transaction.messages)) <= faults.transaction_bytes_max
        is_possible = in_time and not transaction.fenced and all(map(self._is_of_this_log, transaction.held))
        if is_possible and self in self._group and not self._dice.chance(faults.aborted):
            refusals = self._cluster.refusals_of(transaction.messages)
            transaction.kept = not refusals and self._group.commits_all(transaction.offsets, transaction.messages)
        if not transaction.hangs:
            self._send(partial(self._transaction_ends, transaction, refusals))

    def _recover(self, transaction: _Transaction) -> None:
        transaction.fenced = True
        self._send(partial(self._transaction_ends, transaction, []))

    def _transaction_ends(self, transaction: _Transaction, refusals: Sequence[Refusal]) -> None:
        self._transaction = None
        if transaction.outcome.done():
            return
        if transaction.kept or refusals:
            transaction.outcome.set_result(refusals)
        else:
            transaction.outcome.set_exception(TransactionAborted("the group, a quota or the dice were against it"))

    # --- Commits --------------------------------------------------------------------------------------------------

    def _commit_soon(self) -> None:
        if not self._committing:
            self._committing = True
            self._loop.call_later(self._dice.between(0, _COMMIT_EVERY_S), self._commit)

    def _commit(self) -> None:
        """Send what is due, and look again as long as anything is."""
        self._committing = False
        if self.crashed or not self._receiving:
            return
        for held in self.held.values():
            if (offset := held.due) is not None:
                held.sent = offset
                self._send(partial(self._commit_arrives, held, offset))
        if any(held.sent is not None or held.due is not None for held in self.held.values()):
            self._commit_soon()

    def _commit_arrives(self, held: Held, offset: int) -> None:
        if offset <= (held.acknowledged or 0):
            return  # One connection keeps the order: what was sent later cannot have come before.
        self._send(partial(self.commit_ends, held, offset, self._committed(held, offset)))

    def commit_ends(self, held: Held, offset: int, is_kept: bool) -> None:  # noqa: FBT001 - the broker's answer
        """Take the broker's answer: what it has not kept is sent again, or what is noted by then."""
        held.sent = None
        if is_kept:
            held.acknowledged = max(held.acknowledged or 0, offset)

    def _committed_last(self, held: Held) -> bool:
        """Commit what is noted, if anything is, and nothing after it."""
        if held.noted is None:
            return True
        if is_kept := self._committed(held, held.noted):
            held.acknowledged = held.noted
        return is_kept

    def _committed(self, held: Held, offset: int) -> bool:
        """Commit at the broker. What is of a log that is gone by now is done with: another log has its name.

        Kinder than Kafka, which would take such an offset if the topic were created again within this very moment.
        """
        if self._dice.chance(self._cluster.faults.commit_failed):
            return False
        if self._is_of_this_log(held):
            self._group.commit(held.tenure, offset)
        return True

    def _is_of_this_log(self, held: Held) -> bool:
        log = self._cluster.log(held.partition)
        return log is not None and log.identity == held.identity

    def _of_this_log(self, offsets: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """Leave out what is of a log that is gone, which the runtime cannot know yet."""
        gone = {it.partition for it in self.consumer.current(offsets) if not self._is_of_this_log(it)}
        return {partition: offset for partition, offset in offsets.items() if partition not in gone}

    # --- The link -------------------------------------------------------------------------------------------------

    def _come_back(self) -> None:
        if self._receiving and self not in self._group:
            self._group.join(self)
        self._woken.set()

    def _end_session_later(self) -> None:
        self._cluster.later(self._cluster.faults.session_s, self._end_session)

    def _end_session(self) -> None:
        if self.crashed or not self._receiving or self._down_until_s > self._loop.time():
            self._group.evict(self)

    def _send(self, then: Callable[[], None]) -> None:
        """Do something at the other end after a way of random length, or once there is a link."""
        self._loop.call_later(self._way_s(), self._pass, then)

    def _pass(self, then: Callable[[], None]) -> None:
        if self.crashed:
            return
        if down_s := self._down_s():
            self._loop.call_later(down_s + self._way_s(), self._pass, then)
        else:
            then()

    def _way_s(self) -> float:
        return self._dice.between(0, self._cluster.faults.latency_s)

    def _down_s(self) -> float:
        return max(0.0, self._down_until_s - self._loop.time(), self._cluster.away_until_s - self._loop.time())
