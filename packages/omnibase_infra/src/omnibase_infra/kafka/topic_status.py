"""What the watch of the topics has seen: where partitions begin and end, what expired, who holds whom up."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from omnibase_core.ports import Partition
from omnibase_infra.kafka.owned_partitions import OffsetProgress, OwnedPartition

_OPEN_AFTER_S = 5.0
_SAMPLES_MAX = 32


class Ends(NamedTuple):
    """Where a partition's log begins and ends: offsets, and the monotonic time at which the broker was asked.

    Up to `stable_end` everything is decided; between it and `end` stand messages of transactions that are still open,
    and those behind them.
    """

    begin: int
    stable_end: int
    end: int
    as_of_s: float


class OpenTransaction(NamedTuple):
    """A transaction of somebody else that is open in front of a partition: how many messages wait, and since when."""

    messages: int
    for_s: float


@dataclass(frozen=True, slots=True)
class BusSurvey:
    """What is known of the topics and of the consumer. Partitions are those that this host owns.

    - `ends`: where each partition begins and ends.
    - `positions`: the offset after all that was delivered.
    - `gone`: topics that are not there any more.
    - `expired`: how many messages retention took before they were read, since the host started.
    - `open_transactions`: transactions that hold up partitions.
    - `waiting`: what the consumer's thread has been waiting for, where that is longer than a few seconds.
    - `group`: what the host waits for in its group: to be given partitions, or for a rebalance that takes long.
    """

    ends: Mapping[Partition, Ends] = field(default_factory=dict)
    positions: Mapping[Partition, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    expired: Mapping[Partition, int] = field(default_factory=dict)
    open_transactions: Mapping[Partition, OpenTransaction] = field(default_factory=dict)
    waiting: str | None = None
    group: str | None = None


class Surveyor:
    """Takes rounds, remembers them, and tells once of each thing worth knowing. One thread takes, others look."""

    def __init__(self, event: Callable[..., None]) -> None:
        """Remember nothing. `event` reports to the observer."""
        self._event = event
        self._lock = threading.Lock()
        self._histories: dict[Partition, _History] = {}
        self._ends: Mapping[Partition, Ends] = {}
        self._positions: Mapping[Partition, int] = {}
        self._expired: dict[Partition, int] = {}
        self._begins_told: dict[OwnedPartition, int] = {}
        self._standing_since_s: dict[Partition, float] = {}
        self._open: Mapping[Partition, OpenTransaction] = {}

    def take(self, standings: Sequence[OffsetProgress], ends: Mapping[Partition, Ends], now_s: float) -> None:
        """Take a round."""
        known = [(it, ends[it.owned.partition]) for it in standings if it.owned.partition in ends]
        positions_before = self._positions
        with self._lock:
            self._ends = dict(ends)
            self._positions = {it.owned.partition: it.position for it in standings if it.position is not None}
            histories = self._histories
            self._histories = {}
            for standing, its_ends in known:
                partition = standing.owned.partition
                history = histories.get(partition)
                if history is None or history.owned is not standing.owned:
                    history = _History(standing.owned)
                history.add(its_ends, standing.noted)
                self._histories[partition] = history
        self._look_for_expired(known, positions_before)
        self._look_for_open_transactions(known, now_s)

    def survey(self, gone: frozenset[str]) -> BusSurvey:
        """Return what is known now."""
        with self._lock:
            return BusSurvey(self._ends, self._positions, gone, dict(self._expired), self._open)

    def lag_s(self, partition: Partition, watermark: int) -> float:
        """Return for how long, at least, there has been a message at the watermark; 0.0 where there is none."""
        with self._lock:
            history = self._histories.get(partition)
            since_s = None if history is None else history.since_s(watermark)
            return 0.0 if since_s is None else time.monotonic() - since_s

    def _look_for_expired(self, known: Sequence[tuple[OffsetProgress, Ends]], before: Mapping[Partition, int]) -> None:
        """Report messages that retention took before they were read.

        Either the partition has stood before the log's beginning for a whole round, or it stood there until the client
        went on at the beginning: then its offsets have a jump across it. Other jumps are markers and the like.
        """
        told, self._begins_told = self._begins_told, {}
        for standing, ends in known:
            start = told.get(standing.owned, 0)
            if standing.jump is not None and standing.jump[0] < ends.begin <= standing.jump[1]:
                start = self._expire(standing, max(start, standing.jump[0]), ends.begin)
            if standing.position is not None and before.get(standing.owned.partition) == standing.position:
                start = self._expire(standing, max(start, standing.position), ends.begin)
            self._begins_told[standing.owned] = start

    def _expire(self, standing: OffsetProgress, start: int, begin: int) -> int:
        """Report the messages between two offsets, if there are any, and return up to where they are told."""
        if start >= begin:
            return start
        partition, count = standing.owned.partition, begin - start
        with self._lock:
            self._expired[partition] = self._expired.get(partition, 0) + count
        self._event("error", "records_expired", topic=partition.topic, partition=partition.number, count=count)
        return begin

    def _look_for_open_transactions(self, known: Sequence[tuple[OffsetProgress, Ends]], now_s: float) -> None:
        since_s: dict[Partition, float] = {}
        found: dict[Partition, OpenTransaction] = {}
        for standing, ends in known:
            partition = standing.owned.partition
            if standing.position is None or standing.position < ends.stable_end or ends.end <= ends.stable_end:
                continue
            since_s[partition] = self._standing_since_s.get(partition, now_s)
            if (for_s := now_s - since_s[partition]) >= _OPEN_AFTER_S:
                found[partition] = OpenTransaction(ends.end - ends.stable_end, for_s)
                if partition not in self._open:
                    self._tell_open(partition, found[partition])
        with self._lock:
            self._standing_since_s, self._open = since_s, found

    def _tell_open(self, partition: Partition, held: OpenTransaction) -> None:
        self._event(
            "warning",
            "open_transaction",
            topic=partition.topic,
            partition=partition.number,
            messages=held.messages,
            open_s=round(held.for_s, 1),
        )


class _History:
    """When a partition's stable end was seen where: a bounded number of samples, the older the sparser."""

    def __init__(self, owned: OwnedPartition) -> None:
        self.owned = owned
        self._samples: list[tuple[float, int]] = []

    def add(self, ends: Ends, noted: int | None) -> None:
        """Add what was seen, if it is new; drop what nobody asks for any more, since it is done."""
        if not self._samples or ends.stable_end != self._samples[-1][1]:
            self._samples.append((ends.as_of_s, ends.stable_end))
        if noted is not None:
            self._samples = [it for it in self._samples[:-1] if it[1] > noted] + self._samples[-1:]
        if len(self._samples) > _SAMPLES_MAX:
            # Every second is dropped, and never the oldest: it says for how long the oldest message has been there.
            self._samples = self._samples[:-1][::2] + self._samples[-1:]

    def since_s(self, watermark: int) -> float | None:
        """Return when the partition was first seen to reach beyond a watermark."""
        return next((at_s for at_s, stable_end in self._samples if stable_end > watermark), None)
