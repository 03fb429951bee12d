"""One broker for a test of buses: clients on it, and what happens to it beside them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Protocol

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from omnibase_core.contracts.host import Guarantee, RuntimeHostContract
from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import (
    Assigned,
    Batch,
    Delivery,
    EnvelopeBus,
    Message,
    Partition,
    Refusal,
    Revoked,
    Rewound,
)
from omnibase_core.testing import MemoryBroker
from tests.support.raw_produce import produce_raw
from tests.support.traffic import committed, create_topics, publish

PATIENCE_S = 60
PARTITIONS = 4
A_MOMENT_S = 0.3
"""A pause takes hold with the next turn of the consumer."""
OpenBus = Callable[[], AbstractAsyncContextManager[EnvelopeBus]]


class Side(Protocol):
    """What happens to a topic while clients use it. Blocks."""

    def recreate(self, messages: Sequence[Message] = ()) -> None:
        """Delete the topic, create it again, and publish messages."""

    def extend(self, partitions: int) -> None:
        """Return the topic more partitions."""

    def abort(self, number: int, count: int) -> None:
        """Abort a transaction with so many messages to a partition."""

    def publish_unreadable(self, number: int) -> None:
        """Publish a message with a header whose name is not UTF-8."""

    def expire(self, number: int, before: int) -> None:
        """Remove the messages of a partition below an offset."""

    def committed(self) -> dict[int, int]:
        """Return what the group has committed, by the partition's number."""


class World:
    """One broker, on which a test opens as many clients of one group as it likes."""

    def __init__(
        self, topic: str, open_bus: OpenBus, *, shares: bool, transacts: bool = False, side: Side | None = None
    ) -> None:
        """Keep the topic of the test, the way to a client, and what this broker can do.

        `shares`: a second member gets into a group; `transacts`: clients are those of hosts of exactly once; `side`:
        things can happen to the topic.
        """
        self.topic = topic
        self.shares = shares
        self.transacts = transacts
        self.open_bus = open_bus
        self._side = side

    @property
    def side(self) -> Side:
        """What may happen to the topic; where nothing can, the test is skipped."""
        if self._side is None:
            pytest.skip("nothing happens to topics here")
        return self._side

    @asynccontextmanager
    async def listening(self, *, first: int = 0) -> AsyncIterator["Listener"]:
        """Open a client that consumes until the end of the block; with `first`, one that owns all and has so many."""
        async with self.open_bus() as bus:
            listener = Listener(bus, self.topic)
            try:
                if first:
                    await listener.until(lambda: len(listener.owned) == PARTITIONS)
                    await bus.publish(numbered(self.topic, range(first)))
                    await listener.until_received(first)
                yield listener
            finally:
                await listener.leave()


