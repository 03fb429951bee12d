"""What the Kafka bus tells of its topics, each once and with numbers, on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from omnibase_core.ports import Partition
from omnibase_core.testing import RecordingObserver
from omnibase_infra.kafka import KafkaBus, KafkaSettings
from tests.support.brokers import ApacheKafka, Broker
from tests.support.bus_world import PARTITIONS, KafkaSide, Listener, host_contract, numbered, play
from tests.support.traffic import create_topics, publish


class Watched:
    """A topic, and a bus that consumes it."""

    def __init__(self, address: str, slug: str) -> None:
        """Name the topic."""
        self.address, self.slug = address, slug
        self.topic = f"onex.app.test.{slug}.cmd.node.any.v1"
        self.side = KafkaSide(address, self.topic, f"onex.test.{slug}.pool")
        self.observer = RecordingObserver()
        self.bus: KafkaBus
        self.listener: Listener

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator[None]:
        """Consume until the end of the block."""
        self.observer = RecordingObserver()
        self.bus = KafkaBus(
            KafkaSettings(bootstrap_servers=self.address),
            address=self.address,
            host=host_contract(self.slug, exactly_once=False),
            topics=[self.topic],
            observer=self.observer,
        )
        self.listener = Listener(self.bus, self.topic)
        try:
            await self.listener.until(lambda: len(self.listener.owned) == PARTITIONS)
            yield
        finally:
            await self.listener.leave()
            await self.bus.close()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for the watch."""
        await self.listener.until(lambda: bool(holds()))


@pytest.fixture
def watched(kafka: Broker, unique_slug: str) -> Watched:
    """Return a topic on the shared broker."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")
    return Watched(kafka.bootstrap_servers, unique_slug)


def test_what_retention_took_is_counted(watched: Watched) -> None:
    """What expired while nobody consumed is told once a partition, and stands in the survey."""

    async def scenario() -> None:
        async with watched.consuming():
            await watched.bus.publish(numbered(watched.topic, range(200)))
            await watched.listener.until_received(200)
            ends = {it.partition: it.offset + 1 for it in watched.listener.deliveries}
            watched.bus.commit({watched.listener.current(it.number): 1 for it in ends})
        for partition, end in ends.items():
            await asyncio.to_thread(watched.side.expire, partition.number, end - 2)
        async with watched.consuming():
            await watched.listener.until_received(2 * len(ends))
            await watched.until(lambda: len(watched.bus.survey().expired) == len(ends))
            assert watched.bus.survey().expired == {it: end - 3 for it, end in ends.items()}
            await asyncio.sleep(5)
            told = watched.observer.named("records_expired")
            assert sorted((it["partition"], it["count"]) for it in told) == sorted(
                (it.number, end - 3) for it, end in ends.items()
            )

    play(scenario())


def test_a_topic_that_is_gone_and_back_is_told(watched: Watched) -> None:
    """Once each, and that it is another topic than before."""

    async def scenario() -> None:
        async with watched.consuming():
            await watched.until(lambda: len(watched.bus.survey().ends) == PARTITIONS)
            admin = AdminClient({"bootstrap.servers": watched.address, "log_level": 0})
            await asyncio.to_thread(admin.delete_topics([watched.topic])[watched.topic].result)
            await watched.until(lambda: watched.bus.survey().gone == {watched.topic})
            await asyncio.sleep(5)
            await asyncio.to_thread(create_topics, watched.address, [watched.topic])
            await asyncio.to_thread(publish, watched.address, numbered(watched.topic, range(20)))
            await watched.listener.until_received(20)
            await watched.until(lambda: not watched.bus.survey().gone)
            for name in ("topic_missing", "topic_restored", "topic_recreated"):
                assert [it["topic"] for it in watched.observer.named(name)] == [watched.topic]

    play(scenario())


def test_an_open_transaction_in_front_is_told(watched: Watched) -> None:
    """With how many messages wait behind its beginning; it is gone from the survey once the transaction ends."""

    async def scenario() -> None:
        async with watched.consuming():
            options = {"transactional.id": watched.slug, "transaction.timeout.ms": 60_000}
            producer = Producer({"bootstrap.servers": watched.address, **options})
            await asyncio.to_thread(producer.init_transactions)
            producer.begin_transaction()
            producer.produce(watched.topic, b"0", partition=1)
            await asyncio.to_thread(producer.flush)
            plain = Producer({"bootstrap.servers": watched.address})
            for n in range(1, 10):
                plain.produce(watched.topic, b"%d" % n, partition=1)
            await asyncio.to_thread(plain.flush)
            await watched.until(lambda: watched.bus.survey().open_transactions)
            [(partition, held)] = watched.bus.survey().open_transactions.items()
            assert (partition.number, held.messages) == (1, 10)
            assert held.for_s >= 5
            assert not watched.listener.deliveries
            await asyncio.to_thread(producer.commit_transaction)
            assert len(await watched.listener.until_received(10)) == 10
            await watched.until(lambda: not watched.bus.survey().open_transactions)
            assert len(watched.observer.named("open_transaction")) == 1

    play(scenario())


def test_lag_has_an_age(watched: Watched) -> None:
    """It grows while a message waits at the watermark, and there is none behind the last message."""

    async def scenario() -> None:
        async with watched.consuming():
            await watched.bus.publish(numbered(watched.topic, range(40)))
            await watched.listener.until_received(40)
            partition = watched.listener.deliveries[0].partition
            end = max(it.offset + 1 for it in watched.listener.deliveries if it.partition == partition)
            await watched.until(lambda: (its := watched.bus.survey().ends.get(partition)) and its.stable_end == end)
            first_s = watched.bus.lag_s(partition, 0)
            await watched.until(lambda: watched.bus.lag_s(partition, 0) > first_s + 1)
            assert watched.bus.lag_s(partition, end) == 0
            assert watched.bus.survey().positions[partition] == end
            assert watched.bus.lag_s(Partition("other", 0), 0) == 0

    play(scenario())
