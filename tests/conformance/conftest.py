"""Each bus in turn: in memory, on the embedded broker, on the real one under both group protocols and guarantees."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from omnibase_core.ports import EnvelopeBus
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_infra.kafka import EMBEDDED, KafkaBus, KafkaSettings
from omnibase_infra.kafka.embedded import embedded_broker
from tests.gear.brokers import ApacheKafka, Broker
from tests.gear.bus_world import KafkaSide, MemorySide, World, host_contract


@pytest.fixture(scope="module")
def embedded_address() -> Iterator[str]:
    """Run the embedded broker once."""
    with embedded_broker() as address:
        yield address


@pytest.fixture(params=["memory", "embedded", "kafka", "kafka-848", "kafka-once", "kafka-848-once"])
def world(request: pytest.FixtureRequest, unique_slug: str) -> World:
    """Give each broker in turn."""
    topic = f"onex.app.test.{unique_slug}.cmd.node.any.v1"
    if request.param == "memory":
        broker = MemoryBroker()

        @asynccontextmanager
        async def open_memory() -> AsyncIterator[EnvelopeBus]:
            yield MemoryBus(broker, group="group")

        return World(topic, open_memory, shares=True, transacts=True, side=MemorySide(broker, topic, "group"))
    embedded = request.param == "embedded"
    server: Broker | None = None if embedded else request.getfixturevalue("kafka")
    address = request.getfixturevalue("embedded_address") if server is None else server.bootstrap_servers
    # The embedded broker forgets a member that left only with its session.
    client = {"session.timeout.ms": 6000} if embedded else {}
    if "848" in request.param and not isinstance(server, ApacheKafka):
        pytest.skip("only Apache Kafka has the group protocol of KIP-848")
    protocol: Literal["classic", "consumer"] = "consumer" if "848" in request.param else "classic"
    transacts = request.param.endswith("once")
    settings = KafkaSettings(
        bootstrap_servers=EMBEDDED if embedded else address, group_protocol=protocol, client=client
    )

    @asynccontextmanager
    async def open_kafka() -> AsyncIterator[EnvelopeBus]:
        host = host_contract(unique_slug, exactly_once=transacts)
        bus = KafkaBus(settings, address=address, host=host, topics=[topic], observer=RecordingObserver())
        try:
            yield bus
        finally:
            await bus.close()

    is_kafka = isinstance(server, ApacheKafka)
    side = KafkaSide(address, topic, f"onex.test.{unique_slug}.pool") if is_kafka else None
    return World(topic, open_kafka, shares=is_kafka, transacts=transacts, side=side)
