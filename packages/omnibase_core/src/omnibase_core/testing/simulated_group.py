"""A Kafka in virtual time: consumer groups, generations, deadlines, sessions that end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from omnibase_core.ports import Assigned, Message, Partition, Revoked

if TYPE_CHECKING:
    from omnibase_core.testing.simulated_cluster import SimulatedCluster


@dataclass(eq=False)
class Tenure:
    """One assignment of a partition to a member by its group. Only what is done under the current one counts."""

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


class ConsumerGroup:
    """Who serves which partition. What moves is revoked first, and assigned again once it is released or too late.

    As in Kafka, a member gets partitions of the topics that it subscribes to, and of no others.
    """

    def __init__(self, cluster: "SimulatedCluster") -> None:
        """Start without a member."""
        self.committed: dict[Partition, int] = {}
        self.generation = 0
        self.refused_commits = 0
        self._cluster = cluster
        self._members: list[Member] = []
        self._tenures: dict[Partition, Tenure] = {}
        self._turn = 0

    def __contains__(self, member: Member) -> bool:
        """Check whether the group still counts on a member."""
        return member in self._members

    def join(self, member: Member) -> None:
        """Add a member."""
        self._members.append(member)
        self.rebalance()

    def leave(self, member: Member) -> None:
        """Remove a member: what it had goes to the others."""
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
        self.rebalance()

    def release(self, tenures: Sequence[Tenure]) -> None:
        """Take back what a member gives up."""
        self._end([tenure for tenure in tenures if self.is_current(tenure)])

    def is_current(self, tenure: Tenure) -> bool:
        """Check whether an assignment is still in force."""
        return self._tenures.get(tenure.partition) is tenure

    def commit(self, tenure: Tenure, offset: int) -> bool:
        """Keep an offset. False, and nothing is kept, when it comes from an assignment that is over."""
        if not self.is_current(tenure):
            self.refused_commits += 1
            return False
        before = self.committed.get(tenure.partition, 0)
        self.committed[tenure.partition] = offset
        self._cluster.witness.committed(tenure.partition, offset, before)
        return True

    def commits_all(self, offsets: Mapping[Tenure, int], messages: Sequence[Message]) -> bool:
        """Keep the messages and the offsets of a transaction, unless one comes from an assignment that is over."""
        if not all(map(self.is_current, offsets)):
            self.refused_commits += 1
            return False
        for message in messages:
            self._cluster.force(self._cluster.place_of(message), message)
        self._cluster.witness.transacted({tenure.partition: offset for tenure, offset in offsets.items()})
        for tenure, offset in offsets.items():
            self.commit(tenure, offset)
        return True

    def has_news(self, partition: Partition) -> None:
        """Let the members look at a partition again."""
        for member in self._members:
            member.has_news(partition)

    def rebalance(self) -> None:
        """Spread the partitions over the members that subscribe to them."""
        self.generation += 1
        moving: dict[Member, list[Tenure]] = {}
        given: dict[Member, list[Tenure]] = {}
        topics = sorted({topic for member in self._members for topic in member.topics})
        names = [partition for topic in topics for partition in self._cluster.partitions_of(topic)]
        for index, partition in enumerate(names):
            takers = [member for member in self._members if partition.topic in member.topics]
            target = takers[(index + self._turn) % len(takers)]
            tenure = self._tenures.get(partition)
            if tenure is None:
                tenure = self._tenures[partition] = Tenure(partition, target, self.generation)
                given.setdefault(target, []).append(tenure)
            elif tenure.member is not target and tenure.member in self._members and not tenure.leaving:
                tenure.leaving = True
                moving.setdefault(tenure.member, []).append(tenure)
        for member in self._members:
            if tenures := moving.get(member):
                self._revoke(member, tenures)
        for member in self._members:
            if tenures := given.get(member):
                member.tell(Assigned(frozenset(tenure.partition for tenure in tenures)), tenures)

    def _revoke(self, member: Member, tenures: Sequence[Tenure]) -> None:
        leaving = frozenset(tenure.partition for tenure in tenures)
        member.tell(Revoked(leaving, lost=False, release=_nothing), tenures)
        self._cluster.later(self._cluster.faults.release_s, partial(self._expire, tenures))

    def _end(self, tenures: Sequence[Tenure]) -> None:
        for tenure in tenures:
            del self._tenures[tenure.partition]
        self.rebalance()

    def _expire(self, tenures: Sequence[Tenure]) -> None:
        """The deadline for a release has passed."""
        late = [tenure for tenure in tenures if self.is_current(tenure)]
        if late:
            self._lose(late)
            self._end(late)

    def _lose(self, tenures: Sequence[Tenure]) -> None:
        if tenures:
            lost = frozenset(tenure.partition for tenure in tenures)
            tenures[0].member.tell(Revoked(lost, lost=True, release=_nothing), tenures)


def _nothing() -> None:
    """Release what is lost already."""
