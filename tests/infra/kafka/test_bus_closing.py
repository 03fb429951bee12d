"""How a bus is closed: in bounded time, which all phases share where the host says so."""

import asyncio
import time

from omnibase_core.ports import Message
from omnibase_core.testing import RecordingObserver
from omnibase_infra.kafka import KafkaBus, KafkaSettings
from tests.support.bus_world import Listener, host_contract, play


def test_all_phases_of_closing_share_what_is_left() -> None:
    """Nobody ever answers: neither the group nor the broker of what is published is waited for beyond that moment."""

    async def scenario() -> None:
        bus = KafkaBus(
            KafkaSettings(bootstrap_servers="127.0.0.1:1"),
            address="127.0.0.1:1",
            host=host_contract("closing", exactly_once=False),
            topics=["topic"],
            observer=RecordingObserver(),
        )
        listener = Listener(bus, "topic")
        published = bus.publish([Message("topic", b"k", b"v")])
        await asyncio.sleep(0.1)
        bus.connection.down = False
        bus.ends_by = time.monotonic() + 1
        await listener.leave()
        await bus.close()
        # Without it, what is published alone is waited for for ten seconds.
        assert time.monotonic() < bus.ends_by + 5
        assert published.cancelled()

    play(scenario())
