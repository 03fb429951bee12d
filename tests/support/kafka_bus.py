"""The bus of a host, open on a broker, with the place of a `kafka` handler on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from omnibase_core.contracts.host import Guarantee, RuntimeHostContract
from omnibase_core.testing import RecordingObserver
from omnibase_infra.handlers.kafka import RequestContext
from omnibase_infra.kafka import KafkaBus, KafkaBusFactory, KafkaSettings

HOST = RuntimeHostContract(
    contract="host/v1",
    name="host",
    version="1.0.0",
    description="A host of a test.",
    environment="dev",
    tenant="test",
    pool="pool",
    guarantee=Guarantee.AT_LEAST_ONCE,
    nodes=["audit-log"],
)


@asynccontextmanager
async def open_bus(address: str, **client: Any) -> AsyncIterator[tuple[KafkaBus, RequestContext]]:
    """Open both as a host does; `client` are properties of librdkafka."""
    settings = KafkaSettings(bootstrap_servers=address, message_bytes_max=2_000_000, client=client)
    async with KafkaBusFactory().open(settings=settings, host=HOST, topics=[], observer=RecordingObserver()) as bus:
        yield (
            bus,
            RequestContext(namespace=HOST.namespace, pool=HOST.pool, listen=bus.listen, now=lambda: datetime.now(UTC)),
        )
