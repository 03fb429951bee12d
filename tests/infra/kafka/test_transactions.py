"""Transactions whose client fails: on Apache Kafka, with calls that come back late, wrongly, or never."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import Message, Partition
from omnibase_infra.kafka import KafkaSettings
from omnibase_infra.kafka.transactions import KafkaTransactions
from tests.support.brokers import ApacheKafka, Broker
from tests.support.traffic import Reader, committed, create_topics, publish

PATIENCE_S = 90
QUICK = {"transaction.timeout.ms": 3000, "session.timeout.ms": 6000}
"""A call that takes five seconds never returns."""


class StuckProducer(Producer):  # type: ignore[misc]  # the client's class has no type
    """The first of these commits, or not yet, and does not come back from it before the test says so."""

    commits_first = True
    free: threading.Event
    late: list[object]
    sound = False

    def commit_transaction(self, *arguments: Any) -> None:
        """Commit; the first time, do not come back."""
        if StuckProducer.sound:
            super().commit_transaction(*arguments)
            return
        StuckProducer.sound = True
        if self.commits_first:
            super().commit_transaction(*arguments)
        self.free.wait()
        try:
            super().commit_transaction(*arguments)
        except KafkaException as error:
            self.late.append(error.args[0].code())
        else:
            self.late.append(None)


class UnabortableProducer(Producer):  # type: ignore[misc]  # the client's class has no type
    """Cannot abort."""

    def abort_transaction(self, *_: Any) -> None:
        """Fail, in a way that nobody expects."""
        raise KafkaException(KafkaError(KafkaError._FAIL, "no abort today"))  # noqa: SLF001 - public


class World:
    """A topic on a broker, and a member of a group that has all of it."""

    def __init__(self, broker: str, slug: str) -> None:
        """Create the topic and join the group."""
        self.broker, self.topic, self.group = broker, slug, slug
        self.partition = Partition(slug, 0)
        self.events: list[str] = []
        self.failures: list[str] = []
        create_topics(broker, [slug], partitions=1)
        publish(broker, [Message(slug, b"k", b"%d" % n) for n in range(10)])
        self.member = self.join()
        self.membership: Any = self.member.consumer_group_metadata()

    def join(self) -> Consumer:
        """Join the group as another member."""
        member = Consumer({**self.consumer(), "bootstrap.servers": self.broker, "auto.offset.reset": "earliest"})
        member.subscribe([self.topic])
        while member.poll(0.2) is None:
            pass
        return member

    def consumer(self) -> dict[str, Any]:
        """Configure a member of the group."""
        return self.settings().consumer(group=self.group, client_id="host")

    def settings(self, **client: Any) -> KafkaSettings:
        """Configure the bus."""
        return KafkaSettings(bootstrap_servers=self.broker, client={**QUICK, **client})

    @asynccontextmanager
    async def transactor(
        self, *, open_producer: Callable[[dict[str, Any]], Producer] = Producer, **client: Any
    ) -> AsyncIterator[KafkaTransactions]:
        """Open one, and close it in bounded time."""
        settings = self.settings(**client)
        transactor = KafkaTransactions(
            {**settings.producer(client_id="host"), **settings.transactions},
            self.consumer(),
            host="host",
            membership=lambda: self.membership,
            on_error=lambda _: None,
            tell=lambda _level, name, /, **_: self.events.append(name),
            fail=self.failures.append,
            open_producer=open_producer,
        )
        try:
            yield transactor
        finally:
            async with asyncio.timeout(20):
                await transactor.close(within_s=1)

    def messages(self) -> list[bytes]:
        """Read what was published after the first ten, committed as it is now."""
        with Reader(self.broker, [self.topic]) as reader:
            reader.until_quiet()
            return [message.value() for message in reader.messages][10:]

    def committed(self) -> int | None:
        """Return the offset that the group has committed."""
        return committed(self.broker, self.group, [self.topic]).get((self.topic, 0))


@contextmanager
def on(broker: Broker, slug: str) -> Iterator[World]:
    """Yield a world on Apache Kafka."""
    if not isinstance(broker, ApacheKafka):
        pytest.skip(f"not on {broker.name}: transactions are tested on Kafka itself")
    world = World(broker.bootstrap_servers, slug)
    try:
        yield world
    finally:
        world.member.close()


@pytest.fixture
def world(kafka: Broker, unique_slug: str) -> Iterator[World]:
    """Yield a world on the shared broker."""
    with on(kafka, unique_slug) as world:
        yield world


@pytest.fixture
def stuck() -> Iterator[type[StuckProducer]]:
    """Yield a producer that does not come back from its first commit, and let it go on at the end."""
    StuckProducer.free, StuckProducer.late, StuckProducer.sound = threading.Event(), [], False
    yield StuckProducer
    StuckProducer.free.set()


def play(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario that must not take long."""
    asyncio.run(asyncio.wait_for(scenario, PATIENCE_S))


