"""Several consumers of one bus: what happens to one of them, and what the others do then."""

import asyncio
from contextlib import aclosing

import pytest

from omnibase_core.errors import BusError
from omnibase_core.ports import Assigned, Partition, Revoked
from omnibase_core.testing import RecordingObserver
from omnibase_infra.kafka import KafkaBus, KafkaSettings
from tests.support.brokers import Broker
from tests.support.bus_world import PARTITIONS, host_contract


def test_where_one_fails_for_good_all_partitions_are_lost_before_any_consumer_leaves(
    kafka: Broker, unique_slug: str
) -> None:
    """Whoever is given them next may serve them at once: nothing is published for them here any more."""
    topics = [f"{unique_slug}.{name}" for name in ("one", "two", "three")]

    async def scenario() -> None:
        address = kafka.bootstrap_servers
        settings = KafkaSettings(bootstrap_servers=address, consumers=3)
        host = host_contract(unique_slug, exactly_once=False)
        bus = KafkaBus(settings, address=address, host=host, topics=topics, observer=RecordingObserver())
        owned: set[Partition] = set()
        lost: set[Partition] = set()

        async def consume() -> None:
            async with asyncio.timeout(60), aclosing(bus.receive(topics)) as happenings:
                async for happening in happenings:
                    if isinstance(happening, Assigned):
                        owned.update(happening.partitions)
                    elif isinstance(happening, Revoked):
                        (lost.update if happening.lost else owned.difference_update)(happening.partitions)
                        happening.release()
                    if len(owned) == PARTITIONS * len(topics):
                        bus.connection.fatal = "it is gone"

        try:
            with pytest.raises(BusError, match="it is gone"):
                await consume()
        finally:
            await bus.close()
        assert lost == owned
        assert len(lost) == PARTITIONS * len(topics)

    asyncio.run(scenario())
