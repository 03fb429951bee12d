"""Where each partition is read: at the offset that its group has committed, or where it was sent back to."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from omnibase_core.ports import Partition
from omnibase_infra.kafka.blocking_calls import BlockingCalls
from omnibase_infra.kafka.offset_reset import OffsetReset
from omnibase_infra.kafka.owned_partitions import OwnedPartition, OwnedPartitions, starting_point

_COMMITTED_S = 2.0
_PLACE_EVERY_S = 1.0


class ConsumerPositions:
    """Finds out where partitions go on, and sends the client there. Belongs to the consumer's thread.

    `rewound` hears of each partition that has got to where it was sent back to.
    """

    def __init__(
        self,
        consumer: Consumer,
        owned: OwnedPartitions,
        *,
        waits: BlockingCalls,
        warn: Callable[[KafkaError], None],
        event: Callable[..., None],
        topic_ids: Callable[[Collection[str]], Mapping[str, str]],
        rewound: Callable[[Partition], None],
        start: str,
    ) -> None:
        """Start with everything in its place."""
        self._consumer = consumer
        self._owned = owned
        self._waits = waits
        self._warn = warn
        self._event = event
        self._topic_ids = topic_ids
        self._rewound = rewound
        self._starts = OffsetReset(consumer, start=start, waits=waits, event=event)
        self._unplaced: set[OwnedPartition] = set()
        self._next_place_s = 0.0

    def send_to(self, owned: OwnedPartition, target: int | None) -> None:
        """Let nothing arrive for an assignment until it is read from its target on; None is the committed offset."""
        owned.target = target
        owned.placed = False
        self._unplaced.add(owned)
        self._next_place_s = 0.0

    @property
    def are_settled(self) -> bool:
        """Whether every partition is read from its target on."""
        return not self._unplaced

    def settle(self) -> None:
        """Send partitions to their targets. What fails is tried again: the partition delivers nothing until then."""
        if not self._unplaced or time.monotonic() < self._next_place_s:
            return
        self._next_place_s = time.monotonic() + _PLACE_EVERY_S
        self._unplaced = {it for it in self._unplaced if self._owned.of(it.partition) is it}
        unknown = [it for it in self._unplaced if it.target is None]
        for owned, target in zip(unknown, self.targets([it.partition for it in unknown]), strict=True):
            owned.target = target
        for owned in list(self._unplaced):
            if owned.target is not None and self._seek(owned, owned.target):
                self._unplaced.discard(owned)
                if owned.rewinding:
                    owned.rewinding = False
                    self._rewound(owned.partition)

    def _seek(self, owned: OwnedPartition, target: int) -> bool:
        try:
            with self._waits.on("seek"):
                self._consumer.seek(TopicPartition(owned.partition.topic, owned.partition.number, target))
        except KafkaException as error:
            self._warn(error.args[0])
            return False
        owned.position = target if target >= 0 else None
        owned.placed = True
        return True

    def targets(self, partitions: Sequence[Partition], ids: Mapping[str, str] | None = None) -> list[int | None]:
        """Return where the group goes on with each partition; None where the broker does not say so in time."""
        if not partitions:
            return []
        ids = self.look_up({it.topic for it in partitions}) if ids is None else ids
        try:
            self._starts.settle({it.topic for it in partitions})
            with self._waits.on("committed"):
                places = self._consumer.committed([TopicPartition(*it) for it in partitions], timeout=_COMMITTED_S)
        except KafkaException as error:
            self._warn(error.args[0])
            return [None] * len(partitions)
        for problem in {it.error.code(): it.error for it in places if it.error is not None}.values():
            self._warn(problem)
        found = {(it.topic, it.partition): it for it in places if it.error is None}
        return [self._target(found[it], ids.get(it.topic)) if tuple(it) in found else None for it in partitions]

    def _target(self, committed: TopicPartition, topic_id: str | None) -> int:
        target = starting_point(committed, topic_id)
        if target < 0 <= committed.offset:
            place = {"topic": committed.topic, "partition": committed.partition, "committed": committed.offset}
            self._event("warning", "committed_offset_stale", **place, reading="from its beginning")
        return target

    def look_up(self, topics: Collection[str]) -> Mapping[str, str]:
        """Return the ids of topics, as far as they are known."""
        with self._waits.on("describe_topics"):
            return self._topic_ids(topics) if topics else {}
