"""The consumer's thread with a client that fails now and then: it neither stands still nor ends in silence."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from omnibase_core.errors import BusError
from omnibase_core.ports import Batch, Happening, Message, Partition, Revoked
from omnibase_infra.kafka.consumer import ConsumerThread
from omnibase_infra.kafka.settings import embedded_broker
from tests.support.traffic import publish

_TIMED_OUT = KafkaError._TIMED_OUT  # noqa: SLF001 - the client names its public error codes so
_PATIENCE_S = 30
TOPIC = "topic"


class Shaky(Consumer):
    """A real consumer, of which some calls fail a few times first."""

    failures: dict[str, int]

    def _shake(self, name: str) -> None:
        if self.failures.get(name, 0):
            self.failures[name] -= 1
            raise KafkaException(KafkaError(_TIMED_OUT))

    def commit(self, *arguments: Any, **options: Any) -> Any:
        """Commit, or not."""
        self._shake("commit")
        return super().commit(*arguments, **options)

    def committed(self, *arguments: Any, **options: Any) -> Any:
        """Look the offsets up, or not."""
        self._shake("committed")
        return super().committed(*arguments, **options)

    def seek(self, place: TopicPartition) -> None:
        """Go there, or not."""
        self._shake("seek")
        super().seek(place)


class Run:
    """A thread on the embedded broker, and what it hands over."""

    def __init__(self, address: str, group: str, **failures: int) -> None:
        """Start it."""
        config = {
            "bootstrap.servers": address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 6000,
            "log_level": 0,
            "on_commit": lambda error, places: self.thread.committed(error, places),
        }
        self.consumer = Shaky(config)
        self.consumer.failures = failures
        self.happenings: queue.Queue[Happening | BaseException] = queue.Queue()
        self.events: list[str] = []
        self.values: list[bytes | None] = []
        self.partition = Partition(TOPIC, 0)
        self.fails = False
        self.room = threading.Semaphore(2)
        self.thread = ConsumerThread(
            self.consumer,
            hand_over=self.happenings.put,
            warn=lambda _: None,
            event=lambda _level, name, **_: self.events.append(name),
            check=self._check,
            room=self.room,
            topic_ids=lambda _: {},
            release_s=0.5,
            transacts=False,
        )
        self.thread.start(lambda _: None, [TOPIC])

    def _check(self) -> None:
        if self.fails:
            raise BusError("the client cannot go on")

    def until(self, holds: Callable[[], object], *, releases: bool = True) -> None:
        """Take happenings until something holds."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline_s
            try:
                happening = self.happenings.get(timeout=0.05)
            except queue.Empty:
                continue
            assert not isinstance(happening, BaseException), happening
            if not isinstance(happening, Revoked):
                self.room.release()
            if isinstance(happening, Batch) and happening.deliveries:
                self.partition = happening.deliveries[0].partition
                self.values += [it.value for it in happening.deliveries]
            elif isinstance(happening, Revoked) and releases:
                happening.release()

    def end(self) -> None:
        """End it."""
        self.thread.stop()
        assert self.thread.join(_PATIENCE_S)


@pytest.fixture
def address() -> Iterator[str]:
    """Run a broker with ten messages in one partition."""
    with embedded_broker() as address:
        publish(address, [Message(TOPIC, b"k", b"%d" % n) for n in range(10)])
        yield address


def committed(address: str, group: str) -> int:
    """Return what a group has committed."""
    client = Consumer({"bootstrap.servers": address, "group.id": group})
    offsets = client.committed([TopicPartition(TOPIC, number) for number in range(4)], timeout=10)
    client.close()
    return max(it.offset for it in offsets)


def test_offsets_that_cannot_be_looked_up_are_looked_up_again(address: str) -> None:
    """Nothing is delivered before it is known from where on, and then everything, once."""
    run = Run(address, "group", committed=2, seek=2)
    run.until(lambda: len(run.values) >= 10)
    assert run.values == [b"%d" % n for n in range(10)]
    run.thread.rewind(run.partition, 5)
    run.until(lambda: len(run.values) >= 15)
    assert run.values[10:] == [b"%d" % n for n in range(5, 10)]
    run.end()


