"""The partitions that this host owns: where each is read, and how far each is noted, sent and committed.

One record stands for one assignment. Three threads meet here: the consumer's, the loop, which notes offsets, and the
watch of the topics, which takes standings.
"""

import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from omnibase_core.ports import Partition

_TAG = re.compile(r"topic_id=(?P<topic_id>\S*) assignment=\d+")
"""What goes along with each commit as its metadata."""


@dataclass(eq=False, slots=True)
class OwnedPartition:
    """One assignment of a partition.

    - `partition`: the very object that stands for the assignment.
    - `topic_id`: the id of the topic that was assigned; None where it could not be found out.
    - `target`: where reading begins, or was asked to begin again: an offset, `OFFSET_BEGINNING`, or None while the
      committed offset is not known. While it is not `placed` there, what arrives is not for this assignment.
    - `position`: the offset after all that was delivered; None where nothing is known yet.
    - `noted`, `sent`, `committed`: what may be committed, what is on its way to the broker, what the broker has.
    - `jump`: the largest step of offsets without a message since the last standing, for who looks for expired records.
    """

    partition: Partition
    topic_id: str | None
    target: int | None
    placed: bool
    tag: str
    rewinding: bool = False
    position: int | None = None
    noted: int | None = None
    sent: int | None = None
    committed: int | None = None
    jump: tuple[int, int] | None = None

    def note_jump(self, offset: int) -> None:
        """Record a step over offsets without messages; what retention took is such a step, and so is a marker."""
        before = self.position
        if before is not None and (self.jump is None or offset - before > self.jump[1] - self.jump[0]):
            self.jump = (before, offset)

    @property
    def commits(self) -> bool:
        """Whether anything is noted that the broker does not have."""
        return self.noted is not None and (self.committed is None or self.noted > self.committed)


class OffsetProgress(NamedTuple):
    """Where an owned partition stands, for the watch of the topics."""

    owned: OwnedPartition
    position: int | None
    noted: int | None
    jump: tuple[int, int] | None


class OwnedPartitions:
    """The assignments that are in force. Partitions of earlier ones are recognised by identity, and ignored."""

    def __init__(self) -> None:
        """Own nothing."""
        self._lock = threading.Lock()
        self._records: dict[tuple[str, int], OwnedPartition] = {}
        self._serials = count(1)

    def begin(self, partition: Partition, *, topic_id: str | None, target: int | None, placed: bool) -> OwnedPartition:
        """Begin an assignment."""
        owned = OwnedPartition(partition, topic_id, target, placed, _tag(topic_id, next(self._serials)))
        owned.position = target if target is not None and target >= 0 else None
        with self._lock:
            self._records[partition.topic, partition.number] = owned
        return owned

    def end(self, partitions: Iterable[Partition]) -> None:
        """End the assignments of these partitions: what was noted for them is forgotten."""
        with self._lock:
            for topic, number in partitions:
                self._records.pop((topic, number), None)

    def at(self, topic: str, number: int) -> OwnedPartition | None:
        """Return the assignment of a partition that is in force."""
        return self._records.get((topic, number))

    def of(self, partition: Partition) -> OwnedPartition | None:
        """Return the assignment that a Partition object stands for; None where it is an earlier one."""
        owned = self._records.get((partition.topic, partition.number))
        return owned if owned is not None and owned.partition is partition else None

    def all(self) -> list[OwnedPartition]:
        """Return the assignments."""
        with self._lock:
            return list(self._records.values())

    def identify(self, topic: str, topic_id: str) -> list[Partition]:
        """Record a topic's id where it was not known, and return the partitions that were assigned under another."""
        of_topic = [it for it in self.all() if it.partition.topic == topic]
        for owned in of_topic:
            if owned.topic_id is None:
                # The answer to a commit under way carries the tag of before, and will not count: it is sent again.
                owned.topic_id, owned.tag, owned.sent = topic_id, _tag(topic_id, next(self._serials)), None
        return [it.partition for it in of_topic if it.topic_id != topic_id]

    def standings(self) -> list[OffsetProgress]:
        """Return where each partition stands, and forget its largest jump."""
        with self._lock:
            standings = [OffsetProgress(it, it.position, it.noted, it.jump) for it in self._records.values()]
            for standing in standings:
                standing.owned.jump = None
            return standings

    # --- Commits --------------------------------------------------------------------------------------------------

    def note(self, offsets: Mapping[Partition, int]) -> None:
        """Record what may be committed: within an assignment, the largest offset wins."""
        with self._lock:
            for partition, offset in offsets.items():
                owned = self.of(partition)
                if owned is not None and (owned.noted is None or offset > owned.noted):
                    owned.noted = offset

    def send(self, among: Collection[Partition] | None = None, *, once_more: bool = False) -> list[TopicPartition]:
        """Return what is to be committed, and count it as sent. With `once_more` also what is on its way already."""
        with self._lock:
            due = [
                it
                for it in self._records.values()
                if it.commits and (once_more or it.sent is None) and (among is None or it.partition in among)
            ]
            for owned in due:
                owned.sent = owned.noted
            return [self._place(it, it.noted) for it in due]

    def answered(self, places: Sequence[TopicPartition], error: KafkaError | None) -> None:
        """Take the broker's answer to a commit. An answer to one of an earlier assignment does not count."""
        with self._lock:
            for place in places:
                owned = self._records.get((place.topic, place.partition))
                if owned is None or owned.tag != place.metadata:
                    continue
                if owned.sent == place.offset:
                    owned.sent = None
                if (
                    error is None
                    and place.error is None
                    and (owned.committed is None or place.offset > owned.committed)
                ):
                    owned.committed = place.offset

    def place(self, partition: Partition, offset: int) -> TopicPartition:
        """Return an offset to commit, which carries the topic's id."""
        owned = self.of(partition)
        return TopicPartition(*partition, offset) if owned is None else self._place(owned, offset)

    def _place(self, owned: OwnedPartition, offset: int | None) -> TopicPartition:
        # The id goes along as the commit's metadata. Kafka forgets the offsets of a topic that is deleted, but takes
        # for a topic of the same name what is still committed for the old one: only the id tells them apart.
        assert offset is not None  # noqa: S101 - narrows the type: it is noted
        return TopicPartition(owned.partition.topic, owned.partition.number, offset, owned.tag)


def starting_point(committed: TopicPartition, topic_id: str | None) -> int:
    """Return where to read on, from what the group has committed: not what it committed for a topic since deleted."""
    tag = _TAG.fullmatch(committed.metadata or "")
    of_another_topic = tag is not None and topic_id is not None and tag["topic_id"] not in ("", topic_id)
    return int(OFFSET_BEGINNING) if committed.offset < 0 or of_another_topic else int(committed.offset)


def _tag(topic_id: str | None, serial: int) -> str:
    return f"topic_id={topic_id or ''} assignment={serial}"
