"""A Kafka in virtual time, the broker's side: logs of topics that come and go, quotas, outages.

`SimulatedBus` is the side of a client, `simulated_group` who serves which partition. Everything that may go either way
is decided by the dice; a witness sees what is claimed and what is kept, at the moment it happens. Runs on a loop in
virtual time only.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Protocol

from omnibase_core.dead_letters import size_of
from omnibase_core.errors import PublishFailed
from omnibase_core.partitioning import partition_of
from omnibase_core.ports import Message, Partition, Refusal
from omnibase_core.testing.simulated_group import ConsumerGroup
from omnibase_core.testing.simulated_log import Log
from omnibase_core.testing.virtual_time import Dice


@dataclass(kw_only=True)
class Faults:
    """How badly the world behaves. Shares are of 1; times are the longest that happen, in seconds.

    - `latency_s`: of each message between a client and the broker.
    - `refused`: messages that the broker refuses though it could keep them.
    - `bytes_max`: the largest message that it takes, where that is less than its clients were told.
    - `aborted`: transactions that come to nothing.
    - `hung`: transactions in which a call of the client never returns; its watchdog acts after `watchdog_s`.
    - `commit_failed`: commits of offsets that fail, several in a row included.
    - `gap`: appended records behind which a gap is left.
    - `transaction_bytes_max`: what a producer's quota lets through within a transaction's time; more of it times out.
    - `release_s`: after which the group goes on without a release; `session_s`: and without a client that is silent.
    """

    latency_s: float = 0.05
    refused: float = 0.03
    bytes_max: float = inf
    aborted: float = 0.0
    hung: float = 0.0
    watchdog_s: float = 20.0
    commit_failed: float = 0.0
    gap: float = 0.0
    transaction_bytes_max: float = inf
    release_s: float = 3.0
    session_s: float = 4.0

    def heal(self) -> None:
        """Refuse and abort nothing more. Quotas and sizes stay, and so do commits that fail."""
        self.refused = self.aborted = self.hung = 0.0


class Witness(Protocol):
    """Sees what happens, and may object. `held` are the partitions that the client has been given and not taken."""

    def published(self, messages: Sequence[Message], held: Collection[Partition]) -> None:
        """A client queues messages."""

    def appended(self, place: Partition, offset: int, message: Message) -> None:
        """The broker keeps a message."""

    def refused(self, message: Message, error: PublishFailed) -> None:
        """The broker refuses a message, and says why."""

    def gone(self, place: Partition, begin: int, end: int) -> None:
        """The broker has dropped the records from one offset up to, not including, another."""

    def noted(self, offsets: Mapping[Partition, int], held: Collection[Partition]) -> None:
        """A client asks for offsets to be committed."""

    def committed(self, partition: Partition, offset: int, before: int) -> None:
        """The broker commits an offset."""

    def transacted(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has kept all messages of a transaction, and is about to commit its offsets."""

    def objection(self, text: str) -> None:
        """A client does what no client may."""


