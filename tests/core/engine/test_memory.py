"""What a host holds, in bytes: commands with their keys and headers, what they are answered, and requests."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import Message, Refusal
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_core.testing.virtual_time import VirtualClock
from tests.support.commands import ECHO, command, loaded_host, node
from tests.support.stage import COMMANDS, GROUP, Stage, on_stage, play

MEGABYTE = 1_000_000
LIMITS = "{bytes_in_flight_max: 4000000}"
REQUESTS = "onex.app.dev.test.cmd.runtime.pool.v1"


class SlowBus(MemoryBus):
    """A bus whose broker takes a second for each acknowledgement; it knows how much waits for one."""

    def __init__(self, broker: MemoryBroker) -> None:
        """Start with nothing under way."""
        super().__init__(broker, group=GROUP)
        self.waiting_bytes = 0
        self.waiting_bytes_max = 0

    def publish(self, messages: Sequence[Message], /) -> "asyncio.Future[Sequence[Refusal]]":
        """Publish, a second later."""
        done: asyncio.Future[Sequence[Refusal]] = asyncio.get_running_loop().create_future()
        size_bytes = sum(len(it.value or b"") for it in messages)
        self.waiting_bytes += size_bytes
        self.waiting_bytes_max = max(self.waiting_bytes, self.waiting_bytes_max)
        asyncio.get_running_loop().call_later(1, self._publish_now, messages, size_bytes, done)
        return done

    def _publish_now(self, messages: Sequence[Message], size_bytes: int, done: "asyncio.Future[Any]") -> None:
        self.waiting_bytes -= size_bytes
        super().publish(messages).add_done_callback(lambda it: done.done() or done.set_result(it.result()))


async def most_waiting(stage: Stage, nodes: Mapping[str, str], answered: int, **handlers: Any) -> int:
    """Run a host until so many answers are there, and return how many bytes waited for the broker at the most."""
    bus = SlowBus(stage.broker)
    loaded = loaded_host(nodes, limits=LIMITS)
    runtime = NodeRuntime(loaded.contract, bus=bus, clock=VirtualClock(), observer=RecordingObserver())
    for handler_type, handler in {"scripted": stage, **handlers}.items():
        runtime.register_handler(handler_type, handler)
    runtime.load_nodes(loaded.nodes)
    await runtime.start()
    await stage.until(lambda: len(stage.answers("a")) == answered)
    await asyncio.sleep(5)
    assert (runtime.in_flight, runtime.bytes_in_flight) == (0, 0)
    await runtime.stop()
    return bus.waiting_bytes_max


def test_large_answers_of_calls_at_the_same_time_are_bounded() -> None:
    """Sixty small commands are answered with a megabyte each: few of them are held at a time."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            await asyncio.sleep(0.1)
            return {"blob": "x" * (MEGABYTE // 2), **request}

        stage = Stage(behave)
        stage.send("a", 0)
        # Before its first answer, nobody knows how large a node's answers are.
        asyncio.get_running_loop().call_later(5, lambda: [stage.send("a", n, b"%d" % n) for n in range(1, 61)])
        assert await most_waiting(stage, {"a": node("a")}, 61) <= 4 * MEGABYTE

    play(scenario)


def test_large_answers_of_a_pure_node_are_bounded() -> None:
    """A batch of them is taken in parts, each when the one before it is acknowledged."""

    async def scenario() -> None:
        stage = Stage(_nobody)
        for n in range(60):
            stage.publish("a", {"n": n, "blob": "x" * (MEGABYTE // 2)}, key=b"%d" % n)
        nodes = {"a": node("a", handler="local", operations=ECHO)}
        assert await most_waiting(stage, nodes, 60, local=LocalHandler()) <= 5 * MEGABYTE

    play(scenario)


def test_keys_and_headers_count() -> None:
    """Commands of little value that bring along much else fill a host all the same."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            await asyncio.sleep(1)
            return request

        stage = Stage(behave)
        for n in range(200):
            stage.publish("a", {"n": n}, key=b"%d" % n * 20_000, headers=(("note", b"x" * 50_000),))
        async with on_stage(stage, loaded_host({"a": node("a")}, limits=LIMITS)):
            for _ in range(40):
                await asyncio.sleep(0.5)
                assert stage.runtime.bytes_in_flight <= 4 * MEGABYTE
            await stage.until(lambda: stage.committed() == 200)
            assert stage.runtime.bytes_in_flight == 0

    play(scenario)


def test_requests_are_bounded_and_the_one_that_asks_may_ask_again() -> None:
    """Beyond what a host may hold they are answered at once; `in_flight` counts them; none is dead-lettered."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            await asyncio.sleep(20)
            return {"n": request["n"]}

        stage = Stage(behave)
        headers = ((ADDRESSEE, COMMANDS.format("a").encode()), (DEPTH, b"1"))
        for n in range(40):
            sent = command(REQUESTS, "a", {"n": n, "blob": "x" * (MEGABYTE // 4)}, key=b"%d" % n)
            assert stage.broker.append(sent._replace(headers=headers)) is None
        loaded = loaded_host({"a": node("a")}, limits=LIMITS, more="requests: true\n")
        async with on_stage(stage, loaded):
            await asyncio.sleep(5)
            refused = [it for it in stage.answers("a") if it.error is not None]
            assert {(it.error.code, it.error.retryable) for it in refused if it.error} == {("host_full", True)}
            assert len(refused) + stage.runtime.in_flight == 40
            assert 15 <= stage.runtime.in_flight <= 17
            assert stage.runtime.bytes_in_flight <= 5 * MEGABYTE
            await stage.until(lambda: stage.committed() == 40)
            assert stage.letters == []

    play(scenario)


async def _nobody(_: dict[str, Any]) -> Mapping[str, Any]:
    raise AssertionError("nobody asks")
