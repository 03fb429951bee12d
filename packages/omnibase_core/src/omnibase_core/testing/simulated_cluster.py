"""A Kafka in virtual time, the broker's side: partitions, consumer groups, generations, sessions that end.

`SimulatedBus` is the side of a client. Everything that may go either way is decided by the dice; a witness sees what
is claimed and what is kept, at the moment it happens. Runs on a loop in virtual time only.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from zlib import crc32

from omnibase_core.dead_letters import size_of
from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Assigned, Message, Partition, Refusal, Revoked
from omnibase_core.testing.virtual_time import Dice


@dataclass(kw_only=True)
class Faults:
    """How badly the world behaves. Shares are of 1; times are the longest that happen."""

    latency_s: float = 0.05
    refused: float = 0.03
    aborted: float = 0.0
    rewound: float = 0.05
    release_s: float = 3.0
    session_s: float = 4.0

    def heal(self) -> None:
        """Refuse, abort and rewind nothing more."""
        self.refused = self.aborted = self.rewound = 0.0


@dataclass(eq=False)
class Tenure:
    """One assignment of a partition to a member. Only what is done under the current one counts."""

    partition: Partition
    member: "Member"
    generation: int
    leaving: bool = False


class Member(Protocol):
    """A client as its group knows it."""

    topics: Sequence[str]

    def tell(self, happening: Assigned | Revoked, tenures: Sequence[Tenure]) -> None:
        """Queue what the member has to know; it hears of it later, and in this order."""

    def has_news(self, partition: Partition) -> None:
        """Look at a partition again, if it is one of the member's."""


