"""Each bus in turn: in memory, on the embedded broker, on the real one in each of the ways to read it."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Literal

import pytest

from omnibase_core.ports import Assigned, EnvelopeBus, Happening, Revoked
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_infra.kafka import EMBEDDED, KafkaBus, KafkaSettings
from omnibase_infra.kafka.settings import embedded_broker
from tests.support.brokers import ApacheKafka, Broker
from tests.support.bus_world import KafkaSide, MemorySide, World, host_contract


@pytest.fixture(scope="module")
def embedded_address() -> Iterator[str]:
    """Run the embedded broker once."""
    with embedded_broker() as address:
        yield address


class _AmongOthers(KafkaBus):
    """A bus with a consumer for each of several topics, of which the test sees one."""

    async def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Read other topics as well, and keep to oneself what happens to them."""
        async with aclosing(super().receive([*_others_of(topics), *topics])) as happenings:
            async for happening in happenings:
                match happening:
                    case Assigned(partitions):
                        seen: Happening = Assigned(frozenset(it for it in partitions if it.topic in topics))
                    case Revoked(partitions, lost, release):
                        seen = Revoked(frozenset(it for it in partitions if it.topic in topics), lost, release)
                        if not seen.partitions:
                            release()
                    case _:
                        seen = happening
                if not isinstance(seen, Assigned | Revoked) or seen.partitions:
                    yield seen


def _others_of(topics: Iterable[str]) -> list[str]:
    return [f"{topic}.{name}" for topic in topics for name in ("one", "two")]


@pytest.fixture(params=["memory", "embedded", "kafka", "kafka-848", "kafka-several", "kafka-once", "kafka-848-once"])
def world(request: pytest.FixtureRequest, unique_slug: str) -> World:
    """Yield each broker in turn."""
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
    make, topics = KafkaBus, [topic]
    if several := request.param == "kafka-several":
        make, topics = _AmongOthers, [topic, *_others_of([topic])]
    settings = KafkaSettings(
        bootstrap_servers=EMBEDDED if embedded else address,
        group_protocol=protocol,
        consumers=len(topics) if several else None,
        client=client,
    )

    @asynccontextmanager
    async def open_kafka() -> AsyncIterator[EnvelopeBus]:
        host = host_contract(unique_slug, exactly_once=transacts)
        bus = make(settings, address=address, host=host, topics=topics, observer=RecordingObserver())
        try:
            yield bus
        finally:
            await bus.close()

    is_kafka = isinstance(server, ApacheKafka)
    side = KafkaSide(address, topic, f"onex.test.{unique_slug}.pool") if is_kafka else None
    return World(topic, open_kafka, shares=is_kafka, transacts=transacts, side=side)