def test_a_client_that_never_comes_back_is_replaced(own_kafka: Broker, unique_slug: str) -> None:
    """A restart of the broker makes the real client wait for ever for a coordinator that it has forgotten.

    The host is told why nothing moves on; nothing of the transaction is there, and the next one is.
    """
    own_kafka.start()
    with on(own_kafka, unique_slug) as world:

        async def scenario() -> None:
            async with world.transactor(**{"metadata.recovery.strategy": "rebootstrap"}) as transactor:
                assert await transactor.transact([Message(world.topic, b"k", b"first")], {world.partition: 3}) == ()
                own_kafka.stop()
                # On this thread: a child dies with the thread that started it.
                own_kafka.start()
                troubles: set[str | None] = set()
                outcome = transactor.transact([Message(world.topic, b"k", b"lost")], {world.partition: 5})
                while not outcome.done():
                    troubles.add(transactor.trouble)
                    await asyncio.sleep(0.2)
                with pytest.raises(TransactionAborted, match="not come back from send_offsets_to_transaction for 5 s"):
                    await outcome
                assert any(it and "has not come back from send_offsets_to_transaction" in it for it in troubles)
                assert transactor.trouble is not None
                await until(lambda: transactor.trouble is None)
                await settled(transactor, world, b"second", 7)

        play(scenario())
        assert world.events == ["kafka_client_abandoned", "kafka_client_replaced"]
        assert world.messages() == [b"first", b"second"]
        assert world.committed() == 7


def test_a_commit_that_never_comes_back_is_asked_about(world: World, stuck: type[StuckProducer]) -> None:
    """The group has its offsets: the transaction is committed, and is not made again."""

    async def scenario() -> None:
        async with world.transactor(open_producer=stuck) as transactor:
            assert await transactor.transact([Message(world.topic, b"k", b"first")], {world.partition: 3}) == ()
            assert await transactor.transact([Message(world.topic, b"k", b"second")], {world.partition: 5}) == ()

    play(scenario())
    assert world.events == ["kafka_client_abandoned", "kafka_client_replaced"]
    assert world.messages() == [b"first", b"second"]
    assert world.committed() == 5


def test_a_commit_that_comes_too_late_is_fenced(world: World, stuck: type[StuckProducer]) -> None:
    """The group does not have the offsets, and never will: the client that was given up cannot commit any more."""
    stuck.commits_first = False

    async def scenario() -> None:
        async with world.transactor(open_producer=stuck) as transactor:
            with pytest.raises(TransactionAborted, match="not come back from commit_transaction"):
                await transactor.transact([Message(world.topic, b"k", b"late")], {world.partition: 5})
            stuck.free.set()
            await until(lambda: stuck.late)
            assert await transactor.transact([Message(world.topic, b"k", b"next")], {world.partition: 3}) == ()

    play(scenario())
    assert stuck.late == [KafkaError._FENCED]  # noqa: SLF001 - public
    assert world.messages() == [b"next"]
    assert world.committed() == 3


