"""The host's one producer: batches go in, and a future ends when the broker has answered for each message."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Headers, Message, Refusal
from omnibase_infra.kafka.watchdog import bounded

_BUSY_S = 0.001
_IDLE_S = 0.2
_DISCONNECT_S = 2.0

WITHDRAWN, UNCERTAIN = "withdrawn", "uncertain"
"""The codes of messages that were taken back: before they were sent for the first time, or perhaps after it."""

_CODES = {
    KafkaError._PURGE_QUEUE: WITHDRAWN,
    KafkaError._PURGE_INFLIGHT: UNCERTAIN,
    KafkaError._MSG_TIMED_OUT: UNCERTAIN,
    KafkaError.MSG_SIZE_TOO_LARGE: "message_too_large",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "unknown_topic",
    KafkaError._UNKNOWN_TOPIC: "unknown_topic",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "not_authorised",
}

Published = asyncio.Future[Sequence[Refusal]]


class _Batch:
    """Messages under way, and what the broker has said of them so far."""

    __slots__ = ("future", "messages", "refusals", "unanswered")

    def __init__(self, messages: Sequence[Message], future: Published) -> None:
        self.messages = messages
        self.future = future
        self.unanswered = len(messages)
        self.refusals: list[Refusal] = []

    def report(self, error: KafkaError | None, message: Any) -> None:
        """Take a delivery report. The last one ends the future."""
        if error is not None:
            self._refuse(message, error)
        # As `answered` does, without another call: this is done for each message.
        self.unanswered -= 1
        if not self.unanswered and not self.future.done():
            self.future.set_result(self.refusals)

    def answered(self, count: int) -> None:
        """Count messages whose fate is known."""
        self.unanswered -= count
        if not self.unanswered and not self.future.done():
            self.future.set_result(self.refusals)

    def _refuse(self, message: Any, error: KafkaError) -> None:
        """Find which message a report is about: of equal ones any will do, but each counts once."""
        taken = {refusal.index for refusal in self.refusals}
        place = (message.topic(), message.key(), message.value())
        for index, it in enumerate(self.messages):
            if index not in taken and (it.topic, it.key, it.value) == place:
                self.refusals.append(Refusal(index, translated(error)))
                return


class KafkaProducer:
    """Owns the producer. Delivery reports are taken on the loop: a thread would wait for it with each of them."""

    def __init__(self, config: Mapping[str, Any], *, on_error: Callable[[KafkaError], None]) -> None:
        """Connect in the background: a broker that is away is waited for."""
        self._producer = Producer({**config, "error_cb": on_error})
        self._loop = asyncio.get_running_loop()
        self._pending: set[Published] = set()
        self._next_look = self._loop.call_later(_IDLE_S, self._look)
        self._busy = False

    def publish(self, messages: Sequence[Message]) -> Published:
        """Queue the messages in order: they are on their way when this returns."""
        future: Published = self._loop.create_future()
        batch = _Batch(messages, future)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        for begin, end in _runs(messages):
            if messages[begin].headers:
                self._queue_each(begin, end, batch)
            else:
                self._queue_at_once(begin, end, batch)
        batch.answered(len(batch.refusals))
        if not self._busy:
            self._look_again(_BUSY_S)
        return future

    def _queue_at_once(self, begin: int, end: int, batch: _Batch) -> None:
        """Queue messages of one topic: the client looks a topic up among all that it knows, here once for all."""
        written: list[dict[str, Any]] = [{"value": it.value, "key": it.key} for it in batch.messages[begin:end]]
        try:
            queued = self._producer.produce_batch(batch.messages[begin].topic, written, on_delivery=batch.report)
        except _UNQUEUED as error:
            # The client looks at all of them before it queues any: none of them is on its way.
            batch.refusals += [Refusal(index, unqueued(error)) for index in range(begin, end)]
            return
        if queued < len(written):
            errors = ((index, it.get("_error")) for index, it in enumerate(written, begin))
            batch.refusals += [Refusal(index, translated(error)) for index, error in errors if error is not None]

    def _queue_each(self, begin: int, end: int, batch: _Batch) -> None:
        """Queue messages one by one: the client has no headers for many at once."""
        for index in range(begin, end):
            topic, key, value, headers = batch.messages[index]
            try:
                self._producer.produce(topic, value, key, on_delivery=batch.report, headers=sendable(headers))
            except _UNQUEUED as error:
                batch.refusals.append(Refusal(index, unqueued(error)))

    def withdraw(self) -> None:
        """Take back all that is not acknowledged: each is refused as `withdrawn` or `uncertain`."""
        self._producer.purge()

    async def close(self, *, within_s: float) -> None:
        """Let what is queued go out for so long, cancel what is not acknowledged then, and disconnect.

        A client that does not come back from disconnecting is left to a daemon thread after two seconds.
        """
        until_s = self._loop.time() + within_s
        while self._pending and self._loop.time() < until_s:
            await asyncio.wait(self._pending, timeout=until_s - self._loop.time())
        self._next_look.cancel()
        for future in list(self._pending):
            future.cancel()
        await bounded("kafka-producer-close", self._disconnect, within_s=_DISCONNECT_S)

    def _disconnect(self) -> None:
        self._producer.purge()
        # An error of a publication that is still referenced holds the producer: it is not left to be collected.
        self._producer.close()

    def _look(self) -> None:
        """Take what reports there are, and come again: soon while answers are awaited, now and then for errors."""
        try:
            self._producer.poll(0)
        finally:
            # Whatever a callback raises: nobody else would ever look again.
            self._look_again(_BUSY_S if self._pending else _IDLE_S)

    def _look_again(self, after_s: float) -> None:
        self._next_look.cancel()
        self._busy = after_s == _BUSY_S
        self._next_look = self._loop.call_later(after_s, self._look)


def _runs(messages: Sequence[Message]) -> Iterator[tuple[int, int]]:
    """Yield where runs of messages that can be queued at once begin and end; together they keep their order."""
    begin, topic, has_headers = 0, "", False
    for index, message in enumerate(messages):
        if message.topic == topic and bool(message.headers) is has_headers:
            continue
        if index:
            yield begin, index
        begin, topic, has_headers = index, message.topic, bool(message.headers)
    if messages:
        yield begin, len(messages)


_UNQUEUED = (KafkaException, BufferError, TypeError, ValueError)
"""What the client raises of a message that it does not take."""


def sendable(headers: Headers) -> list[tuple[str, str | bytes | None]]:
    """Return headers as the client takes them. Raises ValueError for a name that is not text in UTF-8.

    The client itself does not check names: it crashes the process.
    """
    for name, _ in headers:
        if not name.isascii():
            name.encode()
    return headers if type(headers) is list else list(headers)


def unqueued(error: Exception) -> PublishFailed:
    """Translate what `produce` raised of a message."""
    if isinstance(error, KafkaException):
        return translated(error.args[0])
    return PublishFailed("publish_refused", f"the client does not take the message: {error}")


def translated(error: KafkaError) -> PublishFailed:
    """Return what the client says of a message in our own words."""
    return PublishFailed(_CODES.get(error.code(), "publish_refused"), error.str())
