"""A Kafka in virtual time: the producers of one client, one that is plain and one of transactions."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from omnibase_core.dead_letters import size_of
from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import Message, Partition, Refusal
from omnibase_core.testing.simulated_cluster import SimulatedCluster
from omnibase_core.testing.simulated_consumer import ConsumedPartition
from omnibase_core.testing.simulated_group import ConsumerGroup, Member
from omnibase_core.testing.simulated_link import SimulatedLink

Published = asyncio.Future[Sequence[Refusal]]


@dataclass(eq=False)
class Publication:
    """What one call of `publish` waits for."""

    outcome: Published
    waiting: int
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(eq=False)
class SimulatedTransaction:
    """One transaction. Once it is `fenced` the broker takes nothing more of it; `kept` says what it had by then.

    One that `hangs` is kept by the broker or is not; its client never hears of it.
    """

    outcome: Published
    messages: Sequence[Message]
    offsets: Mapping[ConsumedPartition, int]
    hangs: bool = False
    fenced: bool = False
    kept: bool = False


class SimulatedProducer:
    """Messages to one partition are kept in their order; acknowledgements come in any. One transaction at a time."""

    def __init__(self, cluster: SimulatedCluster, group: ConsumerGroup, member: Member, link: SimulatedLink) -> None:
        """Publish for a member of a group."""
        self.unanswered: dict[Publication, None] = {}
        self.transaction: SimulatedTransaction | None = None
        self._cluster = cluster
        self._group = group
        self._member = member
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._channels: dict[Partition, deque[tuple[Publication, int, Message]]] = {}

    def publish(self, messages: Sequence[Message]) -> Published:
        """Queue the messages, each on the way to its partition."""
        publication = Publication(self._loop.create_future(), len(messages))
        if not messages:
            publication.outcome.set_result([])
            return publication.outcome
        self.unanswered[publication] = None
        for index, message in enumerate(messages):
            place = self._cluster.place_of(message)
            self._channels.setdefault(place, deque()).append((publication, index, message))
            self._link.send(partial(self._arrive, place))
        return publication.outcome

    def transact(self, messages: Sequence[Message], offsets: Mapping[ConsumedPartition, int]) -> SimulatedTransaction:
        """Send messages and offsets to the broker, which keeps all or nothing of them."""
        if self.transaction is not None:
            self._cluster.witness.objection("a transaction began before the one before it had ended")
        transaction = self.transaction = SimulatedTransaction(self._loop.create_future(), messages, offsets)
        transaction.hangs = self._cluster.dice.chance(self._cluster.faults.hung)
        self._link.send(partial(self._transaction_arrives, transaction))
        return transaction

    def recover(self, transaction: SimulatedTransaction) -> None:
        """Fence a transaction whose client does not come back, and learn what became of it."""
        self._link.send(partial(self._fence, transaction))

    def is_of_its_log(self, held: ConsumedPartition) -> bool:
        """Check whether an assignment is of the log that its partition has now."""
        log = self._cluster.log(held.partition)
        return log is not None and log.identity == held.identity

    def _arrive(self, place: Partition) -> None:
        """The oldest message on its way to a partition is there."""
        publication, index, message = self._channels[place].popleft()
        error = self._cluster.append(place, message)
        refusals = [] if error is None else [Refusal(index, error)]
        self._link.send(partial(self._answer, publication, refusals))

    def _answer(self, publication: Publication, refusals: Sequence[Refusal]) -> None:
        publication.refusals.extend(refusals)
        publication.waiting -= 1
        if not publication.waiting:
            del self.unanswered[publication]
            if not publication.outcome.done():
                publication.outcome.set_result(publication.refusals)

    def _transaction_arrives(self, transaction: SimulatedTransaction) -> None:
        """Keep everything, or nothing: by the group's, a quota's or the dice's will."""
        refusals: list[Refusal] = []
        faults = self._cluster.faults
        in_time = sum(map(size_of, transaction.messages)) <= faults.transaction_bytes_max
        is_possible = in_time and not transaction.fenced and all(map(self.is_of_its_log, transaction.offsets))
        if is_possible and self._member in self._group and not self._cluster.dice.chance(faults.aborted):
            refusals = self._cluster.refusals_of(transaction.messages)
            offsets = {held.tenure: offset for held, offset in transaction.offsets.items()}
            transaction.kept = not refusals and self._group.commits_all(offsets, transaction.messages)
        if not transaction.hangs:
            self._link.send(partial(self._transaction_ends, transaction, refusals))

    def _fence(self, transaction: SimulatedTransaction) -> None:
        transaction.fenced = True
        self._link.send(partial(self._transaction_ends, transaction, []))

    def _transaction_ends(self, transaction: SimulatedTransaction, refusals: Sequence[Refusal]) -> None:
        self.transaction = None
        if transaction.outcome.done():
            return
        if transaction.kept or refusals:
            transaction.outcome.set_result(refusals)
        else:
            transaction.outcome.set_exception(TransactionAborted("the group, a quota or the dice were against it"))
