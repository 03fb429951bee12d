"""The host's producer, on a real broker: where its messages go, and what it does with those that it cannot send."""

import asyncio
from typing import Any

import pytest

from omnibase_core.ports import Message
from omnibase_infra.kafka import KafkaSettings
from omnibase_infra.kafka.producer import KafkaProducer
from tests.support.brokers import Broker
from tests.support.traffic import Reader, create_topics

PARTITIONS = 12
MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Keys, and what Kafka's own tests say of them: org.apache.kafka.common.utils.UtilsTest, testMurmur2."""


def send(broker: str, messages: list[Message]) -> list[tuple[int, str]]:
    """Publish as a host does; return the refusals."""

    async def scenario() -> list[tuple[int, str]]:
        config = KafkaSettings(bootstrap_servers=broker).producer(client_id="host")
        publisher = KafkaProducer(config, on_error=lambda _: None)
        try:
            refusals = await asyncio.wait_for(publisher.publish(messages), 60)
            return [(it.index, it.error.code) for it in refusals]
        finally:
            await publisher.close(within_s=10)

    return asyncio.run(scenario())


def test_a_key_is_in_the_partition_where_clients_in_java_put_it(kafka: Broker, unique_slug: str) -> None:
    """So that whatever reads by key finds all of it in one place."""
    create_topics(kafka.bootstrap_servers, [unique_slug], partitions=PARTITIONS)
    assert send(kafka.bootstrap_servers, [Message(unique_slug, key, b"v") for key in MURMUR2]) == []
    with Reader(kafka.bootstrap_servers, [unique_slug]) as reader:
        reader.until(lambda messages: len(messages) == len(MURMUR2), within_s=30)
        found = {message.key(): message.partition() for message in reader.messages}
    assert found == {key: (hashed & 0x7FFFFFFF) % PARTITIONS for key, hashed in MURMUR2.items()}


@pytest.mark.parametrize(
    "bad", [("k", b"v", [("\ud800", b"v")]), ("k", b"v", [("n", 5)]), ("k", 5, ()), ("k", 5, [("n", b"v")])]
)
def test_a_message_that_the_client_does_not_take_is_refused(kafka: Broker, unique_slug: str, bad: Any) -> None:
    """By its place; a header name that is not UTF-8 would crash the process. Others are sent."""
    create_topics(kafka.bootstrap_servers, [unique_slug], partitions=1)
    good = Message(unique_slug, b"k", b"good", [("n", b"v")])
    assert send(kafka.bootstrap_servers, [good, Message(unique_slug, *bad), good]) == [(1, "publish_refused")]
    with Reader(kafka.bootstrap_servers, [unique_slug]) as reader:
        reader.until(lambda messages: len(messages) == 2, within_s=30)
