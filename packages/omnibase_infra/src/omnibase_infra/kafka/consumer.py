"""The host's one consumer, on a thread that waits on librdkafka and hands over batches.

Everything but `note`, `pause`, `resume`, `rewind` and `taken` runs on that thread. It never waits for a handler: only
for the loop to take what it was handed, and, when partitions are revoked, for the runtime to let go of them.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from omnibase_core.ports import Assigned, Batch, Delivery, Happening, Partition, Revoked, Rewound

_WAIT_S = 0.05
_BATCH_MAX = 249
"""As many as make one request of the producer; more are in memory twice, and no faster."""
_COMMIT_EVERY_S = 0.5
_HANDED_OVER_MAX = 2


class ConsumerThread:
    """Polls until it is told to stop; then commits what is noted and leaves the group.

    `hand_over` is called on this thread with each happening, in order, and must only pass it on; at last, perhaps,
    with the error that ended the thread. At most two are on their way at a time: `taken` makes room again.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        hand_over: Callable[[Happening | BaseException], None],
        warn: Callable[[KafkaError], None],
        watch: Callable[[], None],
        transacts: bool,
    ) -> None:
        """Hold the consumer, which from now on belongs to this thread. Who `transacts` needs its place in the group."""
        self._consumer = consumer
        self._hand_over = hand_over
        self._warn = warn
        self._watch = watch
        self._transacts = transacts
        self._owned: dict[tuple[str, int], Partition] = {}
        self._assigned_in_call: set[Partition] = set()
        self._noted: dict[Partition, int] = {}
        self._lock = threading.Lock()
        self._asked: deque[Callable[[], None]] = deque()
        self._room = threading.Semaphore(_HANDED_OVER_MAX)
        self._stopping = threading.Event()
        self._next_commit_s = 0.0
        self.membership: object | None = None
        """The host's place in its group, for transactions; None while it has none. Read by other threads."""
        self._thread = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)

    def start(self, prepare: Callable[[threading.Event], None], topics: Sequence[str]) -> None:
        """Begin: `prepare` runs first on the thread, and gives up when the event is set."""
        self._prepare = prepare
        self._topics = topics
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; `join` waits for it."""
        self._stopping.set()

    def join(self, within_s: float) -> bool:
        """Wait until the consumer is closed, and say whether it is."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def taken(self) -> None:
        """Make room for the next happening. Called by the loop."""
        self._room.release()

    def note(self, offsets: Mapping[Partition, int]) -> None:
        """Note what may be committed. Called by the loop."""
        with self._lock:
            self._noted.update(offsets)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Ask for partitions to be paused at the next turn. Called by the loop."""
        self._asked.append(partial(self._pause, list(partitions)))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Ask for partitions to be resumed at the next turn. Called by the loop."""
        self._asked.append(partial(self._resume, list(partitions)))

    def rewind(self, partition: Partition, offset: int) -> None:
        """Ask for a partition to be read again from an offset on, at the next turn. Called by the loop."""
        self._asked.append(partial(self._rewind, partition, offset))

    # --- The thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._prepare(self._stopping)
            self._consumer.subscribe(
                list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:  # noqa: BLE001 - the loop has to hear of it, whatever it is
            self._hand_over(error)
        finally:
            self._stopping.set()
            self._leave()

    def _turn(self) -> None:
        """Wait for a message, take what else is there, and hand it over."""
        while self._asked:
            self._asked.popleft()()
        self._note_membership()
        first = self._consumer.poll(_WAIT_S)
        if first is not None:
            # poll gives a message as soon as there is one: it cannot stem from before a rebalance in the same call.
            self._assigned_in_call.clear()
            messages = [first, *self._consumer.consume(_BATCH_MAX, 0)]
            self._pass_on(messages)
        if time.monotonic() >= self._next_commit_s:
            self._next_commit_s = time.monotonic() + _COMMIT_EVERY_S
            self._commit(asynchronous=True)
            self._watch()

    def _pause(self, partitions: Iterable[Partition]) -> None:
        if mine := self._mine(partitions):
            self._consumer.pause(mine)

    def _resume(self, partitions: Iterable[Partition]) -> None:
        if mine := self._mine(partitions):
            self._consumer.resume(mine)

    def _rewind(self, partition: Partition, offset: int) -> None:
        if self._owned.get((partition.topic, partition.number)) is partition:
            self._consumer.seek(TopicPartition(partition.topic, partition.number, offset))
            self._hand(Rewound(partition))

    def _mine(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        return [TopicPartition(*it) for it in partitions if tuple(it) in self._owned]

    def _pass_on(self, messages: Iterable[Any]) -> None:
        deliveries: list[Delivery] = []
        uncertain = self._assigned_in_call
        for message in messages:
            error = message.error()
            if error is not None:
                self._warn(error)
                continue
            partition = self._owned.get((message.topic(), message.partition()))
            if partition is not None and partition not in uncertain:
                deliveries.append(_delivery(partition, message))
        if deliveries:
            self._hand(Batch(deliveries))
        if uncertain:
            self._read_again(uncertain)

    def _read_again(self, partitions: set[Partition]) -> None:
        """Go back to the committed offsets of partitions that were assigned while a batch was being collected.

        The batch may hold messages of an earlier assignment of theirs: counting on them could commit past others.
        """
        places = [TopicPartition(*partition) for partition in partitions]
        for place in self._consumer.committed(places):
            self._consumer.seek(place)
        partitions.clear()

    def _hand(self, happening: Happening) -> None:
        while not self._room.acquire(timeout=_WAIT_S):
            if self._stopping.is_set():
                return
        self._hand_over(happening)

    # --- Rebalances (called by librdkafka within poll, consume and close) -------------------------------------------

    def _on_assign(self, _consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        assigned = frozenset(Partition(place.topic, place.partition) for place in places)
        self._note_membership()
        if assigned:
            self._owned.update({(it.topic, it.number): it for it in assigned})
            self._assigned_in_call |= assigned
            self._hand(Assigned(assigned))

    def _on_revoke(self, _consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        self._note_membership()
        self._give_up(places, lost=False)
        self._commit(asynchronous=False)
        self._forget(places)

    def _on_lost(self, _consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        self.membership = None
        self._give_up(places, lost=True)
        self._forget(places)

    def _note_membership(self) -> None:
        # Who is no member would commit unfenced: to the broker, it is a client that knows nothing of groups.
        if self._transacts:
            self.membership = self._consumer.consumer_group_metadata() if self._consumer.memberid() else None

    def _give_up(self, places: Sequence[TopicPartition], *, lost: bool) -> None:
        """Let the runtime finish what is in flight: it bounds the time itself."""
        leaving = frozenset(Partition(place.topic, place.partition) for place in places)
        if not leaving or self._stopping.is_set():
            return
        released = threading.Event()
        self._hand(Revoked(leaving, lost=lost, release=released.set))
        while not released.wait(_WAIT_S) and not self._stopping.is_set():
            pass

    def _forget(self, places: Sequence[TopicPartition]) -> None:
        for place in places:
            self._owned.pop((place.topic, place.partition), None)
            self._assigned_in_call.discard(Partition(place.topic, place.partition))

    # --- Commits --------------------------------------------------------------------------------------------------

    def _commit(self, *, asynchronous: bool) -> None:
        with self._lock:
            noted, self._noted = self._noted, {}
        places = [
            TopicPartition(it.topic, it.number, offset) for it, offset in noted.items() if tuple(it) in self._owned
        ]
        if not places:
            return
        try:
            if asynchronous:
                self._consumer.commit(offsets=places, asynchronous=True)
            else:
                self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            self.not_committed(error.args[0], places)

    def not_committed(self, error: KafkaError, places: Sequence[TopicPartition]) -> None:
        """Note again what was not committed, below anything newer. Also librdkafka's callback for it."""
        self._warn(error)
        with self._lock:
            for place in places:
                self._noted.setdefault(Partition(place.topic, place.partition), place.offset)

    def _leave(self) -> None:
        try:
            self._commit(asynchronous=False)
        finally:
            self._consumer.close()


def _delivery(partition: Partition, message: Any) -> Delivery:
    # The client's type hints leave every part of a message open, so it is Any here.
    return Delivery(
        partition,
        message.offset(),
        message.key(),
        message.value(),
        message.headers() or (),
        message.timestamp()[1],
    )