def test_commits_that_fail_are_repeated_with_the_largest_offset(address: str) -> None:
    """Three rounds fail while offsets are noted; then the last one of them is there."""
    run = Run(address, "group", commit=3)
    run.until(lambda: len(run.values) == 10)
    for offset in (3, 9, 6):
        run.thread.note({run.partition: offset})
        time.sleep(0.6)
    deadline_s = time.monotonic() + _PATIENCE_S
    while committed(address, "group") != 9:
        assert time.monotonic() < deadline_s
    run.end()


def test_the_last_commit_is_repeated_while_it_may_pass(address: str) -> None:
    """At the end, as well: an orderly stop leaves the largest offset."""
    run = Run(address, "group")
    run.until(lambda: len(run.values) == 10)
    run.consumer.failures["commit"] = 3
    run.thread.note({run.partition: 9})
    run.thread.note({run.partition: 4})
    run.end()
    assert committed(address, "group") == 9


def test_a_runtime_that_does_not_release_is_not_waited_for_for_ever(address: str) -> None:
    """After a bounded time the partition goes as one that is lost: what was noted is not committed, and it is told."""
    run = Run(address, "group")
    run.until(lambda: len(run.values) == 10)
    run.thread.note({run.partition: 4})
    run.thread.identified(TOPIC, "an id")
    run.thread.identified(TOPIC, "another id")
    first = run.partition
    run.until(lambda: run.events, releases=False)
    run.thread.note({first: 8})
    # What was noted may have been committed before.
    run.until(lambda: len(run.values) >= 16 and run.values[-1] == b"9")
    assert run.partition is not first
    assert run.events == ["partitions_not_released"]
    run.end()
    assert committed(address, "group") in (-1001, 4)


def test_the_thread_tells_how_it_ended(address: str) -> None:
    """Whatever a call of the client raises, even what nobody expects of it."""
    run = Run(address, "group")
    run.until(lambda: len(run.values) == 10)

    def fail(*_: object) -> None:
        raise SystemExit("not this")

    run.thread.owned.at = fail  # type: ignore[method-assign]
    publish(address, [Message(TOPIC, b"k", b"10")])
    while isinstance(ended := run.happenings.get(timeout=_PATIENCE_S), Revoked):
        ended.release()
    assert isinstance(ended, SystemExit)
    assert run.thread.join(_PATIENCE_S)


def test_a_pause_in_a_full_queue_takes_hold_once_there_is_room(address: str) -> None:
    """The thread waits for the loop, which asks meanwhile; and a stop ends the wait."""
    run = Run(address, "group")
    deadline_s = time.monotonic() + _PATIENCE_S
    while run.thread.waits.longer_than(0.5) is None or "loop" not in str(run.thread.waits.longer_than(0.5)):
        assert time.monotonic() < deadline_s
        publish(address, [Message(TOPIC, b"k", b"more")])
    run.thread.pause([run.partition])
    run.end()


def test_a_client_that_fails_for_good_leaves_the_group_once_nothing_is_published_any_more(address: str) -> None:
    """The runtime hears that its partitions are lost, and lets go of them, before anybody else may have them."""
    run = Run(address, "group")
    run.until(lambda: len(run.values) == 10)
    run.fails = True
    happening = run.happenings.get(timeout=_PATIENCE_S)
    while not isinstance(happening, Revoked):
        run.room.release()
        happening = run.happenings.get(timeout=_PATIENCE_S)
    assert happening.lost
    assert run.partition in happening.partitions
    with pytest.raises(queue.Empty):
        run.happenings.get(timeout=0.2)
    assert not run.thread.join(0)
    happening.release()
    assert isinstance(run.happenings.get(timeout=_PATIENCE_S), BusError)
    run.end()
