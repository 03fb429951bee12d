"""What a handler publishes for its command: acknowledged before it goes on, or in the transaction of the answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from omnibase_core.codec import decode
from omnibase_core.engine.handler_publisher import CAUSE
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import HandlerError, PublishFailed
from omnibase_core.ports import HandlerCall, Message, Outlet, Partition, Refusal
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_core.testing.virtual_time import VirtualClock, run
from tests.support.commands import command, loaded_host, node

COMMANDS, EVENTS = "onex.app.dev.test.cmd.node.a.v1", "onex.app.dev.test.evt.node.a.v1"
LETTERS = "onex.app.dev.test.dlq.runtime.pool.v1"
RETRY = "{retry: {attempts: 3, initial_s: 1, max_s: 5, jitter: 0}}"

Behaviour = Callable[[Outlet, dict[str, Any]], Awaitable[None]]


class Spy(MemoryBus):
    """A bus that keeps what is published at once and what is in each transaction, and can refuse a topic."""

    def __init__(self, broker: MemoryBroker) -> None:
        """Start with nothing kept."""
        super().__init__(broker, group="onex.dev.test.pool")
        self.published: list[list[Message]] = []
        self.transactions: list[list[Message]] = []
        self.forbidden = ""

    def publish(self, messages: Sequence[Message], /) -> "asyncio.Future[Sequence[Refusal]]":
        """Keep and publish."""
        return self._kept(self.published, messages) or super().publish(messages)

    def transact(self, messages: Sequence[Message], offsets: Any, /) -> "asyncio.Future[Sequence[Refusal]]":
        """Keep and publish."""
        return self._kept(self.transactions, messages) or super().transact(messages, offsets)

    def _kept(
        self, kept: list[list[Message]], messages: Sequence[Message]
    ) -> "asyncio.Future[Sequence[Refusal]] | None":
        for index, message in enumerate(messages):
            if message.topic == self.forbidden:
                refused: asyncio.Future[Sequence[Refusal]] = asyncio.get_running_loop().create_future()
                refused.set_result([Refusal(index, PublishFailed("unknown_topic", "there is no such topic"))])
                return refused
        kept.append(list(messages))
        return None


class Stage:
    """A host with one node, whose handler does what a test says."""

    def __init__(self, behave: Behaviour) -> None:
        """Keep what the handler does."""
        self.broker = MemoryBroker(message_bytes_max=5000)
        self.bus = Spy(self.broker)
        self._behave = behave

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do what the test says, with the call's outlet."""
        assert call.outlet is not None
        request = call.request.model_dump()
        await self._behave(call.outlet, request)
        return request

    def send(self, n: int, **options: Any) -> Message:
        """Send a command."""
        message = command(COMMANDS, "a", {"n": n}, key=b"k", **options)
        assert self.broker.append(message) is None
        return message

    async def until_answered(self, count: int) -> list[Any]:
        """Let time pass until there are so many answers, and a little longer; give them."""
        async with asyncio.timeout(1000):
            while len(self.broker.messages(EVENTS)) < count:  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(0.1)
        await asyncio.sleep(20)
        return [decode(it.value) for it in self.broker.messages(EVENTS)]

    def values(self, topic: str) -> list[bytes | None]:
        """Return what is on a topic."""
        return [it.value for it in self.broker.messages(topic)]


