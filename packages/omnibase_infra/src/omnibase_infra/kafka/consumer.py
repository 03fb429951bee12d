"""A consumer of the host, on a thread that waits on librdkafka and hands over batches.

Everything but `note`, `pause`, `resume`, `rewind` and `identified` runs on that thread. It never waits for a
handler: only for the loop to take what it was handed, and, for a bounded time, for the runtime to release partitions.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from omnibase_core.ports import Assigned, Batch, Happening, Partition, Revoked, Rewound
from omnibase_infra.kafka.blocking_calls import BlockingCalls
from omnibase_infra.kafka.commits import Commits
from omnibase_infra.kafka.offset_reset import EARLIEST
from omnibase_infra.kafka.owned_partitions import OwnedPartition, OwnedPartitions
from omnibase_infra.kafka.poll_results import Regression, sort
from omnibase_infra.kafka.positions import ConsumerPositions

_WAIT_S = 0.05
_IDLE_WAIT_S = 0.2
"""Where nothing is paused nothing is asked in a hurry: while messages come, no turn waits."""
_BATCH_MAX = 249
"""As many as make one request of the producer; more are in memory twice, and no faster."""
_COMMIT_EVERY_S = 0.5
_WAKE_S = 1.0


class ConsumerThread:
    """Polls until it is told to stop; then commits what is noted and leaves the group.

    `hand_over` is called on this thread with each happening, in order, and must only pass it on; at last, perhaps,
    with the error that ended the thread. Each but a `Revoked` takes a place in the `room`, given back when it has been
    taken on: few are on their way at a time.
    `topic_ids` looks topics' ids up, in bounded time; `event` reports one to the observer. A partition that the runtime
    does not release within `release_s` goes as one that is lost.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        hand_over: Callable[[Happening | BaseException], None],
        warn: Callable[[KafkaError], None],
        event: Callable[..., None],
        check: Callable[[], None],
        room: threading.Semaphore,
        topic_ids: Callable[[Collection[str]], Mapping[str, str]],
        release_s: float,
        transacts: bool,
        start: str = EARLIEST,
    ) -> None:
        """Take the consumer, which now belongs to this thread. With `transacts`, its place in the group is kept."""
        self._consumer = consumer
        self._hand_over = hand_over
        self._warn = warn
        self._event = event
        self._check = check
        self._release_s = release_s
        self._transacts = transacts
        self.owned = OwnedPartitions()
        self.waits = BlockingCalls()
        self._commits = Commits(consumer, self.owned, waits=self.waits, warn=warn)
        self._places = ConsumerPositions(
            consumer,
            self.owned,
            waits=self.waits,
            warn=warn,
            event=event,
            topic_ids=topic_ids,
            rewound=lambda partition: self._hand(Rewound(partition)),
            start=start,
        )
        self._collecting = False
        self._requests: deque[Callable[[], None]] = deque()
        self._paused: set[Partition] = set()
        self._room = room
        self._stopping = threading.Event()
        self._next_commit_s = 0.0
        self.member_id: str | None = None
        """By which the group knows this consumer, once it does. Read by other threads."""
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
        """Wait until the consumer is closed, and return whether it is."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def note(self, offsets: Mapping[Partition, int]) -> None:
        """Record what may be committed. Called by the loop."""
        self.owned.note(offsets)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Ask for partitions to be paused at the next turn. Called by the loop."""
        self._requests.append(partial(self._pause, list(partitions)))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Ask for partitions to be resumed at the next turn. Called by the loop."""
        self._requests.append(partial(self._resume, list(partitions)))

    def rewind(self, partition: Partition, offset: int) -> None:
        """Ask for a partition to be read again from an offset on, at the next turn. Called by the loop."""
        self._requests.append(partial(self._rewind, partition, offset))

    def identified(self, topic: str, topic_id: str) -> None:
        """Ask for a topic to be read as the one that it is now. Called by the watch of the topics."""
        self._requests.append(partial(self._identified, topic, topic_id))

    def committed(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        """Take the answer to a commit: the client's callback."""
        self._commits.answered(error, places)

    # --- The thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._prepare(self._stopping)
            self._consumer.subscribe(
                list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping.is_set():
                self._turn()
        except BaseException as error:  # noqa: BLE001 - the loop has to hear of it, whatever it is
            self._fail(error)
        finally:
            self._stopping.set()
            self._leave()

    def _fail(self, error: BaseException) -> None:
        with suppress(RuntimeError):  # A loop that is closed has nobody left who listens.
            # Before the group is left: what the runtime publishes then could come behind what the next owner does.
            self._give_up(frozenset(it.partition for it in self.owned.all()), lost=True)
            self._hand_over(error)

    def _turn(self) -> None:
        """Do what was asked, wait for a message, take what else is there, and hand it over."""
        while self._requests:
            self._requests.popleft()()
        if self._transacts or self.member_id is None:
            self._note_membership()
        self._places.settle()
        is_idle = self._places.are_settled and not self._paused
        with self.waits.on("poll"):
            first = self._consumer.poll(_IDLE_WAIT_S if is_idle else _WAIT_S)
        if first is not None:
            # poll returns a message as soon as there is one, so that it cannot stem from before a rebalance in the same
            # call. consume collects: what it returns may be older than an assignment that began meanwhile.
            self._collecting = True
            with self.waits.on("consume"):
                messages = [first, *self._consumer.consume(_BATCH_MAX, 0)]
            self._collecting = False
            self._pass_on(messages)
        if time.monotonic() >= self._next_commit_s:
            self._next_commit_s = time.monotonic() + _COMMIT_EVERY_S
            self._commits.send()
            self._check()

    def _pause(self, partitions: Iterable[Partition]) -> None:
        if current := self._current(partitions):
            with self.waits.on("pause"):
                self._consumer.pause(current)
            self._paused.update(Partition(it.topic, it.partition) for it in current)

    def _resume(self, partitions: Iterable[Partition]) -> None:
        if current := self._current(partitions):
            with self.waits.on("resume"):
                self._consumer.resume(current)
            self._paused.difference_update(Partition(it.topic, it.partition) for it in current)
            self._wake(current)

    def _wake(self, resumed: Sequence[TopicPartition]) -> None:
        """Let what was resumed be fetched at once.

        Where librdkafka fetches nothing else from a broker, it sleeps for up to a second and does not look whether
        anything was resumed meanwhile. A request to that broker, whatever it asks, wakes it.
        """
        asked = [TopicPartition(it.topic, it.partition, int(time.time() * 1000)) for it in resumed]
        with self.waits.on("offsets_for_times"), suppress(KafkaException):
            self._consumer.offsets_for_times(asked, timeout=_WAKE_S)

    def _current(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        # What is asked by the object of an earlier assignment must not pause the present one: nobody would resume it.
        return [TopicPartition(*it) for it in partitions if self.owned.of(it) is not None]

    def _rewind(self, partition: Partition, offset: int) -> None:
        if (owned := self.owned.of(partition)) is not None:
            owned.rewinding = True
            self._places.send_to(owned, offset)
            self._places.settle()

    def _pass_on(self, messages: Iterable[Any]) -> None:
        """Hand over what arrived, up to where offsets go back; what follows there is read again."""
        arrivals = sort(messages, self.owned, warn=self._warn)
        if arrivals.deliveries or arrivals.reached:
            self._hand(Batch(arrivals.deliveries, arrivals.reached))
        for regression in arrivals.regressions:
            self._went_back(regression)
        self._places.settle()

    def _hand(self, happening: Happening) -> None:
        if isinstance(happening, Revoked):
            # It has a deadline, and brings nothing that would need room.
            self._hand_over(happening)
            return
        with self.waits.on("the loop to take a batch"):
            while not self._room.acquire(timeout=_WAIT_S):
                if self._stopping.is_set():
                    return
        self._hand_over(happening)

    # --- Rebalances (called by librdkafka within poll, consume and close) -------------------------------------------

    def _on_assign(self, _consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        self._note_membership()
        partitions = [Partition(it.topic, it.partition) for it in places]
        begun = self._begin(partitions)
        starts = [TopicPartition(*it.partition, OFFSET_INVALID if it.target is None else it.target) for it in begun]
        with self.waits.on("assign"):
            self._consumer.incremental_assign(starts)
            # librdkafka keeps a pause over revoke and assign, under both group protocols. Whoever owned the partition
            # before may have paused it, and nobody would know of it any more.
            if starts:
                self._consumer.resume(starts)
        if begun:
            self._hand(Assigned(frozenset(it.partition for it in begun)))

    def _begin(self, partitions: Sequence[Partition]) -> list[OwnedPartition]:
        ids = self._places.look_up({it.topic for it in partitions})
        begun: list[OwnedPartition] = []
        self._paused.difference_update(partitions)
        for partition, target in zip(partitions, self._places.targets(partitions, ids), strict=True):
            certain = target is not None and not self._collecting
            owned = self.owned.begin(partition, topic_id=ids.get(partition.topic), target=target, placed=certain)
            if not certain:
                self._places.send_to(owned, target)
            begun.append(owned)
        return begun

    def _on_revoke(self, _consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        if self._transacts:
            self._note_membership()
        leaving = frozenset(Partition(it.topic, it.partition) for it in places)
        if self._give_up(leaving, lost=False):
            self._commits.send_all(leaving)
        self.owned.end(leaving)
        self._paused -= leaving

    def _on_lost(self, _consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        self.membership = self.member_id = None
        self._lose(frozenset(Partition(it.topic, it.partition) for it in places))

    def _lose(self, partitions: frozenset[Partition]) -> None:
        # What is noted is forgotten first: it must not be committed while the runtime lets go, nor afterwards.
        self.owned.end(partitions)
        self._paused -= partitions
        self._give_up(partitions, lost=True)

    def _note_membership(self) -> None:
        with self.waits.on("memberid"):
            self.member_id = self._consumer.memberid() or None
        # Who is no member would commit unfenced: to the broker, it is a client that knows nothing of groups.
        if self._transacts:
            self.membership = self._consumer.consumer_group_metadata() if self.member_id else None

    def _give_up(self, leaving: frozenset[Partition], *, lost: bool) -> bool:
        """Let the runtime finish what is in flight, for a bounded time; return whether it released the partitions."""
        if not leaving or self._stopping.is_set():
            return True
        released = threading.Event()
        self._hand(Revoked(leaving, lost=lost, release=released.set))
        until_s = time.monotonic() + self._release_s
        with self.waits.on("the runtime to release partitions"):
            while not released.wait(_WAIT_S) and not self._stopping.is_set():
                if time.monotonic() > until_s:
                    self._event("error", "partitions_not_released", count=len(leaving), after_s=self._release_s)
                    return False
        return True

    # --- Assignments that end although nobody revoked them --------------------------------------------------------

    def _went_back(self, regression: Regression) -> None:
        """Begin a new assignment where offsets go back: the topic was created again, or its log was cut off."""
        owned = regression.owned
        if self.owned.of(owned.partition) is not owned:
            return
        topic, number = owned.partition
        self._event(
            "warning",
            "offset_regression",
            topic=topic,
            partition=number,
            expected=regression.expected,
            actual=regression.actual,
        )
        self._begin_again([owned.partition], at_most=regression.actual)

    def _identified(self, topic: str, topic_id: str) -> None:
        """Begin new assignments of the partitions that were assigned when the topic was another one."""
        if stale := self.owned.identify(topic, topic_id):
            self._begin_again(stale)

    def _begin_again(self, partitions: Sequence[Partition], *, at_most: int | None = None) -> None:
        self._lose(frozenset(partitions))
        begun = self._begin([Partition(*it) for it in partitions])
        for owned in begun:
            target = owned.target if at_most is None or owned.target is None else min(owned.target, at_most)
            self._places.send_to(owned, target)
        self._consumer.resume([TopicPartition(*it.partition) for it in begun])
        self._hand(Assigned(frozenset(it.partition for it in begun)))

    def _leave(self) -> None:
        try:
            self._commits.send_all()
        finally:
            with self.waits.on("close"):
                self._consumer.close()