def test_a_bus_that_is_closed_waits_for_no_client(world: World, stuck: type[StuckProducer]) -> None:
    """The future ends, although nobody knows what became of its transaction."""

    async def scenario() -> None:
        async with world.transactor(open_producer=stuck) as transactor:
            outcome = transactor.transact([Message(world.topic, b"k", b"first")], {world.partition: 3})
            await until(lambda: stuck.sound)
        with pytest.raises(TransactionAborted, match="the bus was closed"):
            await outcome

    play(scenario())


def test_an_abort_that_fails_is_recovered_from(world: World) -> None:
    """The client is replaced; the refusal is told all the same."""

    async def scenario() -> None:
        async with world.transactor(open_producer=UnabortableProducer) as transactor:
            large = Message(world.topic, b"k", b"x" * 2_000_000)
            refusals = await transactor.transact([Message(world.topic, b"k", b"77"), large], {world.partition: 3})
            assert [(it.index, it.error.code) for it in refusals] == [(1, "message_too_large")]
            assert await transactor.transact([Message(world.topic, b"k", b"78")], {world.partition: 5}) == ()

    play(scenario())
    assert world.messages() == [b"78"]


@pytest.mark.parametrize("name", ["\ud800", "n"])
def test_a_message_that_the_client_does_not_take_is_refused(world: World, name: str) -> None:
    """A header name that is not UTF-8 would crash the process; a value that is no text or bytes is an exception."""

    async def scenario() -> None:
        value: Any = b"v" if name == "\ud800" else 5
        async with world.transactor() as transactor:
            bad = Message(world.topic, b"k", b"bad", [(name, value)])
            refusals = await transactor.transact([bad], {world.partition: 3})
            assert [(it.index, it.error.code) for it in refusals] == [(0, "publish_refused")]

    play(scenario())
    assert world.messages() == []


def test_a_transaction_is_made_under_the_membership_of_its_commands(world: World) -> None:
    """They were collected before a rebalance: what the host is in the group by the time the thread begins is no use."""

    async def scenario() -> None:
        async with world.transactor() as transactor:
            await transactor.transact([], {world.partition: 1})
            await asyncio.to_thread(world.member.close)
            world.member = await asyncio.to_thread(world.join)
            outcome = transactor.transact([Message(world.topic, b"k", b"stale")], {world.partition: 3})
            world.membership = world.member.consumer_group_metadata()
            with pytest.raises(TransactionAborted):
                await outcome
            await settled(transactor, world, b"fresh", 3)

    play(scenario())
    assert world.messages() == [b"fresh"]


def test_a_setting_that_can_never_work_is_told(world: World) -> None:
    """The broker allows transactions of fifteen minutes. The host is to stop, with the reason."""

    async def scenario() -> None:
        async with world.transactor(**{"transaction.timeout.ms": 700_000}) as transactor:
            with pytest.raises(TransactionAborted):
                await transactor.transact([Message(world.topic, b"k", b"v")], {world.partition: 3})

    play(scenario())
    assert "transactions cannot be opened" in world.failures[0]
    assert "transaction.timeout.ms" in world.failures[0]


async def until(holds: Callable[[], object]) -> None:
    """Wait for what a thread does."""
    while not holds():  # noqa: ASYNC110 - the thread knows of no event of this loop
        await asyncio.sleep(0.05)


async def settled(transactor: KafkaTransactions, world: World, value: bytes, offset: int) -> None:
    """Try again what is aborted, as the runtime does."""
    while True:
        try:
            await transactor.transact([Message(world.topic, b"k", value)], {world.partition: offset})
        except TransactionAborted:
            # A member whose broker was away has to be polled to get back into its group.
            await asyncio.to_thread(world.member.poll, 0.2)
            world.membership = world.member.consumer_group_metadata()
        else:
            return