@asynccontextmanager
async def running(behave: Behaviour, guarantee: str) -> AsyncIterator[Stage]:
    """Run the host."""
    loaded = loaded_host({"a": node("a", delivery=RETRY)}, guarantee=guarantee)
    stage = Stage(behave)
    runtime = NodeRuntime(loaded.contract, bus=stage.bus, clock=VirtualClock(), observer=RecordingObserver())
    runtime.register_handler("scripted", stage)
    runtime.load_nodes(loaded.nodes)
    await runtime.start()
    try:
        yield stage
    finally:
        await runtime.stop()


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario in virtual time."""
    run(scenario(), seed=1)


async def noting(outlet: Outlet, request: dict[str, Any]) -> None:
    """Publish the number of the command."""
    await outlet.publish(Message("audit", b"k", b"%d" % request["n"], [("mine", b"1")]))


def test_what_is_published_is_acknowledged_before_the_handler_goes_on() -> None:
    """It is on the broker by then, and the answer comes later, apart from it."""

    async def scenario() -> None:
        seen: list[int] = []

        async def behave(outlet: Outlet, request: dict[str, Any]) -> None:
            await noting(outlet, request)
            seen.append(len(stage.values("audit")))

        async with running(behave, "at_least_once") as stage:
            stage.send(1)
            await stage.until_answered(1)
        assert seen == [1]
        assert [[it.topic for it in batch] for batch in stage.bus.published] == [["audit"], [EVENTS]]

    play(scenario)


def test_with_exactly_once_it_is_in_the_transaction_of_the_answer() -> None:
    """Nothing of it is there before; then both are, the record first."""

    async def scenario() -> None:
        seen: list[int] = []

        async def behave(outlet: Outlet, request: dict[str, Any]) -> None:
            await noting(outlet, request)
            await asyncio.sleep(1)
            seen.append(len(stage.values("audit")))

        async with running(behave, "exactly_once") as stage:
            stage.send(1)
            await stage.until_answered(1)
        assert seen == [0]
        assert stage.bus.published == []
        assert [[it.topic for it in batch] for batch in stage.bus.transactions] == [["audit", EVENTS]]

    play(scenario)


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_the_command_and_its_trace_are_named(guarantee: str) -> None:
    """Behind the handler's own headers; of the command's other headers none goes along."""

    async def scenario() -> None:
        async with running(noting, guarantee) as stage:
            sent = command(COMMANDS, "a", {"n": 1})
            trace = [("traceparent", b"00-1-2-01"), ("other", b"x")]
            assert stage.broker.append(sent._replace(headers=trace)) is None
            await stage.until_answered(1)
        [record] = stage.broker.messages("audit")
        cause = str(decode(sent.value).envelope_id).encode()
        assert list(record.headers) == [("mine", b"1"), (CAUSE, cause), ("traceparent", b"00-1-2-01")]

    play(scenario)


def test_with_exactly_once_an_attempt_that_fails_publishes_nothing() -> None:
    """Of three attempts the last is in the transaction; a command that fails for good leaves nothing but its end."""

    async def scenario() -> None:
        attempts = 0

        async def behave(outlet: Outlet, request: dict[str, Any]) -> None:
            nonlocal attempts
            attempts += 1
            await outlet.publish(Message("audit", None, b"%d/%d" % (request["n"], attempts)))
            if attempts < 3 or request["n"] == 2:
                raise HandlerError("down", "as told", retryable=True)

        async with running(behave, "exactly_once") as stage:
            stage.send(1)
            await stage.until_answered(1)
            stage.send(2)
            answers = await stage.until_answered(2)
        assert stage.values("audit") == [b"1/3"]
        assert [it.error and it.error.code for it in answers] == [None, "down"]

    play(scenario)


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_what_is_too_large_is_told_to_the_handler(guarantee: str) -> None:
    """Before anything is sent."""

    async def scenario() -> None:
        told: list[str] = []

        async def behave(outlet: Outlet, _: dict[str, Any]) -> None:
            try:
                await outlet.publish(Message("audit", None, b"x" * 5000))
            except PublishFailed as error:
                told.append(error.code)

        async with running(behave, guarantee) as stage:
            stage.send(1)
            await stage.until_answered(1)
        assert told == ["message_too_large"]
        assert stage.values("audit") == []

    play(scenario)


def test_what_the_broker_refuses_is_told_to_the_handler() -> None:
    """With the broker's reason."""

    async def scenario() -> None:
        async with running(noting, "at_least_once") as stage:
            stage.bus.forbidden = "audit"
            stage.send(1)
            [answer] = await stage.until_answered(1)
        assert answer.error.code == "internal_error"  # This handler does not translate what it is told.
        assert "there is no such topic" in answer.error.message

    play(scenario)


def test_a_command_whose_record_is_refused_within_its_transaction_fails_and_no_other_does() -> None:
    """It gets its error answer and its dead letter; what is behind it goes on."""

    async def scenario() -> None:
        async def behave(outlet: Outlet, request: dict[str, Any]) -> None:
            await outlet.publish(Message("gone" if request["n"] == 2 else "audit", b"k", b"%d" % request["n"]))

        async with running(behave, "exactly_once") as stage:
            stage.bus.forbidden = "gone"
            for n in range(1, 6):
                stage.send(n)
            answers = await stage.until_answered(5)
        assert [it.error and it.error.code for it in answers] == [None, "unknown_topic", None, None, None]
        assert stage.values("audit") == [b"1", b"3", b"4", b"5"]
        assert len(stage.values(LETTERS)) == 1

    play(scenario)


def test_nothing_is_published_for_a_partition_that_is_given_up() -> None:
    """Its next owner serves the command again: a record from here would come behind what follows there."""

    async def scenario() -> None:
        refused: list[str] = []

        async def behave(outlet: Outlet, request: dict[str, Any]) -> None:
            await asyncio.sleep(0.5 * request["n"])
            try:
                await outlet.publish(Message("records", b"k", b"late"))
            except PublishFailed as error:
                refused.append(error.code)
                raise HandlerError(error.code, str(error)) from error

        async with running(behave, "at_least_once") as stage:
            stage.send(10)
            await asyncio.sleep(1)
            for number in range(4):
                stage.broker.lose("onex.dev.test.pool", Partition(COMMANDS, number))
            await asyncio.sleep(4.3)
            assert refused == ["partition_lost"]
            assert stage.broker.messages("records") == []

    play(scenario)
