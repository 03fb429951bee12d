"""The loop that a careful user of confluent-kafka writes by hand.

Tuned: messages are taken by batches as soon as one is there; a batch is not flushed but answered while the ones before
it are still under way; offsets are committed twice a second, and only of batches whose every delivery report has come.
"""

import signal
import sys
import time
from collections import deque
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

BATCH_MAX = 500
UNDER_WAY_MAX = 8
COMMIT_EVERY_S = 0.5
WAIT_S = 0.1


class Batch:
    """Answers under way, and the offsets to commit once the broker has them all."""

    def __init__(self, size: int) -> None:
        """Expect a report for each answer."""
        self.awaited = size
        self.offsets: dict[tuple[str, int], int] = {}

    def report(self, error, _message) -> None:
        """Count a delivery report; an answer that is refused ends the process, and its command is read again."""
        if error is not None:
            raise KafkaException(error)
        self.awaited -= 1


def serve(echo: Callable[[bytes], bytes], *, traced: bool = False) -> None:
    """Answer commands until a signal says stop. With `traced`, an answer carries its command's trace."""
    broker, group, commands, answers = sys.argv[1:]
    running = True

    def stop(*_) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 0})
    consumer.subscribe([commands])
    under_way: deque[Batch] = deque()
    done: dict[tuple[str, int], int] = {}
    next_commit_s = time.monotonic() + COMMIT_EVERY_S

    def settle() -> None:
        while under_way and not under_way[0].awaited:
            done.update(under_way.popleft().offsets)

    def commit(*, asynchronous: bool) -> None:
        places = [TopicPartition(topic, number, offset) for (topic, number), offset in done.items()]
        done.clear()
        if places:
            consumer.commit(offsets=places, asynchronous=asynchronous)

    while running:
        first = consumer.poll(WAIT_S)
        if first is not None:
            messages = [first, *consumer.consume(BATCH_MAX - 1, 0)]
            batch = Batch(len(messages))
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                if traced:
                    trace = [it for it in message.headers() or () if it[0] in ("traceparent", "tracestate")]
                    producer.produce(
                        answers, echo(message.value()), message.key(), on_delivery=batch.report, headers=trace
                    )
                else:
                    producer.produce(answers, echo(message.value()), message.key(), on_delivery=batch.report)
                batch.offsets[message.topic(), message.partition()] = message.offset() + 1
            under_way.append(batch)
        producer.poll(0)
        settle()
        while len(under_way) > UNDER_WAY_MAX:
            producer.poll(WAIT_S)
            settle()
        if time.monotonic() >= next_commit_s:
            next_commit_s = time.monotonic() + COMMIT_EVERY_S
            commit(asynchronous=True)
    producer.flush()
    settle()
    commit(asynchronous=False)
    consumer.close()
