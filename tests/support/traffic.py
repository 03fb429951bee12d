"""Commands in bulk, and what came of them: clients of the tests' own, so that nothing is judged by its own code."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from omnibase_core.codec import decode
from omnibase_core.ports import Message

_QUIET = {"log_level": 0}
_PARTITIONER = {"partitioner": "murmur2_random"}
"""That of a host: a key is in the same partition, whoever wrote it."""


def create_topics(broker: str, names: Iterable[str], *, partitions: int = 4, **config: str) -> None:
    """Create topics, for senders that come before the host."""
    admin = AdminClient({"bootstrap.servers": broker, **_QUIET})
    for future in admin.create_topics([NewTopic(name, partitions, 1, config=config) for name in names]).values():
        future.result()


def publish(broker: str, messages: Iterable[Message]) -> None:
    """Publish messages, in order, until the broker has each."""
    refused: list[Any] = []
    options = {"enable.idempotence": True, "linger.ms": 5, "message.max.bytes": 2_000_000, **_PARTITIONER}
    client = Producer({"bootstrap.servers": broker, **options, **_QUIET})
    for topic, key, value, headers in messages:
        while True:
            try:
                client.produce(
                    topic, value, key, headers=list(headers), on_delivery=lambda error, _: refused.append(error)
                )
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
    assert client.flush(60) == 0
    client.close()
    assert not any(refused), [error for error in refused if error][:3]


class Reader:
    """Reads topics from their beginning, without a group that could be disturbed."""

    def __init__(self, broker: str, topics: Sequence[str]) -> None:
        """Take every partition of the topics."""
        self._client = Consumer(
            {"bootstrap.servers": broker, "group.id": "tests", "enable.auto.commit": False, **_QUIET}
        )
        there = self._client.list_topics(timeout=10).topics
        self._client.assign(
            [TopicPartition(topic, number, 0) for topic in topics for number in there[topic].partitions]
        )
        self.messages: list[Any] = []

    def __enter__(self) -> "Reader":
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self._client.close()

    def until(self, holds: Callable[[Sequence[Any]], bool], *, within_s: float) -> Sequence[Any]:
        """Read until something holds of the messages; give them."""
        deadline_s = time.monotonic() + within_s
        while not holds(self.messages):
            assert time.monotonic() < deadline_s, f"{len(self.messages)} messages, and no end within {within_s:g} s"
            self.messages.extend(it for it in self._client.consume(5000, 0.2) if it.error() is None)
        return self.messages

    def until_quiet(self, *, for_s: float = 2.0) -> None:
        """Read on until nothing has come for a while."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            arrived = [it for it in self._client.consume(5000, 0.2) if it.error() is None]
            if arrived:
                self.messages.extend(arrived)
                until_s = time.monotonic() + for_s

    def until_answered(self, commands: set[UUID], *, within_s: float) -> Counter[UUID]:
        """Read until each command has its answer, and count the answers of each."""
        answers: Counter[UUID] = Counter()
        seen = 0

        def complete(messages: Sequence[Any]) -> bool:
            nonlocal seen
            for message in messages[seen:]:
                answer = decode(message.value())
                assert answer.causation_id is not None
                answers[answer.causation_id] += 1
            seen = len(messages)
            return commands <= answers.keys()

        try:
            self.until(complete, within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{len(commands - answers.keys())} of {len(commands)} without an answer") from error
        return answers


def disordered(answers: Iterable[Any]) -> int:
    """Count the first answers of a key that come before that of an earlier command of the key, by their `n`."""
    seen: set[UUID] = set()
    last: dict[bytes, int] = {}
    count = 0
    for message in answers:
        answer = decode(message.value())
        if answer.envelope_id in seen:
            continue
        seen.add(answer.envelope_id)
        number = answer.payload["n"]
        assert isinstance(number, int)
        count += number < last.get(message.key(), -1)
        last[message.key()] = max(number, last.get(message.key(), -1))
    return count


def committed(broker: str, group: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return the offsets that a group has committed, and nothing for partitions without."""
    client = Consumer({"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False, **_QUIET})
    there = client.list_topics(timeout=10).topics
    places = [TopicPartition(topic, number) for topic in topics for number in there[topic].partitions]
    found = {(it.topic, it.partition): it.offset for it in client.committed(places, timeout=10) if it.offset >= 0}
    client.close()
    return found


def ends(broker: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return where each partition that holds anything ends."""
    client = Consumer({"bootstrap.servers": broker, "group.id": "tests", **_QUIET})
    there = client.list_topics(timeout=10).topics
    found = {
        (topic, number): client.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
        for topic in topics
        for number in there[topic].partitions
    }
    client.close()
    return {place: end for place, end in found.items() if end}
