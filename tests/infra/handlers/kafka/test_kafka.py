"""The kafka handler: what contracts may write, and what becomes of a record on real brokers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from omnibase_core.engine.handler_publisher import CommandOutlet
from omnibase_core.ports import Delivery, HandlerCall, Partition
from omnibase_infra.handlers.kafka import KafkaHandlerFactory, KafkaHandlerSettings, KafkaRecord, KafkaTarget
from omnibase_infra.kafka import EMBEDDED, KafkaBus
from omnibase_spi import Handler, HandlerError
from tests.support.brokers import Broker
from tests.support.commands import envelope
from tests.support.kafka_bus import open_bus
from tests.support.traffic import Reader, create_topics

# --- What contracts may write -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ({"json": {"a": [1, None, "ä"]}}, '{"a":[1,null,"ä"]}'.encode()),
        ({"json": None}, b"null"),
        ({"text": "ä"}, "ä".encode()),
        ({"text": ""}, b""),
        ({"base64": "/wA="}, b"\xff\x00"),
        ({"tombstone": True}, None),
        ({"json": {"a": 1}, "tombstone": True}, None),
        ({"json": {"a": 1}, "tombstone": False}, b'{"a":1}'),
    ],
)
def test_a_record_has_one_value(written: dict[str, Any], value: bytes | None) -> None:
    """A JSON value, null too; a text; bytes; or none."""
    assert KafkaRecord.model_validate(written).value == value


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"tombstone": False},
        {"json": 1, "text": "1"},
        {"base64": "no base64!"},
        {"base64": "AAA"},
        {"text": "\ud800"},
        {"text": "x", "key": "\ud800"},
        {"text": "x", "headers": {"": "x"}},
        {"text": "x", "headers": {"h": "\ud800"}},
        {"text": "x", "headers": {"h": 1}},
        {"text": "x", "partition": 1},
        {"json": float("nan")},
        {"text": "x", "topic": "a b"},
    ],
)
def test_what_is_no_record_is_refused(written: dict[str, Any]) -> None:
    """Before anything is sent; the value is not repeated."""
    with pytest.raises(ValidationError):
        KafkaRecord.model_validate(written)


@pytest.mark.parametrize(
    "name", ["onex-causation-id", "onex-dlq-code", "onex-redrive", "ONEX-Retry-Due", "traceparent", "TraceState"]
)
def test_the_hosts_own_headers_cannot_be_forged(name: str) -> None:
    """In whatever case they are written."""
    with pytest.raises(ValidationError, match="the host's own"):
        KafkaRecord.model_validate({"text": "x", "headers": {name: "x"}})


@pytest.mark.parametrize("topic", ["audit", "A.b_c-9", "onex", "onex.app.dev.acme.cmd.node.echo.v1", "x" * 249])
def test_a_target_lists_topics(topic: str) -> None:
    """Any of Kafka's, and the commands of a node."""
    assert KafkaTarget.model_validate({"topics": [topic]}).topics == [topic]


@pytest.mark.parametrize(
    "topic",
    [
        "",
        ".",
        "..",
        "a b",
        "a/b",
        "ä",
        "x" * 250,
        "a\n",
        "__consumer_offsets",
        "onex.app.dev.acme.evt.node.echo.v1",
        "onex.app.dev.acme.dlq.runtime.pool.v1",
        "onex.app.dev.acme.retry.runtime.pool.v1",
        "onex.app.dev.acme.cmd.runtime.pool.v1",
        "onex.sys.dev.acme.log.runtime.host.v1",
        "onex.mine",
    ],
)
def test_topics_that_hosts_alone_write_are_refused(topic: str) -> None:
    """A node cannot forge answers, dead letters, retries or logs, whatever the host contract says."""
    with pytest.raises(ValidationError):
        KafkaTarget.model_validate({"topics": [topic]})


@given(st.text(max_size=300))
def test_no_text_is_a_topic_that_kafka_refuses(text: str) -> None:
    """What is taken has Kafka's form."""
    try:
        KafkaTarget(topics=[text])
    except ValidationError:
        return
    assert 1 <= len(text) <= 249
    assert text.isascii()
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


# --- On brokers ---------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A handler on a host's bus."""

    handler: Handler
    bus: KafkaBus
    trace: tuple[tuple[str, bytes], ...] = ()

    async def publish(self, *, timeout_s: float = 30.0, **request: Any) -> Any:
        """Publish as a node does."""
        record = KafkaRecord.model_validate(request)
        command = envelope("audit-log", envelope_id=UUID(int=7))
        delivery = Delivery(Partition("t", 0), 0, None, b"", self.trace, 0)
        outlet = CommandOutlet(self.bus, delivery, command, transacts=False)
        call = HandlerCall("kafka", "publish", record, "audit", timeout_s, UUID(int=7), outlet=outlet)
        return await self.handler.execute(call)

    async def failure(self, **request: Any) -> HandlerError:
        """Publish in vain."""
        with pytest.raises(HandlerError) as caught:
            await self.publish(**request)
        return caught.value


@asynccontextmanager
async def world(address: str, *topics: str) -> AsyncIterator[World]:
    """Open bus and handler as a host does."""
    targets = {"audit": KafkaTarget(topics=list(topics))}
    async with (
        open_bus(address) as (bus, place),
        KafkaHandlerFactory(place).open(settings=KafkaHandlerSettings(), targets=targets) as handler,
    ):
        yield World(handler, bus)


@pytest.fixture(params=[EMBEDDED, "real"])
def address(request: pytest.FixtureRequest) -> str:
    """Return the embedded broker and the real one in turn."""
    return EMBEDDED if request.param == EMBEDDED else str(request.getfixturevalue("kafka").bootstrap_servers)