class Listener:
    """Consumes, and keeps what happens. Partitions that are revoked are released at once, unless a test keeps them."""

    def __init__(self, bus: EnvelopeBus, topic: str) -> None:
        """Start to consume."""
        self.bus = bus
        self.deliveries: list[Delivery] = []
        self.owned: set[Partition] = set()
        self.assigned: list[Partition] = []
        """The objects of all assignments, in order."""
        self.reached: dict[Partition, int] = {}
        self.revoked: list[Revoked] = []
        self.rewound: dict[Partition, int] = {}
        """How many messages had come before the partition was back where it was sent."""
        self.before_release: Callable[[], None] = lambda: None
        self._task = asyncio.create_task(self._consume(topic))

    async def _consume(self, topic: str) -> None:
        async with aclosing(self.bus.receive([topic])) as happenings:
            async for happening in happenings:
                match happening:
                    case Batch(deliveries, reached):
                        assert all(it.partition in self.owned for it in deliveries)
                        self.deliveries.extend(deliveries)
                        self.reached.update(reached)
                    case Assigned(partitions):
                        assert not partitions & self.owned
                        self.owned |= partitions
                        self.assigned.extend(partitions)
                    case Revoked(partitions):
                        assert partitions <= self.owned
                        self.owned -= partitions
                        self.revoked.append(happening)
                        self.before_release()
                        happening.release()
                    case Rewound(partition):
                        assert partition in self.owned
                        self.rewound[partition] = len(self.deliveries)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; the consumer's own failure ends the wait."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    async def until_received(self, count: int) -> list[bytes | None]:
        """Wait for this many messages, and give their values."""
        await self.until(lambda: len(self.deliveries) >= count)
        return [it.value for it in self.deliveries]

    def current(self, number: int) -> Partition:
        """Return the object of a partition's last assignment."""
        return next(it for it in reversed(self.assigned) if it.number == number)

    def numbers(self) -> list[int]:
        """Return the numbers that have arrived, in order."""
        return sorted(int(it.value or b"") for it in self.deliveries)

    async def leave(self) -> None:
        """Stop consuming."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class MemorySide:
    """A broker in memory."""

    def __init__(self, broker: MemoryBroker, topic: str, group: str) -> None:
        """Take the broker."""
        self._broker, self._topic, self._group = broker, topic, group

    def recreate(self, messages: Sequence[Message] = ()) -> None:
        """Create it again."""
        self._broker.recreate(self._topic)
        for message in messages:
            assert self._broker.append(message) is None

    def extend(self, partitions: int) -> None:
        """Extend it."""
        self._broker.extend(self._topic, partitions)

    def abort(self, number: int, count: int) -> None:
        """Make a gap as large as the messages and the marker."""
        self._broker.skip(Partition(self._topic, number), count + 1)

    def publish_unreadable(self, number: int) -> None:
        """Publish to whichever partition the broker chooses."""
        del number
        self._broker.append_unreadable(Message(self._topic, b"k", b"0"), reason="not UTF-8")

    def expire(self, number: int, before: int) -> None:
        """Remove what is below."""
        self._broker.expire(Partition(self._topic, number), before)

    def committed(self) -> dict[int, int]:
        """Ask the broker."""
        found = self._broker.committed(self._group)
        return {it.number: offset for it, offset in found.items() if it.topic == self._topic}


class KafkaSide:
    """A real Kafka."""

    def __init__(self, address: str, topic: str, group: str) -> None:
        """Take its address."""
        self._address, self._topic, self._group = address, topic, group

    def _admin(self) -> AdminClient:
        # Made when it is needed: the test of what a closed bus leaves behind counts clients.
        return AdminClient({"bootstrap.servers": self._address, "log_level": 0})

    def recreate(self, messages: Sequence[Message] = ()) -> None:
        """Create it again as soon as the old one is away."""
        admin = self._admin()
        admin.delete_topics([self._topic])[self._topic].result()
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                create_topics(self._address, [self._topic])
                break
            except KafkaException:
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
        publish(self._address, messages)

    def extend(self, partitions: int) -> None:
        """Extend it."""
        admin = self._admin()
        admin.create_partitions([NewPartitions(self._topic, partitions)])[self._topic].result()

    def abort(self, number: int, count: int) -> None:
        """Abort a transaction of a producer that is none of ours."""
        producer = Producer({"bootstrap.servers": self._address, "transactional.id": f"{self._topic}-foreign"})
        producer.init_transactions()
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(self._topic, b"aborted", partition=number)
        producer.flush()
        producer.abort_transaction()
        producer.close()

    def publish_unreadable(self, number: int) -> None:
        """Write the request by hand: no client of Kafka lets such a name pass."""
        produce_raw(self._address, self._topic, number, None, b"0", [(b"\xff\xfe", None)])

    def expire(self, number: int, before: int) -> None:
        """Remove what is below."""
        place = TopicPartition(self._topic, number, before)
        admin = self._admin()
        admin.delete_records([place])[place].result()

    def committed(self) -> dict[int, int]:
        """Ask the group's coordinator."""
        return {number: offset for (_, number), offset in committed(self._address, self._group, [self._topic]).items()}


def host_contract(slug: str, *, exactly_once: bool) -> RuntimeHostContract:
    """Return the part of a host contract that a bus reads."""
    return RuntimeHostContract(
        contract="host/v1",
        name="conformance",
        version="1.0.0",
        description="The bus suite.",
        environment="test",
        tenant=slug,
        pool="pool",
        nodes=["any"],
        guarantee=Guarantee.EXACTLY_ONCE if exactly_once else Guarantee.AT_LEAST_ONCE,
    )


def play(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario to its end."""
    asyncio.run(scenario)


def numbered(topic: str, numbers: range) -> list[Message]:
    """Return messages of ten keys."""
    return [Message(topic, b"key-%d" % (n % 10), b"%d" % n) for n in numbers]


async def received(listener: Listener, world: World) -> dict[Partition, int]:
    """Let a client that has every partition publish and receive forty messages, and give where they end."""
    await listener.until(lambda: len(listener.owned) == PARTITIONS)
    await listener.bus.publish(numbered(world.topic, range(40)))
    await listener.until_received(40)
    return {it.partition: it.offset + 1 for it in listener.deliveries}


async def transacted(listener: Listener, messages: list[Message], offsets: dict[Partition, int]) -> Sequence[Refusal]:
    """Try again for as long as the group is just rebalancing, as the runtime does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await listener.bus.transact(messages, offsets)
            except TransactionAborted:
                await asyncio.sleep(0.1)


def number_of(value: bytes | None) -> int:
    """Return the number that a message holds."""
    return int(value or b"")
