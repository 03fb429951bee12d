"""A broker in memory, and the bus of one of its clients: partitions, groups, offsets, rebalances, redelivery.

It passes the same conformance suite as Kafka does. One event loop; nothing is kept on disk.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from zlib import crc32

from omnibase_core.dead_letters import size_of
from omnibase_core.errors import PublishFailed, TransactionAborted
from omnibase_core.ports import Assigned, Batch, Delivery, Happening, Message, Partition, Refusal, Revoked, Rewound

_BATCH_SIZE = 100

Published = asyncio.Future[Sequence[Refusal]]


@dataclass(eq=False)
class _Member:
    """One consumer of a group: what it owns, where it reads on, what it has to be told."""

    topics: Sequence[str]
    positions: dict[Partition, int] = field(default_factory=dict)
    paused: set[Partition] = field(default_factory=set)
    leaving: set[Partition] = field(default_factory=set)
    news: list[Assigned | Revoked | Rewound] = field(default_factory=list)


@dataclass
class _Group:
    members: list[_Member] = field(default_factory=list)
    committed: dict[Partition, int] = field(default_factory=dict)


class MemoryBroker:
    """Topics and consumer groups. A topic exists as soon as it is named."""

    def __init__(self, *, partitions: int = 4, message_bytes_max: int = 1_000_000) -> None:
        """Give every topic the same number of partitions."""
        self.message_bytes_max = message_bytes_max
        self._partitions = partitions
        self._records: dict[Partition, list[Message]] = {}
        self._groups: dict[str, _Group] = {}
        self._round_robin = 0
        self._changed = asyncio.Event()

    def messages(self, topic: str) -> list[Message]:
        """Give what was published to a topic, partition by partition."""
        return list(chain.from_iterable(self._records.get(name, ()) for name in self._named(topic)))

    def committed(self, group: str) -> Mapping[Partition, int]:
        """Give a group's offsets."""
        return dict(self._group(group).committed)

    def append(self, message: Message) -> PublishFailed | None:
        """Take a message, or say why not."""
        if (error := self.refusal_of(message)) is not None:
            return error
        if message.key is None:
            self._round_robin += 1
        number = self._round_robin if message.key is None else crc32(message.key)
        self._records.setdefault(Partition(message.topic, number % self._partitions), []).append(message)
        self.wake()
        return None

    def refusal_of(self, message: Message) -> PublishFailed | None:
        """Say why a message would not be taken."""
        if size_of(message) > self.message_bytes_max:
            return PublishFailed("message_too_large", f"{size_of(message)} bytes, the broker takes less")
        return None

    def lose(self, group: str, partition: Partition) -> None:
        """Take a partition away from its owner without asking, as after a session timeout, and assign it anew."""
        for member in self._group(group).members:
            if member.positions.pop(partition, None) is not None:
                member.paused.discard(partition)
                member.news.append(Revoked(frozenset({partition}), lost=True, release=lambda: None))
        self._assign_free(group)

    # --- What a bus asks of its broker ----------------------------------------------------------------------------

    def join(self, group: str, topics: Sequence[str]) -> _Member:
        """Add a member to a group."""
        member = _Member(topics)
        self._group(group).members.append(member)
        self._rebalance(group)
        return member

    def leave(self, group: str, member: _Member) -> None:
        """Take a member out of its group: what it owned goes to the others."""
        self._group(group).members.remove(member)
        self._rebalance(group)

    def commit(self, group: str, member: _Member, offsets: Mapping[Partition, int]) -> None:
        """Commit the offsets of partitions that the member owns; others are ignored."""
        self._group(group).committed.update(
            {partition: offset for partition, offset in offsets.items() if partition in member.positions}
        )

    async def next_of(self, member: _Member) -> Happening:
        """Wait for what the member has to be told next: news of its partitions first, then messages."""
        while True:
            if member.news:
                return member.news.pop(0)
            if deliveries := self._fetch(member):
                return Batch(deliveries)
            await self._changed.wait()

    def _fetch(self, member: _Member) -> list[Delivery]:
        found: list[Delivery] = []
        for partition, position in member.positions.items():
            if partition in member.paused or partition in member.leaving:
                continue
            records = self._records.get(partition, [])[position : position + _BATCH_SIZE - len(found)]
            found.extend(
                Delivery(partition, position + index, it.key, it.value, tuple(it.headers), 0)
                for index, it in enumerate(records)
            )
            member.positions[partition] = position + len(records)
        return found

    def _rebalance(self, group: str) -> None:
        """Spread the partitions anew: what moves is revoked first and assigned once it is released."""
        for member in self._group(group).members:
            surplus = {name for name in member.positions if self._owner(group, name) is not member} - member.leaving
            if surplus:
                member.leaving |= surplus
                release = partial(self._release, group, member, frozenset(surplus))
                member.news.append(Revoked(frozenset(surplus), lost=False, release=release))
        self._assign_free(group)

    def _release(self, group: str, member: _Member, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            member.positions.pop(partition, None)
            member.paused.discard(partition)
            member.leaving.discard(partition)
        self._assign_free(group)

    def _assign_free(self, group: str) -> None:
        members = self._group(group).members
        taken = set(chain.from_iterable(member.positions for member in members))
        topics = dict.fromkeys(chain.from_iterable(member.topics for member in members))
        for partition in chain.from_iterable(self._named(topic) for topic in topics):
            owner = self._owner(group, partition)
            if partition not in taken and owner is not None:
                owner.positions[partition] = self._group(group).committed.get(partition, 0)
                owner.news.append(Assigned(frozenset({partition})))
        self.wake()

    def _owner(self, group: str, partition: Partition) -> _Member | None:
        """Say whose a partition should be: they go round the members that subscribe to its topic."""
        members = [member for member in self._group(group).members if partition.topic in member.topics]
        return members[partition.number % len(members)] if members else None

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def _named(self, topic: str) -> list[Partition]:
        return [Partition(topic, number) for number in range(self._partitions)]

    def wake(self) -> None:
        """Let every waiting member look again."""
        self._changed.set()
        self._changed = asyncio.Event()


class MemoryBus:
    """An EnvelopeBus on a MemoryBroker. A message is acknowledged on the loop's next turn."""

    def __init__(self, broker: MemoryBroker, *, group: str) -> None:
        """Be a client of the broker that consumes in a group."""
        self.message_bytes_max = broker.message_bytes_max
        self._broker = broker
        self._group = group
        self._member: _Member | None = None

    async def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Join the group and give what happens until the iterator is closed; then leave."""
        member = self._member = self._broker.join(self._group, topics)
        try:
            while True:
                yield await self._broker.next_of(member)
        finally:
            self._broker.leave(self._group, member)
            self._member = None

    def publish(self, messages: Sequence[Message], /) -> Published:
        """Append the messages in order."""
        loop = asyncio.get_running_loop()
        done: Published = loop.create_future()
        outcomes = [self._broker.append(message) for message in messages]
        refusals = [Refusal(index, error) for index, error in enumerate(outcomes) if error is not None]
        loop.call_soon(_settle, done, refusals)
        return done

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Commit at once, as far as the partitions are this client's."""
        if self._member is not None:
            self._broker.commit(self._group, self._member, offsets)

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Published:
        """Append the messages and commit the offsets, if every message is taken and every partition this client's."""
        done: Published = asyncio.get_running_loop().create_future()
        mine = self._member is not None and offsets.keys() <= self._member.positions.keys()
        outcomes = [self._broker.refusal_of(message) for message in messages]
        refusals = [Refusal(index, error) for index, error in enumerate(outcomes) if error is not None]
        if mine and not refusals:
            for message in messages:
                self._broker.append(message)
            self.commit(offsets)
        aborted = None if mine else TransactionAborted("the group has given the partitions to somebody else")
        asyncio.get_running_loop().call_soon(_settle, done, aborted or refusals)
        return done

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Deliver nothing more of these partitions."""
        if self._member is not None:
            self._member.paused.update(partitions)

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Deliver these partitions again."""
        if self._member is not None:
            self._member.paused.difference_update(partitions)
            self._broker.wake()

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Read the partition again from the offset on."""
        member = self._member
        if member is not None and partition in member.positions.keys() - member.leaving:
            member.positions[partition] = offset
            member.news.append(Rewound(partition))
            self._broker.wake()


def _settle(done: Published, outcome: Sequence[Refusal] | TransactionAborted) -> None:
    if done.done():
        return
    if isinstance(outcome, TransactionAborted):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
