"""Where a group begins to read a topic of which it has committed nothing yet."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime

from confluent_kafka import Consumer, TopicPartition

from omnibase_infra.kafka.blocking_calls import BlockingCalls

EARLIEST, LATEST = "earliest", "latest"
_ASK_S = 2.0
_END_MS = -1
"""Stands for the end of a partition where a time is asked for (Kafka's ListOffsets)."""


def start_ms(start: str) -> int | None:
    """Return a start as the time that Kafka is asked for, None for the earliest. Raises ValueError."""
    if start == EARLIEST:
        return None
    if start == LATEST:
        return _END_MS
    expected = f"expected {EARLIEST}, {LATEST}, or a time with its zone such as 2026-01-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise ValueError(f"found {start!r}, {expected}") from None
    if moment.tzinfo is None or moment < datetime.fromtimestamp(0, UTC):
        raise ValueError(f"found {start!r}, {expected}")
    return int(moment.timestamp() * 1000)


class OffsetReset:
    """Commits where a new group begins, before anything is read. Belongs to the consumer's thread.

    It is committed for all partitions of a topic at once, whoever they are assigned to, and only where none of them has
    a committed offset. So a partition that is added later is read from its beginning, whatever was there when a host
    first saw it; and a host that ends before it has done anything comes back to the same place.
    """

    def __init__(self, consumer: Consumer, *, start: str, waits: BlockingCalls, event: Callable[..., None]) -> None:
        """Begin as `start` says. Raises ValueError."""
        self._consumer = consumer
        self._start = start
        self._start_ms = start_ms(start)
        self._waits = waits
        self._event = event
        self._settled: set[str] = set()

    def settle(self, topics: Collection[str]) -> None:
        """See to topics that were not seen to before. Raises KafkaException, and then sees to them the next time."""
        if self._start_ms is None:
            return
        for topic in sorted(set(topics) - self._settled):
            with self._waits.on("the offsets that its group begins at"):
                self._settle(topic, self._start_ms)
            self._settled.add(topic)

    def _settle(self, topic: str, at_ms: int) -> None:
        known = self._consumer.list_topics(topic, timeout=_ASK_S).topics[topic]
        numbers = list(known.partitions)
        committed = self._consumer.committed([TopicPartition(topic, it) for it in numbers], timeout=_ASK_S)
        if not numbers or any(it.error is not None or it.offset >= 0 for it in committed):
            return
        places = self._offsets(topic, numbers, at_ms)
        # What is later than every message has no offset: that is the end.
        behind = [it.partition for it in places if it.offset < 0]
        places = [*(it for it in places if it.offset >= 0), *self._offsets(topic, behind, _END_MS)]
        self._consumer.commit(offsets=places, asynchronous=False)
        self._event("info", "start_offsets_committed", topic=topic, at=self._start, partitions=len(places))

    def _offsets(self, topic: str, numbers: Collection[int], at_ms: int) -> list[TopicPartition]:
        if not numbers:
            return []
        asked = [TopicPartition(topic, number, at_ms) for number in numbers]
        found: list[TopicPartition] = self._consumer.offsets_for_times(asked, timeout=_ASK_S)
        return [TopicPartition(it.topic, it.partition, it.offset) for it in found]
