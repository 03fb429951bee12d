"""A broker in memory: partitions, consumer groups, offsets, rebalances, redelivery.

It is as hard on its clients as Kafka: offsets have gaps, logs are cut off and expire, topics are created again and
extended, partitions are lost without a word, and commits fail. One event loop; nothing is kept on disk.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import NamedTuple
from zlib import crc32

from omnibase_core.dead_letters import size_of
from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Assigned, Batch, Delivery, Happening, Message, Partition, Revoked, Rewound

_BATCH_SIZE = 100


class _Record(NamedTuple):
    """What stands at an offset; a message of None is a gap."""

    message: Message | None
    headers_error: str | None = None


_GAP = _Record(None)


@dataclass(eq=False)
class _Assignment:
    """One assignment of a partition to a member. The Partition object stands for it."""

    partition: Partition
    position: int
    paused: bool = False
    leaving: bool = False
    noted: int = -1


@dataclass(eq=False)
class Membership:
    """One consumer of a group: what it owns, and what it has to be told."""

    topics: Sequence[str]
    owned: dict[Partition, _Assignment] = field(default_factory=dict)
    news: list[Assigned | Revoked | Rewound] = field(default_factory=list)

    def assignment(self, partition: Partition) -> _Assignment | None:
        """Return the assignment that a Partition object stands for; None where it is an earlier one."""
        assignment = self.owned.get(partition)
        return assignment if assignment is not None and assignment.partition is partition else None

    def pause(self, partitions: Iterable[Partition], *, paused: bool) -> None:
        """Deliver nothing more of these partitions, or go on with them."""
        for partition in partitions:
            if (assignment := self.assignment(partition)) is not None:
                assignment.paused = paused

    def rewind(self, partition: Partition, offset: int) -> None:
        """Deliver a partition again from an offset on."""
        assignment = self.assignment(partition)
        if assignment is not None and not assignment.leaving:
            assignment.position = offset
            self.news.append(Rewound(partition))


@dataclass
class _Group:
    members: list[Membership] = field(default_factory=list)
    committed: dict[Partition, int] = field(default_factory=dict)


class MemoryBroker:
    """Topics and consumer groups. A topic exists as soon as it is named."""

    def __init__(self, *, partitions: int = 4, message_bytes_max: int = 1_000_000) -> None:
        """Create every topic with the same number of partitions."""
        self.message_bytes_max = message_bytes_max
        self.commits_to_fail = 0
        """So many commits fail from now on. A client sends what failed again."""
        self._partitions = partitions
        self._extended: dict[str, int] = {}
        self._records: dict[Partition, list[_Record]] = {}
        self._groups: dict[str, _Group] = {}
        self._round_robin = 0
        self._changed = asyncio.Event()

    def messages(self, topic: str) -> list[Message]:
        """Return what was published to a topic, partition by partition."""
        records = chain.from_iterable(self._records.get(name, ()) for name in self._named(topic))
        return [it.message for it in records if it.message is not None]

    def committed(self, group: str) -> Mapping[Partition, int]:
        """Return a group's offsets."""
        return dict(self._group(group).committed)

    def append(self, message: Message) -> PublishFailed | None:
        """Take a message, or return why not."""
        if (error := self.refusal_of(message)) is not None:
            return error
        self._log(self._partition_of(message)).append(_Record(message))
        self.wake()
        return None

    def refusal_of(self, message: Message) -> PublishFailed | None:
        """Return why a message would not be taken."""
        if size_of(message) > self.message_bytes_max:
            return PublishFailed("message_too_large", f"{size_of(message)} bytes, the broker takes less")
        return None

    # --- What happens to topics -----------------------------------------------------------------------------------

    def append_unreadable(self, message: Message, *, reason: str) -> None:
        """Take a message whose headers no client can read."""
        self._log(self._partition_of(message)).append(_Record(message._replace(headers=()), reason))
        self.wake()

    def skip(self, partition: Partition, count: int) -> None:
        """Make a gap at the end of a partition, as an aborted transaction does."""
        self._log(partition).extend([_GAP] * count)
        self.wake()

    def expire(self, partition: Partition, before: int) -> None:
        """Remove the messages below an offset, as retention does."""
        log = self._log(partition)
        log[:before] = [_GAP] * min(before, len(log))
        self.wake()

    def truncate(self, partition: Partition, end: int) -> None:
        """Cut a log off, as after an unclean election: who had read further begins again, at the beginning."""
        del self._log(partition)[end:]
        self._begin_again(partition, lambda it: it.position > end)

    def recreate(self, topic: str) -> None:
        """Delete a topic and create it: it is empty, nobody has committed anything, and who owned it begins again."""
        for partition in self._named(topic):
            self._records.pop(partition, None)
            for group in self._groups.values():
                group.committed.pop(partition, None)
            self._begin_again(partition, lambda _: True)

    def extend(self, topic: str, partitions: int) -> None:
        """Return a topic more partitions."""
        self._extended[topic] = partitions
        for group in self._groups:
            self._assign_free(group)

    def lose(self, group: str, partition: Partition) -> None:
        """Take a partition away from its owner without asking, as after a session timeout, and assign it anew."""
        for member in self._group(group).members:
            self._take_away(member, partition)
        self._assign_free(group)

    # --- What a bus asks of its broker ----------------------------------------------------------------------------

    def join(self, group: str, topics: Sequence[str]) -> Membership:
        """Add a member to a group."""
        member = Membership(topics)
        self._group(group).members.append(member)
        self._rebalance(group)
        return member

    def leave(self, group: str, member: Membership) -> None:
        """Take a member out of its group: what it owned goes to the others."""
        self._flush(group, member.owned.values())
        self._group(group).members.remove(member)
        self._rebalance(group)

    def commit(self, group: str, member: Membership, offsets: Mapping[Partition, int]) -> bool:
        """Record offsets for assignments that are in force, and commit; return whether it did not fail."""
        for partition, offset in offsets.items():
            if (assignment := member.assignment(partition)) is not None:
                assignment.noted = max(assignment.noted, offset)
        if self.commits_to_fail:
            self.commits_to_fail -= 1
            return False
        self._flush(group, member.owned.values())
        return True

    def may_commit(self, member: Membership, offsets: Iterable[Partition]) -> bool:
        """Check whether a transaction may commit: all assignments are in force, and it is not to fail."""
        if self.commits_to_fail:
            self.commits_to_fail -= 1
            return False
        return all(member.assignment(it) is not None for it in offsets)

    async def next_of(self, member: Membership) -> Happening:
        """Wait for what the member has to be told next: news of its partitions first, then messages."""
        while True:
            if member.news:
                return member.news.pop(0)
            batch = self._fetch(member)
            if batch.deliveries or batch.reached:
                return batch
            await self._changed.wait()

    def wake(self) -> None:
        """Let every waiting member look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _flush(self, group: str, assignments: Iterable[_Assignment]) -> None:
        self._group(group).committed.update({it.partition: it.noted for it in assignments if it.noted >= 0})

    def _fetch(self, member: Membership) -> Batch:
        deliveries: list[Delivery] = []
        reached: dict[Partition, int] = {}
        for partition, assignment in member.owned.items():
            if assignment.paused or assignment.leaving:
                continue
            log, start = self._log(partition), assignment.position
            records = log[start : start + _BATCH_SIZE - len(deliveries)]
            deliveries.extend(
                Delivery(assignment.partition, start + index, it.key, it.value, tuple(it.headers), 0, headers_error)
                for index, (it, headers_error) in enumerate(records)
                if it is not None
            )
            assignment.position += len(records)
            if assignment.position == len(log) and records and records[-1].message is None:
                reached[assignment.partition] = assignment.position
        return Batch(deliveries, reached)

    # --- Groups ---------------------------------------------------------------------------------------------------

    def _begin_again(self, partition: Partition, concerned: Callable[[_Assignment], bool]) -> None:
        """End the assignments of a partition whose offsets went back, and begin new ones."""
        for name, group in self._groups.items():
            for member in group.members:
                assignment = member.owned.get(partition)
                if assignment is not None and concerned(assignment):
                    group.committed.pop(partition, None)
                    self._take_away(member, partition)
            self._assign_free(name)

    def _take_away(self, member: Membership, partition: Partition) -> None:
        if member.owned.pop(partition, None) is not None:
            member.news.append(Revoked(frozenset({partition}), lost=True, release=lambda: None))

    def _rebalance(self, group: str) -> None:
        """Spread the partitions again: what moves is revoked first and assigned once it is released."""
        for member in self._group(group).members:
            staying = [it for it in member.owned.values() if not it.leaving]
            surplus = [it for it in staying if self._owner(group, it.partition) is not member]
            if surplus:
                for assignment in surplus:
                    assignment.leaving = True
                release = partial(self._release, group, member, surplus)
                member.news.append(Revoked(frozenset(it.partition for it in surplus), lost=False, release=release))
        self._assign_free(group)

    def _release(self, group: str, member: Membership, assignments: Sequence[_Assignment]) -> None:
        current = [it for it in assignments if member.owned.get(it.partition) is it]
        self._flush(group, current)
        for assignment in current:
            del member.owned[assignment.partition]
        self._assign_free(group)

    def _assign_free(self, group: str) -> None:
        members = self._group(group).members
        taken = set(chain.from_iterable(member.owned for member in members))
        topics = dict.fromkeys(chain.from_iterable(member.topics for member in members))
        for partition in chain.from_iterable(self._named(topic) for topic in topics):
            owner = self._owner(group, partition)
            if partition not in taken and owner is not None:
                # The object is new with each assignment: what is asked by that of an earlier one has no effect.
                owner.owned[partition] = _Assignment(partition, self._group(group).committed.get(partition, 0))
                owner.news.append(Assigned(frozenset({partition})))
        self.wake()

    def _owner(self, group: str, partition: Partition) -> Membership | None:
        """Return whose a partition should be: they go round the members that subscribe to its topic."""
        members = [member for member in self._group(group).members if partition.topic in member.topics]
        return members[partition.number % len(members)] if members else None

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def _log(self, partition: Partition) -> list[_Record]:
        return self._records.setdefault(partition, [])

    def _partition_of(self, message: Message) -> Partition:
        if message.key is None:
            self._round_robin += 1
        number = self._round_robin if message.key is None else crc32(message.key)
        return Partition(message.topic, number % self._count(message.topic))

    def _named(self, topic: str) -> list[Partition]:
        return [Partition(topic, number) for number in range(self._count(topic))]

    def _count(self, topic: str) -> int:
        return self._extended.get(topic, self._partitions)
