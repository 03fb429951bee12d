"""A Kafka in virtual time, the client's side: an EnvelopeBus whose link may break and whose host may crash."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from omnibase_core.errors import BusError, TransactionAborted
from omnibase_core.ports import Assigned, Batch, Delivery, Happening, Message, Partition, Refusal, Revoked, Rewound
from omnibase_core.testing.simulated_cluster import SimulatedCluster, Tenure

_COMMIT_EVERY_S = 0.5

Published = asyncio.Future[Sequence[Refusal]]


@dataclass(eq=False)
class _Publication:
    """What one call of `publish` waits for."""

    outcome: Published
    waiting: int
    refusals: list[Refusal] = field(default_factory=list)


class SimulatedBus:
    """An EnvelopeBus on a SimulatedCluster.

    Messages of one client to one partition are kept in their order; acknowledgements come in any. What is committed
    reaches the broker within half a second, before a release, and when the iterator is closed.
    """

    def __init__(self, cluster: SimulatedCluster, *, group: str, batch_size: int = 6) -> None:
        """Be a client whose link is up. It takes the broker for a little more generous than it is."""
        self.message_bytes_max = cluster.message_bytes_max + 1000
        self.topics: Sequence[str] = ()
        self.batch_size = batch_size
        self.crashed = False
        self.held: dict[Partition, Tenure] = {}
        self._cluster = cluster
        self._dice = cluster.dice
        self._group = cluster.group(group)
        self._loop = asyncio.get_running_loop()
        self._down_until_s = 0.0
        self._receiving = False
        self._failed = False
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._leaving: set[Partition] = set()
        self._underway: deque[tuple[Assigned | Revoked, Sequence[Tenure]]] = deque()
        self._news: deque[tuple[Assigned | Revoked | Rewound, Sequence[Tenure]]] = deque()
        self._woken = asyncio.Event()
        self._noted: dict[Partition, tuple[Tenure, int]] = {}
        self._committing = False
        self._channels: dict[Partition, deque[tuple[_Publication, int, Message]]] = {}
        self._unanswered: dict[_Publication, None] = {}
        self._transacting: frozenset[Partition] = frozenset()

    @property
    def receiving(self) -> bool:
        """Whether the iterator of `receive` is open."""
        return self._receiving

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
                if self._news:
                    if (happening := self._heard(*self._news.popleft())) is not None:
                        yield happening
                elif not self._down_s() and (deliveries := self._fetch()):
                    yield Batch(deliveries)
                else:
                    self._woken.clear()
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

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Published:
        """Send messages and offsets to the broker, which keeps all or nothing of them."""
        outcome: Published = self._loop.create_future()
        if self.crashed:
            return outcome
        witness = self._cluster.witness
        witness.published(messages, self.held)
        if self._transacting:
            witness.objection("a transaction began before the one before it had ended")
        tenures = {self.held[it]: offset for it, offset in offsets.items() if it in self.held}
        self._transacting = frozenset(offsets)
        self._send(partial(self._transaction_arrives, outcome, messages, tenures))
        return outcome

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Note the offsets under the assignments that are in force."""
        if self.crashed or not self._receiving:
            return
        self._cluster.witness.noted(offsets, self.held)
        self._noted.update({it: (self.held[it], offset) for it, offset in offsets.items() if it in self.held})
        if not self._committing:
            self._committing = True
            self._loop.call_later(self._dice.between(0, _COMMIT_EVERY_S), self._send, self._commit)

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Fetch nothing more of these partitions."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Fetch these partitions again."""
        self._paused.difference_update(partitions)
        self._woken.set()

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Go back in the partition, after a moment in which more may be on its way."""
        if (tenure := self.held.get(partition)) is not None:
            self._loop.call_later(self._way_s(), self._go_back, tenure, offset)

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
        if partition in self._positions:
            self._woken.set()

    def _hear(self) -> None:
        self._news.append(self._underway.popleft())
        self._woken.set()

    def _heard(
        self, happening: Assigned | Revoked | Rewound, tenures: Sequence[Tenure]
    ) -> Assigned | Revoked | Rewound | None:
        """Note what the client is given or has to give up, at the moment when the runtime learns it."""
        if isinstance(happening, Rewound):
            return happening if self.held.get(happening.partition) is tenures[0] else None
        if isinstance(happening, Assigned):
            for tenure in tenures:
                self.held[tenure.partition] = tenure
                self._positions[tenure.partition] = self._group.committed.get(tenure.partition, 0)
                self._paused.discard(tenure.partition)
            return happening
        self._leaving |= happening.partitions
        if happening.lost:
            self._forget(tenures)
            return happening
        return replace(happening, release=partial(self._release, tenures))

    def _go_back(self, tenure: Tenure, offset: int) -> None:
        if self.held.get(tenure.partition) is tenure:
            self._positions[tenure.partition] = offset
            self._news.append((Rewound(tenure.partition), [tenure]))
            self._woken.set()

    def _release(self, tenures: Sequence[Tenure]) -> None:
        if any(tenure.partition in self._transacting for tenure in tenures):
            self._cluster.witness.objection("a partition was released within a transaction")
        mine = [tenure for tenure in tenures if self.held.get(tenure.partition) is tenure]
        last = {tenure: self._noted.pop(tenure.partition, (tenure, None))[1] for tenure in mine}
        self._forget(mine)
        self._send(partial(self._let_go, last))

    def _let_go(self, last: Mapping[Tenure, int | None]) -> None:
        for tenure, offset in last.items():
            if offset is not None:
                self._group.commit(tenure, offset)
        self._group.release(list(last))

    def _forget(self, tenures: Sequence[Tenure]) -> None:
        for tenure in tenures:
            if self.held.get(tenure.partition) is tenure:
                del self.held[tenure.partition], self._positions[tenure.partition]
                self._noted.pop(tenure.partition, None)
            self._leaving.discard(tenure.partition)

    async def _leave(self) -> None:
        """Commit what is noted and leave; without a link, the session ends by itself."""
        await asyncio.sleep(self._way_s())
        self._receiving = False
        if self.crashed or self._failed or self._down_s():
            self._end_session_later()
        else:
            self._commit()
            self._group.leave(self)
        if not self._failed:
            self.held.clear()

    # --- To the broker and back -----------------------------------------------------------------------------------

    def _fetch(self) -> list[Delivery]:
        found: list[Delivery] = []
        room = 1 + self._dice.below(self.batch_size)
        for partition, position in self._positions.items():
            if partition in self._paused or partition in self._leaving:
                continue
            if self._dice.chance(self._cluster.faults.rewound):
                position = min(position, self._group.committed.get(partition, 0))
            records = self._cluster.records.get(partition, [])[position : position + room - len(found)]
            found.extend(
                Delivery(partition, position + index, it.key, it.value, tuple(it.headers), 0)
                for index, it in enumerate(records)
            )
            self._positions[partition] = position + len(records)
        return found

    def _arrive(self, place: Partition) -> None:
        """The oldest message on its way to a partition is there."""
        publication, index, message = self._channels[place].popleft()
        error = self._cluster.append(place, message)
        refusals = [] if error is None else [Refusal(index, error)]
        self._send(partial(self._answer, publication, refusals))

    def _transaction_arrives(
        self, outcome: Published, messages: Sequence[Message], tenures: Mapping[Tenure, int]
    ) -> None:
        """Keep everything, or nothing: of a client whom the group has given up, or because the dice say so."""
        refusals: list[Refusal] = []
        kept = False
        if self in self._group and not self._dice.chance(self._cluster.faults.aborted):
            refusals = self._cluster.refusals_of(messages)
            kept = not refusals and self._group.commits_all(tenures, messages)
        aborted = None if kept or refusals else TransactionAborted("the group or the dice were against it")
        self._send(partial(self._transaction_ends, outcome, refusals, aborted))

    def _transaction_ends(
        self, outcome: Published, refusals: Sequence[Refusal], aborted: TransactionAborted | None
    ) -> None:
        self._transacting = frozenset()
        if outcome.done():
            return
        if aborted is not None:
            outcome.set_exception(aborted)
        else:
            outcome.set_result(refusals)

    def _answer(self, publication: _Publication, refusals: Sequence[Refusal]) -> None:
        publication.refusals.extend(refusals)
        publication.waiting -= 1
        if not publication.waiting:
            del self._unanswered[publication]
            if not publication.outcome.done():
                publication.outcome.set_result(publication.refusals)

    def _commit(self) -> None:
        self._committing = False
        noted, self._noted = self._noted, {}
        for tenure, offset in noted.values():
            self._group.commit(tenure, offset)

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
