"""The `kafka` handler in the conformance suite, on a bus in memory.

It has no server of its own: what it meets is the host's bus, and that is shown on real brokers in
tests/infra/handlers/test_kafka.py (away at the start and in the middle, back, slow, refusing).
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

from omnibase_core.outlet import CommandOutlet
from omnibase_core.ports import Delivery, HandlerCall, HandlerDescription, Partition
from omnibase_core.testing import MemoryBroker, MemoryBus
from omnibase_core.topics import Namespace
from omnibase_infra.handlers.kafka import KafkaHandlerFactory, Place
from omnibase_spi import Handler
from tests.gear.commands import envelope
from tests.gear.handlers import Ask, Member


class _WithOutlet:
    """A handler whose calls bring along what they publish by, as the runtime's do."""

    def __init__(self, handler: Handler, bus: MemoryBus) -> None:
        self._handler, self._bus = handler, bus

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        command = envelope("any", envelope_id=call.call_id)
        delivery = Delivery(Partition("commands", 0), 0, None, b"", (), 0)
        return await self._handler.execute(
            call._replace(outlet=CommandOutlet(self._bus, delivery, command, transacts=False))
        )


class _OnABus:
    """Makes the handler on a bus of its own."""

    description: HandlerDescription = KafkaHandlerFactory.description

    @asynccontextmanager
    async def open(self, **opening: Any) -> AsyncIterator[Handler]:
        namespace = Namespace(environment="dev", tenant="test")

        def listen(*_: object, **__: object) -> Any:
            return nullcontext()

        place = Place(namespace=namespace, pool="pool", listen=listen, now=lambda: datetime.now(UTC))
        async with KafkaHandlerFactory(place).open(**opening) as handler:
            yield _WithOutlet(handler, MemoryBus(MemoryBroker(), group="group"))


def kafka_member() -> Member:
    """Give the member. Its receipts tell the call by the topic."""
    return Member(factory=_OnABus(), target=lambda _: {"topics": [f"topic-{n}" for n in range(100)]}, ask=_ask)


def _ask(number: int) -> Ask:
    topic = f"topic-{number}"
    return Ask(operation="publish", request={"topic": topic, "text": "x"}, answers=lambda it: it == {"topic": topic})
