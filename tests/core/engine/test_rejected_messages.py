"""What the broker refuses: each retry has a measure that falls, a pause and an end; only what was refused is sent."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from omnibase_core.codec import decode
from omnibase_core.dead_letters import size_of
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import HandlerError, PublishFailed
from omnibase_core.ports import Message, Refusal
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_core.testing.virtual_time import VirtualClock
from tests.support.commands import loaded_host, node
from tests.support.stage import COMMANDS, EVENTS, GROUP, LETTERS, Stage, play

Refuses = Callable[[Message], PublishFailed | None]


class Refusing(MemoryBus):
    """A bus whose broker refuses what the test says, and that counts what it is given."""

    def __init__(self, broker: MemoryBroker, refuses: Refuses) -> None:
        """Start with nothing published."""
        super().__init__(broker, group=GROUP)
        self.given: list[tuple[float, Message]] = []
        self._refuses = refuses

    def publish(self, messages: Sequence[Message], /) -> "asyncio.Future[Sequence[Refusal]]":
        """Publish what is not refused."""
        now_s = asyncio.get_running_loop().time()
        self.given += [(now_s, message) for message in messages]
        errors = [self._refuses(message) for message in messages]
        done: asyncio.Future[Sequence[Refusal]] = asyncio.get_running_loop().create_future()
        super().publish([message for message, error in zip(messages, errors, strict=True) if error is None])
        done.set_result([Refusal(index, error) for index, error in enumerate(errors) if error is not None])
        return done

    def of(self, topic: str) -> list[float]:
        """Return when messages of a topic were published, refused or not."""
        return [moment_s for moment_s, message in self.given if message.topic == topic]


async def echo(request: dict[str, Any]) -> Mapping[str, Any]:
    """Answer with the request, or fail where it says so."""
    if "fails" in request:
        raise HandlerError("broken", "as told")
    return request


async def run_with(
    refuses: Refuses, until: Callable[[Stage, Refusing, NodeRuntime], Awaitable[None]], payload: Mapping[str, Any]
) -> None:
    """Run a host with one node behind such a broker until the test is over."""
    stage = Stage(echo)
    bus = Refusing(stage.broker, refuses)
    loaded = loaded_host({"a": node("a")})
    runtime = NodeRuntime(loaded.contract, bus=bus, clock=VirtualClock(), observer=RecordingObserver())
    runtime.register_handler("scripted", stage)
    runtime.load_nodes(loaded.nodes)
    stage.publish("a", payload)
    await runtime.start()
    try:
        await until(stage, bus, runtime)
    finally:
        await runtime.stop()


def larger_than(bytes_max: int, *topics: str) -> Refuses:
    """Refuse what is larger, though the client believes that the broker takes it."""

    def refuses(message: Message) -> PublishFailed | None:
        if message.topic in topics and size_of(message) > bytes_max:
            return PublishFailed("message_too_large", "as told")
        return None

    return refuses


@pytest.mark.parametrize("bytes_max", [400_000, 20_000, 2_000])
def test_what_is_too_large_for_the_broker_is_halved_until_it_fits(bytes_max: int) -> None:
    """There is an error answer and a dead letter, each of which it took; few attempts, since each halves."""

    async def until(stage: Stage, bus: Refusing, runtime: NodeRuntime) -> None:
        await stage.until(lambda: stage.committed() == 1)
        [answer] = stage.answers("a")
        assert answer.error is not None
        assert answer.error.code == "answer_too_large"
        assert len(stage.letters) == 1
        assert len(bus.given) < 50
        assert runtime.bytes_in_flight == 0

    play(lambda: run_with(larger_than(bytes_max, EVENTS.format("a"), LETTERS), until, {"blob": "x" * 900_000}))


def test_a_broker_that_takes_nothing_large_enough_for_an_answer_gets_the_last_resort() -> None:
    """A dead letter of the command's bytes alone, and no answer: that, too, ends."""

    async def until(stage: Stage, bus: Refusing, runtime: NodeRuntime) -> None:
        await stage.until(lambda: stage.committed() == 1)
        assert runtime.bytes_in_flight == 0
        assert stage.answers("a") == []
        [letter] = stage.letters
        assert dict(letter.headers)["onex-dlq-topic"] == COMMANDS.format("a").encode()
        assert len(bus.given) < 50

    play(lambda: run_with(larger_than(150, EVENTS.format("a")), until, {"blob": "x" * 900_000}))


