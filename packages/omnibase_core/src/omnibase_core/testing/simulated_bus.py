"""A Kafka in virtual time, the client's side: an EnvelopeBus whose link may break and whose host may crash."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from omnibase_core.errors import BusError
from omnibase_core.ports import Assigned, Happening, Message, Partition, Revoked
from omnibase_core.testing.simulated_cluster import SimulatedCluster
from omnibase_core.testing.simulated_consumer import ConsumedPartition, SimulatedConsumer
from omnibase_core.testing.simulated_group import Tenure
from omnibase_core.testing.simulated_link import SimulatedLink
from omnibase_core.testing.simulated_producer import Published, SimulatedProducer, SimulatedTransaction

_COMMIT_EVERY_S = 0.5
_LAST_COMMIT_TRIES = 5
_A_MOMENT_S = 1e-6


class SimulatedBus:
    """An EnvelopeBus on a SimulatedCluster.

    What is committed reaches the broker within half a second, or later where commits fail; before a release, and when
    the iterator is closed.
    """

    def __init__(self, cluster: SimulatedCluster, *, group: str, batch_size: int = 6, revoke_s: float = 1.0) -> None:
        """Be a client whose link is up. It takes the broker for a little more generous than it is.

        For `revoke_s` seconds a transaction under way is worth waiting for before a release.
        """
        self.message_bytes_max = cluster.message_bytes_max + 1000
        self.topics: Sequence[str] = ()
        self.batch_size = batch_size
        self._revoke_s = revoke_s
        self._cluster = cluster
        self._group = cluster.group(group)
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._link = SimulatedLink(cluster)
        self.consumer = self.make_consumer()
        self._producer = SimulatedProducer(cluster, self._group, self, self._link)
        self._receiving = False
        self._failed = False
        self._underway: deque[tuple[Assigned | Revoked, Sequence[Tenure]]] = deque()
        self._committing = False

    def make_consumer(self) -> SimulatedConsumer:
        """Return the consumer of this client."""
        return SimulatedConsumer(self._cluster, self._group, wake=self._woken.set)

    @property
    def crashed(self) -> bool:
        """Whether the client is gone for the world."""
        return self._link.is_cut

    @property
    def receiving(self) -> bool:
        """Whether the iterator of `receive` is open."""
        return self._receiving

    @property
    def held(self) -> Mapping[Partition, ConsumedPartition]:
        """The assignments that the runtime has been told of, and not been told to give up."""
        return self.consumer.held

    # --- The port -------------------------------------------------------------------------------------------------

    async def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Join the group and give what happens until the iterator is closed; then leave."""
        self.topics, self._receiving = topics, True
        self._link.send(self._come_back)
        try:
            while True:
                await asyncio.sleep(self._link.way_s)
                if self._failed:
                    raise BusError("the simulated client cannot go on")
                self._woken.clear()
                room = 0 if self._link.down_s else 1 + self._cluster.dice.below(self.batch_size)
                if (happening := self.consumer.turn(room)) is not None:
                    yield happening
                else:
                    await self._woken.wait()
        finally:
            await self._leave()

    def publish(self, messages: Sequence[Message], /) -> Published:
        """Queue the messages, each on the way to its partition."""
        if self.crashed:
            return self._loop.create_future()
        self._cluster.witness.published(messages, self.held)
        return self._producer.publish(messages)

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Published:
        """Send messages and offsets to the broker, which keeps all or nothing of them."""
        if self.crashed:
            return self._loop.create_future()
        self._cluster.witness.published(messages, self.held)
        mine = {held: offsets[held.partition] for held in self.consumer.current(offsets)}
        transaction = self._producer.transact(messages, mine)
        if transaction.hangs:
            self.watch(transaction)
        return transaction.outcome

    def watch(self, transaction: SimulatedTransaction) -> None:
        """Abandon a client call that never returns, fence what it may still do, and learn what became of it."""
        self._loop.call_later(self._cluster.faults.watchdog_s, self._producer.recover, transaction)

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Record the offsets under the assignments that are in force."""
        if self.crashed or not self._receiving:
            return
        # The runtime cannot know yet which logs are gone.
        gone = {it.partition for it in self.consumer.current(offsets) if not self._producer.is_of_its_log(it)}
        known = {partition: offset for partition, offset in offsets.items() if partition not in gone}
        self._cluster.witness.noted(known, self.held)
        self.consumer.note(offsets)
        self._commit_soon()

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
        unanswered = self._producer.unanswered
        if unanswered:
            await asyncio.wait([publication.outcome for publication in unanswered], timeout=within_s)
        self._link.is_cut = True
        for publication in list(unanswered):
            publication.outcome.cancel()

    # --- What may happen to a client ------------------------------------------------------------------------------

    def crash(self) -> None:
        """Stop in the middle of everything. What is on its way is lost; the group notices when the session ends."""
        self._link.is_cut = True
        self._end_session_later()

    def fail(self) -> None:
        """End `receive` with a BusError. The group notices when the session ends; what was published goes on."""
        self._failed = True
        self._woken.set()

    def cut_off(self, seconds: float) -> None:
        """Break the link for a while: longer than a session lasts, and the group goes on without this client."""
        self._link.break_for(seconds)
        self._end_session_later()
        self._link.send(self._come_back)

    # --- What the group says --------------------------------------------------------------------------------------

    def tell(self, happening: Assigned | Revoked, tenures: Sequence[Tenure]) -> None:
        """Send word to the client."""
        self._underway.append((happening, tenures))
        self._link.send(self._hear)

    def has_news(self, partition: Partition) -> None:
        """Look at a partition again."""
        if (held := self.held.get(partition)) is not None:
            self.consumer.watch(held)
            self._woken.set()

    def _hear(self) -> None:
        self.consumer.news.append(partial(self._heard, *self._underway.popleft()))
        self._woken.set()

    def _heard(self, happening: Assigned | Revoked, tenures: Sequence[Tenure]) -> Happening | None:
        """Record what the client is given or has to give up, at the moment when the runtime learns it."""
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

    def _held_under(self, tenure: Tenure) -> ConsumedPartition | None:
        held = self.held.get(tenure.partition)
        return held if held is not None and held.tenure is tenure else None

    def _release(self, mine: Sequence[ConsumedPartition], tenures: Sequence[Tenure], waits_until_s: float) -> None:
        transaction = self._producer.transaction
        is_early = self._loop.time() < waits_until_s - _A_MOMENT_S
        if transaction is not None and is_early and any(held in transaction.offsets for held in mine):
            self._cluster.witness.objection("a partition was released within a transaction")
        for held in mine:
            self.consumer.forget(held)
        self._link.send(partial(self._let_go, mine, tenures, _LAST_COMMIT_TRIES))

    def _let_go(self, mine: Sequence[ConsumedPartition], tenures: Sequence[Tenure], tries: int) -> None:
        """Commit what is noted, some times if need be, and only then let go."""
        left = [held for held in mine if not self._committed_last(held)]
        if left and tries > 1:
            self._link.send(partial(self._let_go, left, tenures, tries - 1))
        else:
            self._group.release(tenures)

    async def _leave(self) -> None:
        """Commit what is noted and leave; without a link, the session ends by itself."""
        await asyncio.sleep(self._link.way_s)
        self._receiving = False
        if self._failed or self._link.is_cut or self._link.down_s:
            self._end_session_later()
        else:
            for held in self.held.values():
                any(self._committed_last(held) for _ in range(_LAST_COMMIT_TRIES))
            self._group.leave(self)
        if not self._failed:
            self.consumer.held.clear()

    def _come_back(self) -> None:
        if self._receiving and self not in self._group:
            self._group.join(self)
        self._woken.set()

    def _end_session_later(self) -> None:
        self._cluster.later(self._cluster.faults.session_s, self._end_session)

    def _end_session(self) -> None:
        if self._link.is_broken or not self._receiving:
            self._group.evict(self)

    # --- Commits --------------------------------------------------------------------------------------------------

    def _commit_soon(self) -> None:
        if not self._committing:
            self._committing = True
            self._loop.call_later(self._cluster.dice.between(0, _COMMIT_EVERY_S), self._commit)

    def _commit(self) -> None:
        """Send what is due, and look again as long as anything is."""
        self._committing = False
        if self.crashed or not self._receiving:
            return
        for held in self.held.values():
            if (offset := held.due) is not None:
                held.sent = offset
                self._link.send(partial(self._commit_arrives, held, offset))
        if any(held.sent is not None or held.due is not None for held in self.held.values()):
            self._commit_soon()

    def _commit_arrives(self, held: ConsumedPartition, offset: int) -> None:
        if offset <= (held.acknowledged or 0):
            return  # One connection keeps the order: what was sent later cannot have come before.
        self._link.send(partial(self.commit_ends, held, offset, self._committed(held, offset)))

    def commit_ends(self, held: ConsumedPartition, offset: int, is_kept: bool) -> None:  # noqa: FBT001 - the broker's answer
        """Take the broker's answer: what it has not kept is sent again, or what is noted by then."""
        held.sent = None
        if is_kept:
            held.acknowledged = max(held.acknowledged or 0, offset)

    def _committed_last(self, held: ConsumedPartition) -> bool:
        """Commit what is noted, if anything is, and nothing after it."""
        if held.noted is None:
            return True
        if is_kept := self._committed(held, held.noted):
            held.acknowledged = held.noted
        return is_kept

    def _committed(self, held: ConsumedPartition, offset: int) -> bool:
        """Commit at the broker. What is of a log that is gone by now is done with: another log has its name.

        Kinder than Kafka, which would take such an offset if the topic were created again within this very moment.
        """
        if self._cluster.dice.chance(self._cluster.faults.commit_failed):
            return False
        if self._producer.is_of_its_log(held):
            self._group.commit(held.tenure, offset)
        return True
