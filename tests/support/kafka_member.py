"""The `kafka` handler in the conformance suite, on Apache Kafka: as it publishes, and as it asks another node.

A client of Kafka goes where the broker tells it to, so the broker has to know the wire's port. What holds of other
brokers and of the bus, the tests in tests/infra/handlers/kafka/test_kafka.py show.
"""

import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from omnibase_core.codec import decode, encode
from omnibase_core.engine.handler_publisher import CommandOutlet
from omnibase_core.envelope import EnvelopeError, OnexEnvelope
from omnibase_core.ports import Delivery, HandlerCall, HandlerDescription, Partition
from omnibase_infra.handlers.kafka import KafkaHandlerFactory
from omnibase_infra.kafka import KafkaBus
from omnibase_spi import Handler
from tests.support.brokers import ApacheKafka
from tests.support.commands import envelope
from tests.support.handlers import Ask, Member, Trouble
from tests.support.kafka_bus import HOST, open_bus
from tests.support.traffic import create_topics

_NODE = "echo"
_REQUESTS = HOST.namespace.requests(HOST.pool)
_ANSWERS = HOST.namespace.event(_NODE, 1)
_TOPICS = [f"topic-{number}" for number in range(100)]
_SMALL = "topic-small"
_SMALL_BYTES = 1_000
_HASTE = {
    "reconnect.backoff.ms": 10,
    "reconnect.backoff.max.ms": 50,
    "retry.backoff.ms": 10,
    "topic.metadata.refresh.fast.interval.ms": 10,
    # Otherwise a client that has lost all brokers, here its only one, looks for others first, which takes it a second.
    "metadata.recovery.strategy": "none",
}
"""A hundred connections end in the suite, and who runs it need not wait each time as a host does."""
_RUBBISH = (b"", b"\x00\x00\xff\xff\xff\xff\x0f", b"\x00\x23\x00\x00\x00\x00")
"""What may stand in an answer: nothing, a list that is longer than it, and that the request is not understood."""
_REQUESTS_MOST = 200
"""More than a client makes in one test."""


class _WithOutlet:
    """A handler whose calls bring along what they publish by, as the runtime's do."""

    def __init__(self, handler: Handler, bus: KafkaBus) -> None:
        self._handler, self._bus = handler, bus

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        command = envelope("any", envelope_id=call.call_id)
        delivery = Delivery(Partition("commands", 0), 0, None, b"", (), 0)
        return await self._handler.execute(
            call._replace(outlet=CommandOutlet(self._bus, delivery, command, transacts=False))
        )


class _OnABus:
    """Makes the handler on a bus of its own, at an address."""

    description: HandlerDescription = KafkaHandlerFactory.description

    def __init__(self, address: str) -> None:
        self._address = address

    @asynccontextmanager
    async def open(self, **opening: Any) -> AsyncIterator[Handler]:
        async with (
            open_bus(self._address, **_HASTE) as (bus, place),
            KafkaHandlerFactory(place).open(**opening) as handler,
        ):
            yield _WithOutlet(handler, bus)


def publishing_member(server: ApacheKafka) -> Member:
    """Return the member that publishes. Its receipts tell the call by the topic.

    It has no slow call, since one node takes a record at once or never, and no unsafe one: a record may come twice.
    """
    return _member(
        server,
        target={"topics": [*_TOPICS, _SMALL]},
        ask=_publish,
        refused=(_ask("publish", topic=_SMALL, text="x" * 2 * _SMALL_BYTES), "message_too_large"),
        told="timeout",
    )


def asking_member(server: ApacheKafka) -> Member:
    """Return the member that asks a node, which `kafka_subject` runs."""
    return _member(
        server,
        target={"node": _NODE},
        ask=lambda number: _request(number=number),
        slow=_request(silent=True),
        refused=(_request(refuse=True), "request_refused"),
        told="no_answer",
    )


def _member(server: ApacheKafka, *, target: Mapping[str, Any], told: str, **more: Any) -> Member:
    return Member(
        factory=_OnABus(f"127.0.0.1:{server.relay_port}"),
        port=server.relayed_port,
        wire_port=server.relay_port,
        target=lambda _: target,
        hopeless_s=0.3,
        cuts=(1, 20, 80, *(_greeting_bytes(server) + more for more in (1, 10, 40))),
        rubbish=tuple(map(_answering_any, _RUBBISH)),
        trouble=Trouble(away=frozenset({told}), silent=frozenset({told}), broken=frozenset({told})),
        **more,
    )


def _greeting_bytes(server: ApacheKafka) -> int:
    """Return the size of the first answer on any connection: which requests the broker knows."""
    asked = struct.pack(">hhih", 18, 3, 1, -1) + b"\x00\x02x\x02x\x00"
    with socket.create_connection(("127.0.0.1", server.relayed_port)) as connection:
        connection.sendall(struct.pack(">i", len(asked)) + asked)
        size: int = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))[0]
        return 4 + size


def _answering_any(body: bytes) -> bytes:
    """Write an answer to each request that a client may be at, by its number: it discards those to others."""
    return b"".join(struct.pack(">ii", 4 + len(body), number) + body for number in range(1, _REQUESTS_MOST))


def _publish(number: int) -> Ask:
    topic = _TOPICS[number]
    return _ask("publish", answers=lambda it: it == {"topic": topic}, topic=topic, text="x")


def _request(**payload: Any) -> Ask:
    return _ask("request", answers=lambda it: it == {"payload": payload, "error": None}, payload=payload)


def _ask(operation: str, *, answers: Any = bool, **request: Any) -> Ask:
    return Ask(operation=operation, request=request, answers=answers)


@contextmanager
def kafka_subject(server: ApacheKafka) -> Iterator[ApacheKafka]:
    """Yield the broker with the topics that the members publish to, and run the node that they ask."""
    create_topics(server.bootstrap_servers, [*_TOPICS, _REQUESTS, _ANSWERS], partitions=1)
    create_topics(server.bootstrap_servers, [_SMALL], partitions=1, **{"max.message.bytes": str(_SMALL_BYTES)})
    stopping = threading.Event()
    node = threading.Thread(target=_serve, args=(server.bootstrap_servers, stopping))
    node.start()
    try:
        yield server
    finally:
        stopping.set()
        node.join()


def _serve(address: str, stopping: threading.Event) -> None:
    """Answer requests as long as one lets it."""
    options = {"bootstrap.servers": address, "log_level": 0}
    consumer = Consumer({**options, "group.id": "node", "enable.auto.commit": False, "fetch.wait.max.ms": 5})
    producer = Producer(options)
    consumer.assign([TopicPartition(_REQUESTS, 0, 0)])
    while not stopping.is_set():
        commands = [decode(it.value()) for it in consumer.consume(100, 0.02) if it.error() is None]
        for command in commands:
            if "silent" not in command.payload:
                producer.produce(_ANSWERS, encode(_answer(command)))
        producer.poll(0)
    consumer.close()
    producer.close()


def _answer(command: OnexEnvelope) -> OnexEnvelope:
    """Return the payload of a request, or refuse it, as it wants."""
    answer = partial(command.answer, now=datetime.now(UTC), node_slug=_NODE, handler_type="local")
    if "refuse" in command.payload:
        return answer(error=EnvelopeError(code="refused", message="It wants to be."))
    return answer(payload=command.payload)
