"""Watches the host's topics from a thread of its own: what happened to them, and where their partitions end.

The group that reads them is looked at on the same thread, more often while the host waits for it.

It asks the broker every few seconds, each time for a bounded time, and never waits for the consumer. What is worth
knowing is told once, with numbers; `KafkaBus.survey` shows the rest.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from omnibase_core.errors import described
from omnibase_core.ports import Partition
from omnibase_infra.kafka.blocking_calls import BlockingCalls
from omnibase_infra.kafka.group_status import GroupWatch, Members
from omnibase_infra.kafka.owned_partitions import OffsetProgress
from omnibase_infra.kafka.topic_status import BusSurvey, Ends, Surveyor

T = TypeVar("T")

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_TICK_S = 1.0
_EVERY_S = 2.0
_IDLE_SHARE = 100
"""A round is followed by a pause that is so many times longer: 500 topics take 0.2 s of CPU time to look at."""
_PAUSE_MOST_S = 30.0
_ASK_S = 5.0
_LOOK_UP_S = 2.0
_LONG_WAIT_S = 10.0
_GONE_AFTER = 3
"""So many rounds in a row say that a topic is gone: a broker that has just started may not know of it yet."""


class TopicWatch:
    """Looks at topics and partitions until it is stopped. `event` reports to the observer, from any thread."""

    def __init__(
        self, config: Mapping[str, Any], topics: Sequence[str], *, group: GroupWatch, event: Callable[..., None]
    ) -> None:
        """Start nothing yet: `start` does."""
        self._admin: AdminClient | None = AdminClient(dict(config))
        self._topics = topics
        self._group = group
        self._event = event
        self._surveyor = Surveyor(event)
        self._ids: dict[str, str] = {}
        self._misses: dict[str, int] = {}
        self._told: set[tuple[str, float]] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-topic-watch", daemon=True)

    def start(
        self,
        *,
        standings: Callable[[], Sequence[OffsetProgress]],
        identified: Callable[[str, str], None],
        waits: Sequence[BlockingCalls],
        members: Callable[[], Members],
    ) -> None:
        """Begin with the first round.

        `standings` gives where the consumers stand with each owned partition. `identified` is called with a topic and
        its id where a partition was assigned under another id, or under none. `waits` are the consumers', and `members`
        says which of the group's members they are.
        """
        self._standings = standings
        self._identified = identified
        self._waits = waits
        self._members = members
        self._thread.start()

    def stop(self, *, within_s: float) -> None:
        """End the thread, which disconnects the client, and wait for it for a bounded time."""
        self._stopping.set()
        self._thread.join(within_s)

    def survey(self) -> BusSurvey:
        """Return what the last round has seen."""
        gone = frozenset(it for it, count in self._misses.items() if count >= _GONE_AFTER)
        return replace(self._surveyor.survey(gone), group=self._group.survey(self._members().owned))

    def lag_s(self, partition: Partition, watermark: int) -> float:
        """Return for how long, at least, there has been a message at the watermark; 0.0 where there is none."""
        return self._surveyor.lag_s(partition, watermark)

    def ids_of(self, topics: Collection[str]) -> Mapping[str, str]:
        """Look the topics' ids up; the ones that are known already where the broker does not answer. Any thread's."""
        try:
            described = self._describe(topics, within_s=_LOOK_UP_S)
        except KafkaException:
            described = {}
        found = {topic: identity for topic, identity in described.items() if identity is not None}
        for topic, identity in found.items():
            self._ids.setdefault(topic, identity)
        return {**{it: self._ids[it] for it in topics if it in self._ids}, **found}

    # --- The thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        topics_s = group_s = 0.0
        while not self._stopping.is_set():
            self._look_at_waits()
            if self._group.waits or time.monotonic() >= group_s:
                group_s = self._round(self._look_at_group)
            if time.monotonic() >= topics_s:
                topics_s = self._round(self._look)
            self._stopping.wait(_TICK_S)
        self._admin = None  # It is disconnected here, whoever still holds this.

    def _round(self, look: Callable[[], None]) -> float:
        """Look, whatever comes of it, and return when the next time is due."""
        begun_s = time.monotonic()
        try:
            look()
        except KafkaException:
            pass  # The broker is away, or busy: the next round will tell.
        except Exception as error:  # noqa: BLE001 - a watch that has ended would say nothing for ever
            self._event("error", "topic_watch_failed", reason=described(error))
        took_s = time.monotonic() - begun_s
        return begun_s + min(max(_EVERY_S, took_s * _IDLE_SHARE), _PAUSE_MOST_S)

    def _look_at_group(self) -> None:
        if self._admin is not None:
            self._group.look(self._admin, self._members())

    def _look_at_waits(self) -> None:
        """Report each wait, once, that is so long that the client may never come back from it."""
        now_s = time.monotonic()
        current = [wait for it in self._waits if (wait := it.current) is not None]
        long = {wait for wait in current if now_s - wait[1] >= _LONG_WAIT_S}
        for name, since_s in long - self._told:
            self._event("error", "consumer_stuck", call=name, waited_s=round(now_s - since_s, 1))
        self._told = long

    def _look(self) -> None:
        """Make one round."""
        for topic, identity in self._describe(self._topics, within_s=_ASK_S).items():
            self._note_topic(topic, identity)
        standings = self._standings()
        assigned_as = {(it.owned.partition.topic, it.owned.topic_id) for it in standings}
        for topic, identity in assigned_as:
            if topic in self._ids and self._ids[topic] != identity:
                self._identified(topic, self._ids[topic])
        partitions = [it.owned.partition for it in standings]
        self._surveyor.take(standings, self._ends_of(partitions), time.monotonic())

    def _describe(self, topics: Collection[str], *, within_s: float) -> dict[str, str | None]:
        """Return the topics' ids, None for one that is not there; nothing of those that the broker does not describe.

        Raises KafkaException where it describes none.
        """
        if not topics or self._admin is None:
            return {}
        described: dict[str, str | None] = {}
        failure: KafkaException | None = None
        asked = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=within_s)
        for topic, future in asked.items():
            try:
                described[topic] = str(_result(future, within_s).topic_id)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    described[topic] = None
                failure = error
        if failure is not None and not described:
            raise failure
        return described

    def _note_topic(self, topic: str, identity: str | None) -> None:
        known = self._ids.get(topic)
        if identity is None:
            # Before its first sight it is one that the host is about to create.
            if known is not None:
                self._misses[topic] = self._misses.get(topic, 0) + 1
                if self._misses[topic] == _GONE_AFTER:
                    self._event("error", "topic_missing", topic=topic)
            return
        if self._misses.pop(topic, 0) >= _GONE_AFTER:
            self._event("info", "topic_restored", topic=topic)
        self._ids[topic] = identity
        if known is not None and known != identity:
            self._event("warning", "topic_recreated", topic=topic, reading="from its beginning")

    def _ends_of(self, partitions: Sequence[Partition]) -> dict[Partition, Ends]:
        """Ask where the partitions begin and end, in three requests; those without an answer are left out."""
        if not partitions:
            return {}
        as_of_s = time.monotonic()
        begins = self._offsets(partitions, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        stable = self._offsets(partitions, _LATEST, IsolationLevel.READ_COMMITTED)
        ends = self._offsets(partitions, _LATEST, IsolationLevel.READ_UNCOMMITTED)
        return {
            it: Ends(begins[it], stable[it], ends[it], as_of_s)
            for it in partitions
            if it in begins and it in stable and it in ends
        }

    def _offsets(
        self, partitions: Sequence[Partition], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[Partition, int]:
        if self._admin is None:
            return {}
        asked = self._admin.list_offsets(
            {TopicPartition(*it): spec for it in partitions}, isolation_level=isolation, request_timeout=_ASK_S
        )
        found: dict[Partition, int] = {}
        for place, future in asked.items():
            with suppress(KafkaException):
                found[Partition(place.topic, place.partition)] = _result(future, _ASK_S).offset
        return found


def _result(future: "Future[T]", within_s: float) -> T:
    """Return what the client answers; it keeps to the time itself, and this bounds a client that does not."""
    try:
        return future.result(within_s + 1)
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
