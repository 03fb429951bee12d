"""Reads answers as they come, for nodes that wait for other nodes' answers: on a thread, in no group, all partitions.

Only hosts whose nodes ask others have this second consumer. It reads what is committed, from the moment it listens.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

_WAIT_S = 0.05
_ASK_S = 2.0
_LOOK_S = 0.5
_BATCH_MAX = 500

Heard = Callable[[Sequence[bytes]], None]


class AnswerReader:
    """Listens to topics until it is closed. A topic that is not there yet is looked for, twice a second.

    `hear` gets the values of messages, `listening` the topics that nothing is missed of from now on; both are called on
    this thread, and must only pass it on.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Collection[str],
        *,
        hear: Heard,
        listening: Callable[[str], None],
        warn: Callable[[KafkaError], None],
    ) -> None:
        """Connect in the background, and begin."""
        self._consumer = Consumer({**config, "error_cb": warn})
        self._missing = set(topics)
        self._hear = hear
        self._listening = listening
        self._warn = warn
        self._stopping = threading.Event()
        self._next_look_s = 0.0
        self._thread = threading.Thread(target=self._run, name="kafka-answers", daemon=True)
        self._thread.start()

    def close(self, *, within_s: float) -> None:
        """Stop, and wait for the thread. Blocks."""
        self._stopping.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._missing and time.monotonic() >= self._next_look_s:
                self._look()
                self._next_look_s = time.monotonic() + _LOOK_S
            try:
                self._take()
            except (KafkaException, RuntimeError):
                self._stopping.wait(_WAIT_S)  # Nothing is assigned yet.
        self._consumer.close()

    def _look(self) -> None:
        """Listen to what has come to be there, from its end on: whoever asks, asks after this."""
        for topic in sorted(self._missing):
            try:
                partitions = self._consumer.list_topics(topic, timeout=_ASK_S).topics[topic].partitions
                places = [TopicPartition(topic, number, self._end_of(topic, number)) for number in partitions]
                if places:
                    self._consumer.incremental_assign(places)
                    self._missing.discard(topic)
                    self._listening(topic)
            except KafkaException as error:
                self._warn(error.args[0])
                return

    def _end_of(self, topic: str, number: int) -> int:
        return int(self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ASK_S)[1])

    def _take(self) -> None:
        first = self._consumer.poll(_WAIT_S)
        if first is None:
            return
        messages = [first, *self._consumer.consume(_BATCH_MAX, 0)]
        if values := [value for it in messages if it.error() is None and (value := it.value()) is not None]:
            self._hear(values)