def read(address: str, topic: str, count: int) -> list[Any]:
    """Read so many records of a topic."""
    with Reader(address, [topic]) as reader:
        return list(reader.until(lambda messages: len(messages) >= count, within_s=60))


def test_a_record_arrives_as_it_was_written(address: str, unique_slug: str) -> None:
    """Key, headers and value; and with them the command and its trace."""

    async def scenario() -> None:
        if address != EMBEDDED:
            create_topics(address, [unique_slug])
        async with world(address, "first", unique_slug) as it:
            it.trace = (("traceparent", b"00-1-2-01"), ("x", b"y"))
            receipt = await it.publish(topic=unique_slug, key="k", headers={"a": "ä", "b": None}, json={"n": 1})
            assert receipt == {"topic": unique_slug}
            await it.publish(topic=unique_slug, key="k", tombstone=True)
            first, second = await asyncio.to_thread(read, it.bus.address, unique_slug, 2)
        assert (first.key(), first.value(), second.value()) == (b"k", b'{"n":1}', None)
        own = [("a", "ä".encode()), ("b", None)]
        along = [("onex-causation-id", str(UUID(int=7)).encode()), ("traceparent", b"00-1-2-01")]
        assert first.headers() == own + along

    asyncio.run(scenario())


def test_many_at_a_time_get_their_own_receipts(address: str, unique_slug: str) -> None:
    """Each is acknowledged; cancelling one at any moment leaves the others alone."""

    async def scenario() -> None:
        if address != EMBEDDED:
            create_topics(address, [unique_slug])
        async with world(address, unique_slug) as it:
            await it.publish(text="first")
            tasks = [asyncio.create_task(it.publish(key=str(n), text=str(n))) for n in range(300)]
            for steps, task in enumerate(tasks[::3]):
                for _ in range(steps % 4):
                    await asyncio.sleep(0)
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(outcome == {"topic": unique_slug} for outcome in outcomes) >= 200
            assert await it.publish(text="last") == {"topic": unique_slug}
            arrived = {record.value() for record in await asyncio.to_thread(read, it.bus.address, unique_slug, 202)}
        assert {str(n).encode() for n in range(300) if n % 3} <= arrived

    asyncio.run(scenario())


def test_a_topic_that_is_not_the_targets_is_refused(address: str) -> None:
    """Nothing is sent; no retry would help."""

    async def scenario() -> None:
        async with world(address, "allowed") as it:
            error = await it.failure(topic="onex.app.dev.test.cmd.node.other.v1", text="x")
            assert (error.code, error.retryable) == ("topic_not_allowed", False)

    asyncio.run(scenario())


def test_what_the_bus_does_not_take_is_refused(address: str, unique_slug: str) -> None:
    """By the bus's own limit, before it is sent."""

    async def scenario() -> None:
        async with world(address, unique_slug) as it:
            error = await it.failure(text="x" * 2_000_000)
            assert (error.code, error.retryable) == ("message_too_large", False)

    asyncio.run(scenario())


def test_what_the_broker_does_not_take_is_refused(kafka: Broker, unique_slug: str) -> None:
    """By the limit of the topic, and where there is no such topic."""

    async def scenario() -> None:
        create_topics(kafka.bootstrap_servers, [unique_slug])
        async with world(kafka.bootstrap_servers, unique_slug, f"{unique_slug}.gone") as it:
            error = await it.failure(text="x" * 1_500_000)
            assert (error.code, error.retryable) == ("message_too_large", False)
            began_s = time.monotonic()
            error = await it.failure(topic=f"{unique_slug}.gone", text="x")
            assert (error.code, error.retryable) == ("unknown_topic", False)
            assert time.monotonic() - began_s < 10
            assert await it.publish(text="x")

    asyncio.run(scenario())


def test_a_broker_that_is_away_is_told_in_time_and_waited_for(own_kafka: Broker, unique_slug: str) -> None:
    """At the start and in the middle: a retryable error that says how long it waited; when it is back, it works."""

    own_kafka.start()
    create_topics(own_kafka.bootstrap_servers, [unique_slug])
    own_kafka.kill()

    async def scenario() -> None:
        async with world(own_kafka.bootstrap_servers, unique_slug) as it:
            for _ in range(2):
                began_s = time.monotonic()
                error = await it.failure(text="x", timeout_s=0.3)
                assert (error.code, error.retryable) == ("timeout", True)
                assert "0.3 s" in str(error)
                assert time.monotonic() - began_s < 5
                await asyncio.to_thread(own_kafka.start)
                assert await it.publish(text="y")
                await asyncio.to_thread(own_kafka.kill)

    asyncio.run(scenario())


def test_who_listens_hears_what_comes_from_then_on(address: str, unique_slug: str) -> None:
    """Of each topic, those that come to be there later too; what was there before is not heard."""

    async def scenario() -> None:
        there, late = unique_slug, f"{unique_slug}.late"
        if address != EMBEDDED:
            create_topics(address, [there])
        heard: list[bytes] = []
        listening: set[str] = set()
        async with world(address, there, late) as it:
            await it.publish(text="before")
            async with it.bus.listen([there, late], hear=heard.extend, listening=listening.add):
                await until(lambda: there in listening)
                await it.publish(text="first")
                await until(lambda: heard == [b"first"])
                if address != EMBEDDED:
                    assert late not in listening
                    create_topics(address, [late])
                await until(lambda: late in listening)
                for n in range(20):
                    await it.publish(topic=late, key=str(n), text=str(n))
                await until(lambda: len(heard) == 21)
            await it.publish(text="after")
            assert set(heard) == {b"first", *(b"%d" % n for n in range(20))}

    asyncio.run(scenario())


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a thread of the client brings it about
            await asyncio.sleep(0.02)