class SimulatedCluster:
    """Topics and consumer groups. A topic exists as soon as it is named, unless it was deleted."""

    def __init__(
        self, *, dice: Dice, faults: Faults, witness: Witness, partitions: int = 2, message_bytes_max: int = 3000
    ) -> None:
        """Start empty and in good health; a topic starts with so many partitions."""
        self.dice = dice
        self.faults = faults
        self.witness = witness
        self.message_bytes_max = message_bytes_max
        self.logs: dict[Partition, Log] = {}
        self.away_until_s = 0.0
        self._partitions = partitions
        self._extended: dict[str, int] = {}
        self._deleted: set[str] = set()
        self._identities = count(1)
        self._groups: dict[str, ConsumerGroup] = {}
        self._round_robin = 0

    def group(self, name: str) -> ConsumerGroup:
        """Return a consumer group."""
        return self._groups.setdefault(name, ConsumerGroup(self))

    def partitions_of(self, topic: str) -> list[Partition]:
        """Return the partitions that a topic has now; a deleted one keeps its number until it is created again."""
        return [Partition(topic, number) for number in range(self._extended.get(topic, self._partitions))]

    def log(self, place: Partition) -> Log | None:
        """Return what a partition holds; None while its topic is deleted."""
        if place.topic in self._deleted:
            return None
        if place not in self.logs:
            self.logs[place] = Log(next(self._identities))
        return self.logs[place]

    def place_of(self, message: Message) -> Partition:
        """Return the partition to which a message goes, by murmur2 of its key as with Kafka's own producer."""
        number = len(self.partitions_of(message.topic))
        if message.key is None:
            self._round_robin += 1
            return Partition(message.topic, self._round_robin % number)
        return Partition(message.topic, partition_of(message.key, number))

    # --- What clients ask -----------------------------------------------------------------------------------------

    def append(self, place: Partition, message: Message) -> PublishFailed | None:
        """Keep a message, or return why not: for good when it is too large, in passing when the dice say so."""
        error = self._refusal_of(message)
        if error is None:
            self.force(place, message)
        return error

    def refusals_of(self, messages: Sequence[Message]) -> list[Refusal]:
        """Return which messages of a transaction would not be kept."""
        errors = [self._refusal_of(message) for message in messages]
        return [Refusal(index, error) for index, error in enumerate(errors) if error is not None]

    def _refusal_of(self, message: Message) -> PublishFailed | None:
        if message.topic in self._deleted:
            error = PublishFailed("unknown_topic", "the topic is deleted")
        elif size_of(message) > min(self.message_bytes_max, self.faults.bytes_max):
            error = PublishFailed("message_too_large", f"{size_of(message)} bytes, the broker takes less")
        elif self.dice.chance(self.faults.refused):
            error = PublishFailed("publish_refused", "the dice were against it")
        else:
            return None
        self.witness.refused(message, error)
        return error

    def force(self, place: Partition, message: Message) -> int:
        """Keep a message, whatever the dice say, and return its offset. Raises LookupError while its topic is gone."""
        log = self.log(place)
        if log is None:
            raise LookupError(f"{place.topic} is deleted")
        offset = log.append(message)
        self.witness.appended(place, offset, message)
        if self.dice.chance(self.faults.gap):
            log.leave_gap(1 + self.dice.below(3))
        self._announce([place])
        return offset

    # --- What may happen to topics --------------------------------------------------------------------------------

    def extend(self, topic: str) -> None:
        """Add a partition to a topic; whoever consumes it is told by a rebalance."""
        self._extended[topic] = len(self.partitions_of(topic)) + 1
        for group in self._groups.values():
            group.rebalance()

    def delete(self, topic: str) -> None:
        """Delete a topic with all its records, and what groups have committed for it."""
        self._deleted.add(topic)
        for place in self.partitions_of(topic):
            if (log := self.logs.pop(place, None)) is not None:
                self.witness.gone(place, 0, log.end)
            for group in self._groups.values():
                group.committed.pop(place, None)

    def create(self, topic: str) -> None:
        """Create a deleted topic again: it begins at offset 0, under another id."""
        self._deleted.discard(topic)
        self._announce(self.partitions_of(topic))

    def expire(self, place: Partition, offset: int) -> None:
        """Let retention take everything below an offset, read or not."""
        if (log := self.log(place)) is not None:
            self.witness.gone(place, log.begin, offset)
            log.expire(offset)
            self._announce([place])

    def truncate(self, place: Partition, offset: int) -> None:
        """Lose the end of a log, as with a replica that was behind and became the leader.

        Kinder than Kafka: what groups have committed beyond the cut is lost too, so that nothing is passed over.
        """
        if (log := self.log(place)) is not None and offset < log.end:
            self.witness.gone(place, offset, log.end)
            log.truncate(offset, identity=next(self._identities))
            for group in self._groups.values():
                group.committed[place] = min(group.committed.get(place, 0), offset)
            self._announce([place])

    # --- Time -----------------------------------------------------------------------------------------------------

    def go_away(self, seconds: float) -> None:
        """Answer nobody for a while. Nothing is lost, and no session ends meanwhile."""
        self.away_until_s = max(self.away_until_s, asyncio.get_running_loop().time() + seconds)
        self.later(seconds, lambda: self._announce(self.logs))

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something at the broker after a time, or when the broker is back."""
        asyncio.get_running_loop().call_later(seconds, self._if_there, then)

    def _announce(self, places: Collection[Partition]) -> None:
        for group in self._groups.values():
            for place in places:
                group.has_news(place)

    def _if_there(self, then: Callable[[], None]) -> None:
        away_s = self.away_until_s - asyncio.get_running_loop().time()
        if away_s > 0:
            self.later(away_s + self.faults.session_s / 2, then)
        else:
            then()
