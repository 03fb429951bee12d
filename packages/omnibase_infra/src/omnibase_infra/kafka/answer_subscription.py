"""Reads the answers of a node for a group of consumers, each at least once."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from omnibase_core.codec import decode
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import BusError, UndecodableEnvelope

_BATCH_MAX = 500
_WAIT_S = 0.2

_REFUSED = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)
"""What the broker says of a reader that it will not have: waiting does not help."""

_logger = logging.getLogger("omnibase_infra.client")


class Subscription:
    """A member of a consumer group that reads one topic. Its client is used by one thread, which belongs to it."""

    def __init__(self, config: Mapping[str, Any], topic: str, *, on_error: Callable[[KafkaError], None]) -> None:
        """Join the group, in the background."""
        self._topic = topic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-subscription")
        self._consumer = Consumer({**config, "error_cb": on_error})
        self._consumer.subscribe([topic])
        self._closed = False

    async def answers(self) -> AsyncGenerator[OnexEnvelope, None]:
        """Yield answers; one counts as read when the next is asked for. Ends when the subscription is closed."""
        loop = asyncio.get_running_loop()
        while not self._closed:
            for message in await loop.run_in_executor(self._thread, self._consumer.consume, _BATCH_MAX, _WAIT_S):
                answer = self._answer_of(message)
                if answer is not None:
                    yield answer
                self._count_as_read(message)

    async def close(self) -> None:
        """Commit what was read, and leave the group."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
            self._thread.shutdown(wait=False)

    def _answer_of(self, message: Message) -> OnexEnvelope | None:
        if (error := message.error()) is not None:
            if error.code() in _REFUSED or error.fatal():
                raise BusError(f"topic {self._topic}: {error.str()}")
            return None  # The client goes on by itself.
        try:
            return decode(message.value())
        except UndecodableEnvelope as undecodable:
            place = f"{message.topic()}[{message.partition()}] at offset {message.offset()}"
            _logger.warning("%s holds no answer: %s", place, undecodable.code)
            return None

    def _count_as_read(self, message: Message) -> None:
        if message.error() is None:
            try:
                self._consumer.store_offsets(message)
            except KafkaException:
                return  # Its partition went to another member, which reads it again.
