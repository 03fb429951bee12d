"""The reader of answers on a real broker: topics that come later, and those that grow."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from omnibase_infra.kafka import KafkaSettings
from omnibase_infra.kafka.reply_consumer import ReplyConsumer
from tests.support.brokers import ApacheKafka, Broker
from tests.support.processes import until
from tests.support.traffic import create_topics


class _Heard:
    """A reader, and what it has told."""

    def __init__(self, broker: str, *, tells_absence: bool) -> None:
        self.values: list[bytes] = []
        self.absent: list[str] = []
        self.listening: list[str] = []
        self.reader = ReplyConsumer(
            KafkaSettings(bootstrap_servers=broker).listener(client_id="test"),
            (),
            hear=self.values.extend,
            listening=self.listening.append,
            absent=self.absent.append if tells_absence else None,
            warn=lambda _: None,
        )


@pytest.fixture
def heard(kafka: Broker) -> Iterator[_Heard]:
    """Run a reader that waits for topics."""
    found = _Heard(kafka.bootstrap_servers, tells_absence=False)
    yield found
    found.reader.close(within_s=10)


def _produce(broker: str, topic: str, partition: int, value: bytes) -> None:
    client = Producer({"bootstrap.servers": broker})
    reports: list[Any] = []
    client.produce(topic, value, partition=partition, on_delivery=lambda error, _: reports.append(error))
    assert client.flush(30) == 0
    assert reports == [None]
    client.close()


def test_partitions_that_are_added_are_read_from_their_beginning(
    heard: _Heard, kafka: Broker, unique_slug: str
) -> None:
    """What was there before the topic was listened to is not heard, all of the new partition is."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip("only a real Kafka can add partitions")
    broker = kafka.bootstrap_servers
    create_topics(broker, [unique_slug], partitions=1)
    _produce(broker, unique_slug, 0, b"before")
    heard.reader.listen(unique_slug)
    until(lambda: heard.listening == [unique_slug], within_s=30, what="listening")
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_partitions([NewPartitions(unique_slug, 2)]).values():
        future.result()
    _produce(broker, unique_slug, 1, b"after")
    until(lambda: bool(heard.values), within_s=30, what="what came into the new partition")
    _produce(broker, unique_slug, 0, b"last")
    until(lambda: len(heard.values) >= 2, within_s=30, what="the last")
    assert heard.values == [b"after", b"last"]


def test_a_topic_that_comes_later_is_found(heard: _Heard, kafka: Broker, unique_slug: str) -> None:
    """It is looked for until it is there."""
    heard.reader.listen(unique_slug)
    assert not threading.Event().wait(1.2)
    assert heard.listening == []
    create_topics(kafka.bootstrap_servers, [unique_slug], partitions=1)
    until(lambda: heard.listening == [unique_slug], within_s=30, what="listening")


def test_who_wants_to_know_is_told_once_of_a_topic_that_is_missing(kafka: Broker, unique_slug: str) -> None:
    """And has to ask again."""
    heard = _Heard(kafka.bootstrap_servers, tells_absence=True)
    try:
        heard.reader.listen(unique_slug)
        until(lambda: bool(heard.absent), within_s=30, what="its absence")
        assert not threading.Event().wait(1.2)
        assert heard.absent == [unique_slug]
    finally:
        heard.reader.close(within_s=10)
