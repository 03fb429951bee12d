"""What the clients say in an unusual place is heard, and what they raise there ends nothing."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError

from omnibase_core.ports import Message, Partition
from omnibase_infra.kafka.consumer import ConsumerThread
from omnibase_infra.kafka.producer import KafkaProducer

HERE = Partition("t", 0)


def thread_on(**place: Any) -> tuple[ConsumerThread, list[int], list[dict[str, Any]]]:
    """Make a thread, which is not started, whose group has committed this; and what it warns and tells of."""
    warned: list[int] = []
    told: list[dict[str, Any]] = []
    found = SimpleNamespace(topic="t", partition=0, **{"error": None, "offset": -1001, "metadata": None, **place})
    consumer: Any = SimpleNamespace(committed=lambda _places, **_: [found])
    thread = ConsumerThread(
        consumer,
        hand_over=lambda _: None,
        warn=lambda error: warned.append(error.code()),
        event=lambda _level, name, **fields: told.append({"name": name, **fields}),
        check=lambda: None,
        room=threading.Semaphore(1),
        topic_ids=lambda _: {"t": "new"},
        release_s=1,
        transacts=False,
    )
    return thread, warned, told


def test_an_offset_that_is_refused_for_one_partition_is_told() -> None:
    """The partition delivers nothing until it is known: that is not kept silent."""
    thread, warned, _ = thread_on(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert thread._places.targets([HERE]) == [None]  # noqa: SLF001 - the moment before the first message
    assert warned == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def test_an_offset_that_was_committed_for_another_topic_is_told() -> None:
    """The topic was created again, or the offsets were copied from another cluster: all of it is read."""
    thread, _, told = thread_on(offset=500, metadata="topic_id=old assignment=1")
    assert thread._places.targets([HERE]) == [OFFSET_BEGINNING]  # noqa: SLF001 - likewise
    assert [(it["name"], it["committed"]) for it in told] == [("committed_offset_stale", 500)]


def test_a_callback_that_raises_does_not_end_the_reports() -> None:
    """The producer is looked at again: else no answer would ever count as acknowledged any more."""

    class Raising:
        def __init__(self, producer: Any) -> None:
            self.producer, self.polls = producer, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.producer, name)

        def poll(self, timeout: float) -> Any:
            self.polls += 1
            if self.polls == 2:
                raise LookupError("a callback")
            return self.producer.poll(timeout)

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        publisher = KafkaProducer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, on_error=lambda _: None)
        raising: Any = Raising(publisher._producer)  # noqa: SLF001 - a real client, but for this
        publisher._producer = raising  # noqa: SLF001
        publisher.publish([Message("t", None, b"x")])
        await asyncio.sleep(0.3)
        assert raising.polls > 2
        await publisher.close(within_s=0)

    asyncio.run(scenario())