def test_only_what_was_refused_is_published_again() -> None:
    """An error answer and a dead letter are two messages: the one that the broker has is not sent twice."""
    refused_s = 60.0

    def refuses(message: Message) -> PublishFailed | None:
        if message.topic == EVENTS.format("a") and asyncio.get_running_loop().time() < refused_s:
            return PublishFailed("not_authorised", "not yet")
        return None

    async def until(stage: Stage, bus: Refusing, runtime: NodeRuntime) -> None:
        await stage.until(lambda: stage.committed() == 1)
        assert runtime.bytes_in_flight == 0
        assert len(stage.letters) == 1
        [answer] = stage.answers("a")
        assert answer.error is not None
        assert len(bus.of(LETTERS)) == 1
        waits = [b - a for a, b in zip(bus.of(EVENTS.format("a")), bus.of(EVENTS.format("a"))[1:], strict=False)]
        assert waits == sorted(waits)
        assert waits[0] >= 0.5

    play(lambda: run_with(refuses, until, {"fails": True}))


def test_an_answer_that_is_refused_again_and_again_ends_as_a_dead_letter() -> None:
    """After some minutes at the most; health names the reason meanwhile, and the offset moves on."""

    def refuses(message: Message) -> PublishFailed | None:
        return PublishFailed("unknown_topic", "deleted") if message.topic == EVENTS.format("a") else None

    async def until(stage: Stage, bus: Refusing, runtime: NodeRuntime) -> None:
        await asyncio.sleep(5)
        assert runtime.figures["a"].degraded == "unknown_topic: deleted"
        await stage.until(lambda: stage.committed() == 1)
        assert 60 < asyncio.get_running_loop().time() < 300
        [letter] = stage.letters
        assert dict(letter.headers)["onex-dlq-code"] == b"unknown_topic"
        assert decode(letter.value).payload == {"n": 1}
        assert len(bus.of(EVENTS.format("a"))) == 8

    play(lambda: run_with(refuses, until, {"n": 1}))


def test_a_dead_letter_that_is_refused_is_waited_for() -> None:
    """Without it the command would be lost: its partition stands, said by health, and goes on when it can."""

    def refuses(message: Message) -> PublishFailed | None:
        if message.topic == LETTERS and asyncio.get_running_loop().time() < 5000:
            return PublishFailed("unknown_topic", "deleted")
        return None

    async def until(stage: Stage, bus: Refusing, runtime: NodeRuntime) -> None:
        await asyncio.sleep(4000)
        assert stage.committed() == 0
        assert runtime.stalled_s > 3900
        assert runtime.figures["a"].degraded == "unknown_topic: deleted"
        assert len(bus.of(LETTERS)) < 150
        await stage.until(lambda: stage.committed() == 1)
        assert len(stage.letters) == 1

    async def scenario() -> None:
        await run_with(refuses, until, {"deep": _deep()})

    play(scenario)


def _deep() -> Any:
    """Return what is nested too deeply for a command: it ends as a dead letter."""
    value: Any = []
    for _ in range(100):
        value = [value]
    return value


def test_what_is_no_command_is_not_answered_when_its_dead_letter_is_refused() -> None:
    """It is nested too deeply to be served, and so it is to be answered, however the broker takes its dead letter."""

    async def scenario() -> None:
        async def ends(stage: Stage, bus: Refusing, _: NodeRuntime) -> None:
            await stage.until(lambda: stage.committed() == 1)
            assert len(bus.of(LETTERS)) == 2
            assert stage.answers("a") == []
            [letter] = stage.letters
            assert dict(letter.headers)["onex-dlq-code"] == b"too_deep"

        deep: Any = []
        for _ in range(100):
            deep = [deep]
        await run_with(larger_than(10_000, LETTERS), ends, {"deep": deep, "text": "x" * 12_000})

    play(scenario)
