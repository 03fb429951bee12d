"""The host's consumers: one for each so many partitions, each with topics of its own, all of them in one group.

The client names every partition that it reads in each request to fetch (it has no fetch sessions, KIP-227), and so does
the broker in each answer. With a thousand partitions a message would wait for the thousand to be written and read.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import TopicPartition

from omnibase_core.errors import BusError
from omnibase_core.ports import Happening, Partition, Revoked
from omnibase_infra.kafka.blocking_calls import BlockingCalls
from omnibase_infra.kafka.consumer import ConsumerThread
from omnibase_infra.kafka.group_status import Members
from omnibase_infra.kafka.owned_partitions import OffsetProgress

_HANDED_OVER_MAX = 2
_LOOK_EVERY_S = 0.05


class MakesConsumer(Protocol):
    """Makes one of the consumers, which hands over what happens on its thread while there is `room` for that.

    The one that `probes` looks after the connection for all.
    """

    def __call__(
        self, *, hand_over: Callable[[Happening | BaseException], None], room: threading.Semaphore, probes: bool
    ) -> ConsumerThread:
        """Return the consumer, which is not started yet."""


class Consumers:
    """Starts the consumers, gives what happens to any of them, and passes on to each what is asked of its topics."""

    def __init__(self, make: MakesConsumer, topics: Sequence[str], *, count: int) -> None:
        """Deal the topics out to so many, no more than there are topics. Nothing starts before `start`."""
        self._loop = asyncio.get_running_loop()
        self._happened: asyncio.Queue[tuple[ConsumerThread, Happening | BaseException]] = asyncio.Queue()
        # Of all of them together: a revocation waits behind no more batches than with one.
        self._room = threading.Semaphore(_HANDED_OVER_MAX)
        self._shares = {self._made(make, number): topics[number::count] for number in range(count)}
        self._of_topic = {topic: thread for thread, share in self._shares.items() for topic in share}
        self._prepared = threading.Event()

    def _made(self, make: MakesConsumer, number: int) -> ConsumerThread:
        def hand_over(happening: Happening | BaseException) -> None:
            self._loop.call_soon_threadsafe(self._happened.put_nowait, (thread, happening))

        thread = make(hand_over=hand_over, room=self._room, probes=number == 0)
        return thread

    @property
    def first(self) -> ConsumerThread:
        """The one that there always is."""
        return next(iter(self._shares))

    @property
    def waits(self) -> Sequence[BlockingCalls]:
        """What each of them waits for."""
        return [it.waits for it in self._shares]

    def start(self, prepare: Callable[[threading.Event], None]) -> None:
        """Begin: the first one prepares, and gives up when the event is set; the others wait for it."""

        def prepare_first(give_up: threading.Event) -> None:
            prepare(give_up)
            self._prepared.set()

        def wait(give_up: threading.Event) -> None:
            while not (self._prepared.wait(_LOOK_EVERY_S) or give_up.is_set()):
                pass

        for thread, share in self._shares.items():
            thread.start(prepare_first if thread is self.first else wait, share)

    async def happenings(self) -> AsyncGenerator[Happening, None]:
        """Yield what happens, for each consumer in order. Raises BusError when one of them has ended."""
        while True:
            thread, happening = await self._happened.get()
            if isinstance(happening, BaseException):
                # Before they leave the group, too.
                for other in self._shares.keys() - {thread}:
                    if owned := frozenset(it.partition for it in other.owned.all()):
                        yield Revoked(owned, lost=True, release=lambda: None)
                raise BusError(str(happening)) from happening
            yield happening
            if not isinstance(happening, Revoked):
                self._room.release()

    async def leave(self, within_s: float) -> str | None:
        """Let all of them commit and leave the group. Return why one has not in so many seconds; None if all have."""
        for thread in self._shares:
            thread.stop()
        if await asyncio.to_thread(self._join, time.monotonic() + within_s):
            return None
        return self.waiting(0) or "the broker did not answer in time"

    def _join(self, until_s: float) -> bool:
        ended = [it.join(max(0.0, until_s - time.monotonic())) for it in self._shares]
        return all(ended)

    def waiting(self, patience_s: float) -> str | None:
        """Describe what one of them has been waiting for, if for so many seconds."""
        return next(filter(None, (it.longer_than(patience_s) for it in self.waits)), None)

    def members(self) -> Members:
        """Return which members of the group they are. Any thread's."""
        ids = [it.member_id for it in self._shares if it.member_id is not None]
        return Members(ids, sum(len(it.owned.all()) for it in self._shares))

    def standings(self) -> list[OffsetProgress]:
        """Return where each partition stands, and forget its largest jump. Any thread's."""
        return [standing for thread in self._shares for standing in thread.owned.standings()]

    def identified(self, topic: str, topic_id: str) -> None:
        """Ask for a topic to be read as the one that it is now. Any thread's."""
        self._of_topic[topic].identified(topic, topic_id)

    def note(self, offsets: Mapping[Partition, int]) -> None:
        """Record what may be committed."""
        for thread, partitions in self._dealt(offsets).items():
            thread.note({it: offsets[it] for it in partitions})

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Ask for partitions to be paused."""
        for thread, its in self._dealt(partitions).items():
            thread.pause(its)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Ask for partitions to be resumed."""
        for thread, its in self._dealt(partitions).items():
            thread.resume(its)

    def rewind(self, partition: Partition, offset: int) -> None:
        """Ask for a partition to be read again from an offset on."""
        self._of_topic[partition.topic].rewind(partition, offset)

    def place(self, partition: Partition, offset: int) -> TopicPartition:
        """Return an offset as it is to be committed. Any thread's."""
        return self._of_topic[partition.topic].owned.place(partition, offset)

    def _dealt(self, partitions: Iterable[Partition]) -> dict[ConsumerThread, list[Partition]]:
        dealt: dict[ConsumerThread, list[Partition]] = {}
        for partition in partitions:
            dealt.setdefault(self._of_topic[partition.topic], []).append(partition)
        return dealt
