"""The host's one producer: batches go in, and a future ends when the broker has answered for each message."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Message, Refusal

_POLL_S = 0.2

Published = asyncio.Future[Sequence[Refusal]]


class _Batch:
    """Messages under way. `reported` belongs to the polling thread, all else to the loop's: so no lock is needed."""

    __slots__ = ("future", "messages", "refusals", "refused_at_once", "reported")

    def __init__(self, messages: Sequence[Message], future: Published) -> None:
        self.messages = messages
        self.future = future
        self.reported = 0
        self.refused_at_once = 0
        self.refusals: list[Refusal] = []

    def refuse(self, message: Any, error: KafkaError) -> None:
        """Find which message a report is about: of equal ones any will do, but each counts once."""
        taken = {refusal.index for refusal in self.refusals}
        place = (message.topic(), message.key(), message.value())
        for index, it in enumerate(self.messages):
            if index not in taken and (it.topic, it.key, it.value) == place:
                self.refusals.append(Refusal(index, _translated(error)))
                return


class Publisher:
    """Owns the producer and the thread that takes its delivery reports."""

    def __init__(self, config: Mapping[str, Any], *, on_error: Callable[[KafkaError], None]) -> None:
        """Connect in the background: a broker that is away is waited for."""
        self._producer = Producer({**config, "error_cb": on_error})
        self._loop = asyncio.get_running_loop()
        self._pending: set[Published] = set()
        self._touched: list[_Batch] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._take_reports, name="kafka-publisher", daemon=True)
        self._thread.start()

    def publish(self, messages: Sequence[Message]) -> Published:
        """Queue the messages in order: they are on their way when this returns."""
        future: Published = self._loop.create_future()
        batch = _Batch(messages, future)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        report = self._reporter(batch)
        for index, (topic, key, value, headers) in enumerate(messages):
            try:
                self._producer.produce(topic, value, key, on_delivery=report, headers=list(headers) or None)
            except KafkaException as error:
                batch.refusals.append(Refusal(index, _translated(error.args[0])))
                batch.refused_at_once += 1
        if batch.refused_at_once == len(messages):
            self._settle([batch])
        return future

    async def close(self, *, within_s: float) -> None:
        """Let what is queued go out for a bounded time. What is not acknowledged then is cancelled."""
        await asyncio.to_thread(self._producer.flush, within_s)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)
        for future in list(self._pending):
            future.cancel()
        self._producer.purge()

    def _reporter(self, batch: _Batch) -> Callable[[KafkaError | None, Any], None]:
        def report(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                batch.refuse(message, error)
            batch.reported += 1
            touched = self._touched
            if not touched or touched[-1] is not batch:
                touched.append(batch)

        return report

    def _take_reports(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)
            if self._touched:
                touched, self._touched = self._touched, []
                self._loop.call_soon_threadsafe(self._settle, touched)

    def _settle(self, batches: Iterable[_Batch]) -> None:
        """End the futures of the batches that are answered for in full."""
        for batch in batches:
            if batch.reported + batch.refused_at_once == len(batch.messages) and not batch.future.done():
                batch.future.set_result(batch.refusals)


def _translated(error: KafkaError) -> PublishFailed:
    too_large = error.code() == KafkaError.MSG_SIZE_TOO_LARGE
    return PublishFailed("message_too_large" if too_large else "publish_refused", error.str())
