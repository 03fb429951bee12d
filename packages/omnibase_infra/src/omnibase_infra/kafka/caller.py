"""KafkaCaller: sends one command and waits for the answer that correlates. What `runtime-host send` uses. Blocks."""

import threading
import time
from uuid import UUID, uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from omnibase_core.codec import decode, encode
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import BusError, UndecodableEnvelope
from omnibase_infra.kafka.settings import KafkaSettings
from omnibase_infra.kafka.topics import PASSING

_CLIENT_ID = "runtime-host-send"
_POLL_S = 0.05
_FETCH_WAIT_MS = 5
"""Short, since the embedded broker does not wake a fetch that waits."""
_CLOSE_S = 0.5


class CommandNotSent(BusError):
    """A command that did not get to the broker in time, and never will."""

    code = "command_not_sent"


class CommandUncertain(BusError):
    """A command that was on its way when its time was over: whether it is served shows later."""

    code = "command_uncertain"


class KafkaCaller:
    """A client of the bus at an address. Use it as a context; it holds one producer and one consumer, and no group.

    A call ends within its time, a moment more for closing: what is not acknowledged by then is not sent any more.
    """

    def __init__(self, settings: KafkaSettings, *, address: str) -> None:
        """Connect in the background."""
        config = {**settings.common(_CLIENT_ID), "bootstrap.servers": address, "error_cb": self._on_error}
        self._address = address
        self._error: KafkaError | None = None
        delivery = {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random", "linger.ms": 0}
        self._producer = Producer({**config, **delivery, "message.max.bytes": settings.message_bytes_max})
        # A group is a must of the client; nothing is ever committed to this one.
        group = {"group.id": f"{_CLIENT_ID}-{uuid4()}", "enable.auto.commit": False}
        self._consumer = Consumer({**config, **group, "fetch.wait.max.ms": _FETCH_WAIT_MS})

    def __enter__(self) -> "KafkaCaller":
        """Give the caller."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both clients, without waiting for a broker that does not answer."""
        self._producer.purge()
        closing = [threading.Thread(target=it.close, daemon=True) for it in (self._consumer, self._producer)]
        for thread in closing:
            thread.start()
        until_s = time.monotonic() + _CLOSE_S
        for thread in closing:
            thread.join(max(0.0, until_s - time.monotonic()))

    def call(
        self, command: OnexEnvelope, *, command_topic: str, event_topic: str, key: bytes | None, timeout_s: float
    ) -> OnexEnvelope | None:
        """Send the command and return its answer, or None when there is none in time.

        Raises CommandNotSent or CommandUncertain where the broker does not take it in time, BusError for all else.
        """
        until_s = time.monotonic() + timeout_s
        try:
            self._listen(event_topic, until_s)
        except KafkaException as error:
            why = f"Kafka at {self._address}: {self._reason(error.args[0])}"
            raise CommandNotSent(f"{why}; the command was not sent") from error
        try:
            self._send(command, command_topic, key, until_s)
        except KafkaException as error:
            raise BusError(f"Kafka at {self._address}: {self._reason(error.args[0])}") from error
        while (left_s := until_s - time.monotonic()) > 0:
            answer = self._answer_in(self._consumer.poll(min(left_s, _POLL_S)), command.correlation_id)
            if answer is not None:
                return answer
        return None

    def _listen(self, topic: str, until_s: float) -> None:
        """Read on from what is there now, so that the answer cannot come before its reader."""
        metadata = self._producer.list_topics(topic, timeout=_left(until_s)).topics[topic]
        if metadata.error is not None:
            raise BusError(f"topic {topic} is not there ({metadata.error.str()}): is a host with this node running?")
        places = [TopicPartition(topic, number) for number in metadata.partitions]
        for place in places:
            place.offset = self._end_of(place, until_s)
        self._consumer.assign(places)

    def _end_of(self, place: TopicPartition, until_s: float) -> int:
        while True:
            try:
                return self._consumer.get_watermark_offsets(place, timeout=_left(until_s))[1]
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() > until_s:
                    raise
                time.sleep(_POLL_S)

    def _send(self, command: OnexEnvelope, topic: str, key: bytes | None, until_s: float) -> None:
        reports: list[KafkaError | None] = []
        value = encode(command)
        self._error = None
        self._producer.produce(topic, value, key, on_delivery=lambda error, _: reports.append(error))
        self._producer.flush(_left(until_s))
        if not reports:
            # From here on it is not sent any more: a command that is served long after its sender gave up surprises.
            self._producer.purge()
            self._producer.flush(_CLOSE_S)
            raise self._not_taken(reports[0] if reports else None)
        if reports[0] is not None:
            raise KafkaException(reports[0])

    def _not_taken(self, report: KafkaError | None) -> BusError:
        """Explain what became of a command that nobody acknowledged."""
        why = f"Kafka at {self._address} did not take the command in time: {self._reason(None)}"
        # A request that failed puts its message back into the queue: only without any failure it has never left it.
        queued = report is not None and report.code() == KafkaError._PURGE_QUEUE
        if queued and self._error is None:
            return CommandNotSent(f"{why}; the command was not sent")
        return CommandUncertain(f"{why}; the command was on its way, and may still be served")

    def _answer_in(self, message: Message | None, correlation_id: UUID) -> OnexEnvelope | None:
        if message is None or message.error() is not None:
            return None
        try:
            answer = decode(message.value())
        except UndecodableEnvelope:
            return None
        return answer if answer.correlation_id == correlation_id else None

    def _on_error(self, error: KafkaError) -> None:
        self._error = error

    def _reason(self, error: KafkaError | None) -> str:
        """Say what the connection complained of: it tells more than that an operation timed out."""
        self._producer.poll(0)  # it may have been told, and not yet to us
        said = self._error or error
        return said.str() if said is not None else "no answer"


def _left(until_s: float) -> float:
    return max(0.1, until_s - time.monotonic())