class Witness(Protocol):
    """Sees what happens, and may object. `held` are the partitions that the client has been given and not taken."""

    def published(self, messages: Sequence[Message], held: Collection[Partition]) -> None:
        """A client queues messages."""

    def appended(self, place: Partition, offset: int, message: Message) -> None:
        """The broker keeps a message."""

    def refused(self, message: Message) -> None:
        """The broker refuses a message."""

    def noted(self, offsets: Mapping[Partition, int], held: Collection[Partition]) -> None:
        """A client asks for offsets to be committed."""

    def committed(self, partition: Partition, offset: int, before: int) -> None:
        """The broker commits an offset."""

    def transacted(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has kept all messages of a transaction, and is about to commit its offsets."""

    def objection(self, text: str) -> None:
        """A client does what no client may."""


class SimulatedCluster:
    """Topics, each with the same number of partitions, and consumer groups. A topic exists as soon as it is named."""

    def __init__(
        self, *, dice: Dice, faults: Faults, witness: Witness, partitions: int = 2, message_bytes_max: int = 3000
    ) -> None:
        """Start empty and in good health."""
        self.dice = dice
        self.faults = faults
        self.witness = witness
        self.partitions = partitions
        self.message_bytes_max = message_bytes_max
        self.records: dict[Partition, list[Message]] = {}
        self.away_until_s = 0.0
        self._groups: dict[str, ConsumerGroup] = {}
        self._round_robin = 0

    def group(self, name: str) -> "ConsumerGroup":
        """Give a consumer group."""
        return self._groups.setdefault(name, ConsumerGroup(self))

    def place_of(self, message: Message) -> Partition:
        """Say to which partition a message goes."""
        if message.key is None:
            self._round_robin += 1
        number = self._round_robin if message.key is None else crc32(message.key)
        return Partition(message.topic, number % self.partitions)

    def append(self, place: Partition, message: Message) -> PublishFailed | None:
        """Keep a message, or say why not: for good when it is too large, in passing when the dice say so."""
        error = self._refusal_of(message)
        if error is None:
            self.force(place, message)
        return error

    def refusals_of(self, messages: Sequence[Message]) -> list[Refusal]:
        """Say which messages of a transaction would not be kept."""
        errors = [self._refusal_of(message) for message in messages]
        return [Refusal(index, error) for index, error in enumerate(errors) if error is not None]

    def _refusal_of(self, message: Message) -> PublishFailed | None:
        if size_of(message) > self.message_bytes_max:
            error = PublishFailed("message_too_large", f"{size_of(message)} bytes, the broker takes less")
        elif self.dice.chance(self.faults.refused):
            error = PublishFailed("publish_refused", "the dice were against it")
        else:
            return None
        self.witness.refused(message)
        return error

    def force(self, place: Partition, message: Message) -> int:
        """Keep a message, whatever the dice say, and give its offset."""
        records = self.records.setdefault(place, [])
        records.append(message)
        self.witness.appended(place, len(records) - 1, message)
        for group in self._groups.values():
            group.has_news(place)
        return len(records) - 1

    def go_away(self, seconds: float) -> None:
        """Answer nobody for a while. Nothing is lost, and no session ends meanwhile."""
        self.away_until_s = max(self.away_until_s, asyncio.get_running_loop().time() + seconds)
        self.later(seconds, self._be_back)

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something at the broker after a time, or when the broker is back."""
        asyncio.get_running_loop().call_later(seconds, self._if_there, then)

    def _be_back(self) -> None:
        for group in self._groups.values():
            for place in self.records:
                group.has_news(place)

    def _if_there(self, then: Callable[[], None]) -> None:
        away_s = self.away_until_s - asyncio.get_running_loop().time()
        if away_s > 0:
            self.later(away_s + self.faults.session_s / 2, then)
        else:
            then()


class ConsumerGroup:
    """Who serves which partition. What moves is revoked first, and assigned anew once it is released or too late."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        """Start without a member."""
        self.committed: dict[Partition, int] = {}
        self.generation = 0
        self.refused_commits = 0
        self._cluster = cluster
        self._members: list[Member] = []
        self._tenures: dict[Partition, Tenure] = {}
        self._turn = 0

    def __contains__(self, member: Member) -> bool:
        """Say whether the group still counts on a member."""
        return member in self._members

    def join(self, member: Member) -> None:
        """Add a member."""
        self._members.append(member)
        self._rebalance()

    def leave(self, member: Member) -> None:
        """Take a member out: what it had goes to the others."""
        if member in self._members:
            self._members.remove(member)
            self._end([tenure for tenure in self._tenures.values() if tenure.member is member])

    def evict(self, member: Member) -> None:
        """End a member's session: it will hear that it has lost its partitions, when it can be reached."""
        self._lose([tenure for tenure in self._tenures.values() if tenure.member is member])
        self.leave(member)

    def turn(self) -> None:
        """Move every partition to the next member."""
        self._turn += 1
        self._rebalance()

    def release(self, tenures: Sequence[Tenure]) -> None:
        """Take back what a member gives up."""
        self._end([tenure for tenure in tenures if self._is_current(tenure)])

    def commit(self, tenure: Tenure, offset: int) -> bool:
        """Keep an offset. False, and nothing is kept, when it comes from an assignment that is over."""
        if not self._is_current(tenure):
            self.refused_commits += 1
            return False
        before = self.committed.get(tenure.partition, 0)
        self.committed[tenure.partition] = offset
        self._cluster.witness.committed(tenure.partition, offset, before)
        return True

    def commits_all(self, offsets: Mapping[Tenure, int], messages: Sequence[Message]) -> bool:
        """Keep the messages and the offsets of a transaction, unless one comes from an assignment that is over."""
        if not all(map(self._is_current, offsets)):
            self.refused_commits += 1
            return False
        for message in messages:
            self._cluster.force(self._cluster.place_of(message), message)
        self._cluster.witness.transacted({tenure.partition: offset for tenure, offset in offsets.items()})
        for tenure, offset in offsets.items():
            self.commit(tenure, offset)
        return True

    def has_news(self, partition: Partition) -> None:
        """Let whoever fetches from a partition look again."""
        for member in self._members:
            member.has_news(partition)

    def _is_current(self, tenure: Tenure) -> bool:
        return self._tenures.get(tenure.partition) is tenure

    def _end(self, tenures: Sequence[Tenure]) -> None:
        for tenure in tenures:
            del self._tenures[tenure.partition]
        self._rebalance()

    def _expire(self, tenures: Sequence[Tenure]) -> None:
        """The deadline for a release has passed."""
        late = [tenure for tenure in tenures if self._is_current(tenure)]
        if late:
            self._lose(late)
            self._end(late)

    def _lose(self, tenures: Sequence[Tenure]) -> None:
        if tenures:
            lost = frozenset(tenure.partition for tenure in tenures)
            tenures[0].member.tell(Revoked(lost, lost=True, release=_nothing), tenures)

    def _rebalance(self) -> None:
        self.generation += 1
        moving: dict[int, list[Tenure]] = {}
        given: dict[int, list[Tenure]] = {}
        topics = sorted({topic for member in self._members for topic in member.topics})
        names = [Partition(topic, number) for topic in topics for number in range(self._cluster.partitions)]
        for index, partition in enumerate(names):
            target = (index + self._turn) % len(self._members)
            tenure = self._tenures.get(partition)
            if tenure is None:
                tenure = self._tenures[partition] = Tenure(partition, self._members[target], self.generation)
                given.setdefault(target, []).append(tenure)
            elif tenure.member is not self._members[target] and tenure.member in self._members and not tenure.leaving:
                tenure.leaving = True
                moving.setdefault(self._members.index(tenure.member), []).append(tenure)
        for index, tenures in sorted(moving.items()):
            member = self._members[index]
            leaving = frozenset(tenure.partition for tenure in tenures)
            member.tell(Revoked(leaving, lost=False, release=_nothing), tenures)
            self._cluster.later(self._cluster.faults.release_s, partial(self._expire, tenures))
        for index, tenures in sorted(given.items()):
            self._members[index].tell(Assigned(frozenset(tenure.partition for tenure in tenures)), tenures)


def _nothing() -> None:
    """Release what is lost already."""
