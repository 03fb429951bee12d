"""Reads answers as they come, for whoever waits for those of a node: on a thread, in no group, all partitions.

Hosts whose nodes ask others have this second consumer, and clients. It reads what is committed, from the moment it
listens.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

_WAIT_S = 0.05
_ASK_S = 2.0
_LOOK_S = 0.5
_BATCH_MAX = 500

Heard = Callable[[Sequence[bytes]], None]


class ReplyConsumer:
    """Listens to topics until it is closed. A topic that is not there yet is looked for, twice a second.

    `hear` gets the values of messages, `listening` the topics that nothing is missed of from now on. With `absent` a
    topic is looked for once, and told there if it is missing. All are called on this thread, and must only pass it on.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Collection[str],
        *,
        hear: Heard,
        listening: Callable[[str], None],
        warn: Callable[[KafkaError], None],
        absent: Callable[[str], None] | None = None,
    ) -> None:
        """Connect in the background, and begin."""
        self._consumer = Consumer({**config, "error_cb": warn})
        self._wanted: SimpleQueue[str] = SimpleQueue()
        self._missing = set(topics)
        self._partitions: dict[str, int] = {}
        """How many of each topic are read."""
        self._absent = absent
        self._hear = hear
        self._listening = listening
        self._warn = warn
        self._stopping = threading.Event()
        self._next_look_s = 0.0
        self._thread = threading.Thread(target=self._run, name="kafka-answers", daemon=True)
        self._thread.start()

    def listen(self, topic: str) -> None:
        """Listen to another topic, from now on. Any thread's."""
        self._wanted.put(topic)

    def close(self, *, within_s: float) -> None:
        """Stop, and wait for the thread. Blocks."""
        self._stopping.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._takes_wanted() or time.monotonic() >= self._next_look_s:
                self._look()
                self._next_look_s = time.monotonic() + _LOOK_S
            try:
                self._take()
            except (KafkaException, RuntimeError):
                self._stopping.wait(_WAIT_S)  # Nothing is assigned yet.
        self._consumer.close()

    def _takes_wanted(self) -> bool:
        """Take what is to be listened to from now on; return whether there was anything."""
        found = False
        with suppress(Empty):
            while True:
                self._missing.add(self._wanted.get_nowait())
                found = True
        return found

    def _look(self) -> None:
        """Listen to what has come to be there: topics, and in turn the partitions of one that is read already."""
        try:
            for topic in sorted(self._missing):
                self._begin(topic)
            if self._partitions:
                topic = next(iter(self._partitions))
                self._extend(topic, self._partitions.pop(topic))
        except KafkaException as error:
            self._warn(error.args[0])

    def _begin(self, topic: str) -> None:
        """Read a topic from its end on: whoever asks, asks after this."""
        count = self._count_of(topic)
        if not count:
            if self._absent is not None:
                self._missing.discard(topic)
                self._absent(topic)
            return
        self._consumer.incremental_assign(
            [TopicPartition(topic, number, self._end_of(topic, number)) for number in range(count)]
        )
        self._partitions[topic] = count
        self._missing.discard(topic)
        self._listening(topic)

    def _extend(self, topic: str, known: int) -> None:
        """Read partitions that were added to a topic, from their beginning: all that they hold is new."""
        self._partitions[topic] = known  # At the end: its turn comes again after all others.
        count = self._count_of(topic)
        if count > known:
            self._consumer.incremental_assign(
                [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(known, count)]
            )
            self._partitions[topic] = count

    def _count_of(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it is not there."""
        return len(self._consumer.list_topics(topic, timeout=_ASK_S).topics[topic].partitions)

    def _end_of(self, topic: str, number: int) -> int:
        return int(self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ASK_S)[1])

    def _take(self) -> None:
        first = self._consumer.poll(_WAIT_S)
        if first is None:
            return
        messages = [first, *self._consumer.consume(_BATCH_MAX, 0)]
        if values := [value for it in messages if it.error() is None and (value := it.value()) is not None]:
            self._hear(values)


def pass_to_loop(loop: asyncio.AbstractEventLoop, receive: Callable[[Any], None], value: Any) -> None:
    """Call `receive` on the loop, from any thread; a loop that is closed has nobody left who listens."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(receive, value)
