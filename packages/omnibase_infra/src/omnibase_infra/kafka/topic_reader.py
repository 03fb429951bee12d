"""TopicReader: reads what a topic holds, from here to there, in no group and without a trace. Blocks."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from omnibase_core.errors import BusError
from omnibase_core.ports import Delivery, Partition
from omnibase_infra.kafka.poll_results import delivery_of
from omnibase_infra.kafka.settings import KafkaSettings
from omnibase_infra.kafka.topics import PASSING

_PATIENCE_S = 10.0
_POLL_S = 0.1
_BATCH = 500

Result = TypeVar("Result")
Spans = Mapping[int, tuple[int, int]]
"""For each partition the first offset that is meant, and the one at which to stop."""


class TopicNotThere(BusError):
    """The broker has no such topic."""

    code = "topic_not_there"


class TopicReader:
    """Reads one topic at an address. Use it as a context. Every method raises BusError when the broker is away."""

    def __init__(self, settings: KafkaSettings, *, address: str, topic: str, client_id: str) -> None:
        """Connect in the background."""
        self._address = address
        self._topic = topic
        self._error: KafkaError | None = None
        self._consumer = Consumer(
            {
                "queued.max.messages.kbytes": 8192,
                # Short, since the embedded broker does not wake a fetch that waits.
                "fetch.wait.max.ms": 5,
                **settings.common(client_id),
                "bootstrap.servers": address,
                # A group is a must of the client; nothing is ever committed to this one.
                "group.id": f"{client_id}-{uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                # What a transaction left behind has an offset and is never delivered: only this tells the end.
                "enable.partition.eof": True,
                "allow.auto.create.topics": False,
                "error_cb": self._on_error,
            }
        )

    def __enter__(self) -> "TopicReader":
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self._consumer.close()

    def spans(self) -> Spans:
        """Return what there is now. Raises TopicNotThere."""
        # Not asked for by its name: some brokers would create it.
        metadata = self._asked(lambda: self._consumer.list_topics(timeout=_PATIENCE_S)).topics.get(self._topic)
        if metadata is None:
            raise TopicNotThere(f"topic {self._topic} is not there: has a host of this pool ever run on this broker?")
        return {number: self._span(number) for number in sorted(metadata.partitions)}

    def since(self, moment: datetime, spans: Spans) -> Spans:
        """Return what of the spans was written at that moment or later."""
        then_ms = max(0, int(moment.timestamp() * 1000))
        found = {}
        for number, (begin, end) in spans.items():
            offset = self._offset_at(number, then_ms)
            if offset < 0:
                # Nothing is that new, unless the broker does not know times at all: the embedded one does not.
                offset = end if self._offset_at(number, 0) >= 0 else begin
            found[number] = (max(begin, offset), end)
        return found

    def read(self, spans: Spans) -> Iterator[Delivery]:
        """Yield the messages of the spans, in the order of each partition. One reading at a time."""
        left = {number: end for number, (begin, end) in spans.items() if begin < end}
        self._consumer.assign([TopicPartition(self._topic, number, spans[number][0]) for number in left])
        while left:
            for message in self._next():
                number, offset = message.partition(), message.offset()
                if number not in left:
                    continue
                if message.error() is not None or offset >= left[number]:
                    del left[number]
                    continue
                if offset + 1 == left[number]:
                    del left[number]
                yield delivery_of(Partition(self._topic, number), offset, message)
        self._consumer.unassign()

    def _next(self) -> list[Any]:
        """Wait for messages and for ends of partitions, which come as messages with that error."""
        until_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until_s:
            arrived = []
            for message in self._consumed():
                error = message.error()
                if error is None or error.code() == KafkaError._PARTITION_EOF:
                    arrived.append(message)
                elif error.code() not in PASSING:
                    raise self._failed(error)
            if arrived:
                return arrived
        raise self._failed(None)

    def _consumed(self) -> list[Any]:
        try:
            return self._consumer.consume(_BATCH, _POLL_S)
        except KafkaException as error:
            raise self._failed(error.args[0]) from error

    def _span(self, number: int) -> tuple[int, int]:
        place = TopicPartition(self._topic, number)
        begin, end = self._asked(lambda: self._consumer.get_watermark_offsets(place, timeout=_PATIENCE_S))
        return begin, end

    def _offset_at(self, number: int, moment_ms: int) -> int:
        place = TopicPartition(self._topic, number, moment_ms)
        [found] = self._asked(lambda: self._consumer.offsets_for_times([place], timeout=_PATIENCE_S))
        if found.error is not None:
            raise self._failed(found.error)
        return int(found.offset)

    def _asked(self, ask: Callable[[], Result]) -> Result:
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() > until_s:
                    raise self._failed(error.args[0]) from error
                time.sleep(_POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        self._error = error

    def _failed(self, error: KafkaError | None) -> BusError:
        # What the connection complained of tells more than that an operation timed out.
        self._consumer.poll(0)
        said = self._error if error is None or error.code() in PASSING else error
        said = said or error
        reason = said.str() if said is not None else f"nothing came for {_PATIENCE_S:g} s"
        return BusError(f"Kafka at {self._address}: {reason}")
