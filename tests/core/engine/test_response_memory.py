"""Room for answers with exactly once, and requests that are served at once."""

import asyncio
from collections.abc import Mapping
from typing import Any

from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.testing import MemoryBroker, RecordingObserver
from omnibase_core.testing.virtual_time import VirtualClock
from tests.core.engine.test_memory import REQUESTS, SlowBus
from tests.support.commands import ECHO, command, loaded_host, node
from tests.support.stage import COMMANDS, Stage, on_stage, play

HUNDRED_KB = 100_000
LIMITS = "{bytes_in_flight_max: 1000000}"


def test_with_exactly_once_a_command_is_not_kept_waiting_for_room_by_answers_that_wait_for_it() -> None:
    """Answers of other keys stand in line behind it: they go out when it is done, and so must not keep it out."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            await asyncio.sleep(1 if request["n"] == 0 else 0.1)
            return {"n": request["n"], "blob": "x" * HUNDRED_KB}

        stage = Stage(behave, MemoryBroker(partitions=1))
        for n in range(10):
            stage.send("a", n, b"first" if n < 2 else b"%d" % n)
        loaded = loaded_host({"a": node("a")}, limits=LIMITS, guarantee="exactly_once")
        async with on_stage(stage, loaded):
            await asyncio.sleep(3600)
            assert (stage.committed(), stage.runtime.held, stage.runtime.stalled_s < 60) == (10, {}, True)

    play(scenario)


def test_requests_that_are_served_at_once_are_counted_until_the_broker_has_their_answers() -> None:
    """What waits for the broker is bounded, whoever asked for it."""

    async def scenario() -> None:
        stage = Stage(_nobody, MemoryBroker(partitions=1))
        headers = ((ADDRESSEE, COMMANDS.format("a").encode()), (DEPTH, b"1"))
        for n in range(400):
            sent = command(REQUESTS, "a", {"n": n, "blob": "x" * HUNDRED_KB}, key=b"%d" % n)
            assert stage.broker.append(sent._replace(headers=headers)) is None
        nodes = {"a": node("a", handler="local", operations=ECHO)}
        loaded = loaded_host(nodes, limits="{bytes_in_flight_max: 4000000}", more="requests: true\n")
        bus = SlowBus(stage.broker)
        runtime = NodeRuntime(loaded.contract, bus=bus, clock=VirtualClock(), observer=RecordingObserver())
        runtime.register_handler("local", LocalHandler())
        runtime.load_nodes(loaded.nodes)
        await runtime.start()
        most = 0
        for _ in range(100):
            await asyncio.sleep(0.1)
            most = max(most, bus.waiting_bytes - runtime.bytes_in_flight)
        await runtime.stop()
        assert (bus.waiting_bytes_max <= 8_000_000, most <= 1_000_000) == (True, True), (bus.waiting_bytes_max, most)

    play(scenario)


async def _nobody(_: dict[str, Any]) -> Mapping[str, Any]:
    raise AssertionError("nobody asks")
