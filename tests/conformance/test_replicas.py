"""How many replicas the topics have that a host creates: as many as its contract says, or the broker's own number."""

import asyncio
import threading
from pathlib import Path

import pytest

from omnibase_core.errors import BusError
from omnibase_core.testing import RecordingObserver
from omnibase_infra.kafka import KafkaSettings
from omnibase_infra.kafka.connectivity import BrokerConnectivity
from omnibase_infra.kafka.topics import ensure_topics
from tests.support.brokers import broker


def test_without_a_number_of_its_own_a_topic_has_the_brokers(tmp_path: Path) -> None:
    """A lone broker whose default is two refuses, as it should: with one replica written, it creates the topic."""
    server = broker(tmp_path)
    with (tmp_path / "server.properties").open("a") as properties:
        properties.write("default.replication.factor=2\n")
    server.start()
    try:
        with pytest.raises(BusError, match=r"missing and could not be created: .*replicat"):
            asyncio.run(_ensure(KafkaSettings(bootstrap_servers=server.bootstrap_servers), "by-default"))
        asyncio.run(_ensure(KafkaSettings(bootstrap_servers=server.bootstrap_servers, replicas=1), "as-written"))
    finally:
        server.kill()


async def _ensure(settings: KafkaSettings, topic: str) -> None:
    ensure_topics(
        settings,
        address=settings.bootstrap_servers,
        client_id="test",
        topics=[topic],
        connection=BrokerConnectivity(RecordingObserver(), settings.bootstrap_servers),
        give_up=threading.Event(),
    )
