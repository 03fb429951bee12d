"""How much is taken and not yet done, per topic and in all, and which topics have to wait. Pure bookkeeping."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Literal

_FRUGALITY = 4
_REQUESTS = 4
"""Requests, and what waits for another host, are small and many: so many times the host's commands may wait."""
_REQUESTS_LEAST = 1000
"""A command may have a line of requests behind it: a host that is to take few commands needs room for their lines."""


@dataclass(frozen=True, slots=True)
class FlowChange:
    """Topics that may deliver nothing more for now, and topics that may again."""

    pause: frozenset[str]
    resume: frozenset[str]


class InFlightLimits:
    """Counts commands and their bytes. A full topic holds back itself alone; a full host holds back every topic.

    No topic fills the host: it may hold as much as it leaves free. So however many stand still, there is room for the
    others. Ports of a switch share its buffer like this: Choudhury and Hahne, "Dynamic queue length thresholds for
    shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998.

    What was held back goes on at half of its bound, so that a topic is not switched with every command.
    """

    def __init__(
        self,
        *,
        per_topic: Mapping[str, int | None],
        in_all: int,
        bytes_max: int,
        places: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Take the limit of each topic (None: only the host's limits hold) and those of the host.

        `places` is how many of a topic's commands may be under way at a time, where that is less than its limit.
        """
        self._limits = per_topic
        self._busy_at = {
            topic: inf if limit is None else min(limit / 2, 2 * places.get(topic, limit))
            for topic, limit in per_topic.items()
        }
        self._in_all = in_all
        self._bytes_max = bytes_max
        self._counts = dict.fromkeys(per_topic, 0)
        self._calls: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._sizes_bytes = dict.fromkeys(per_topic, 0)
        self._held: frozenset[str] = frozenset()
        self._full: set[str] = set()
        self._crowded: set[str] = set()
        self._needed = inf
        """How much of the host has to be free before a topic that is crowded out may go on, at the least."""
        self._resting: Counter[str] = Counter()
        self._host_full = False
        self.count = 0
        self.size_bytes = 0
        self.apart_count = 0
        self.apart_bytes = 0
        self._coming_bytes: Counter[str] = Counter()
        """Of what is apart: the answers that calls are going to bring, and those that wait for the broker."""

    def has_room(self, topic: str, *, apart: bool = False) -> bool:
        """Check whether one more may be taken that has to wait. Where not, its topic is held back from now on.

        What came in one batch may go beyond its topic's limit, up to a quarter of what is free: to send it back costs
        more. But `apart` may not: the host does not count it.
        """
        limit = self._limits[topic]
        if limit is None:
            # Requests, and what is parked, hold memory of their own, as much as everything else together may.
            count_max = max(_REQUESTS_LEAST, self._in_all * _REQUESTS)
            return self.apart_count < count_max and self.apart_bytes < self._bytes_max
        if apart:
            return self._counts[topic] < limit
        if self._counts[topic] >= limit:
            return _FRUGALITY * self._share_of(topic) < self._free
        if self._share_of(topic) < self._free:
            return True
        self._crowded.add(topic)
        self._needed = min(self._needed, 2 * self._share_of(topic))
        return False

    def take(self, topic: str, size_bytes: int, *, apart: bool = False) -> None:
        """Count a command that is taken; `apart` against its topic's limit alone.

        Apart is what may wait for another command to be taken: it must not keep that one out.
        """
        self._add(topic, 1, size_bytes, apart=apart)

    def give_back(
        self,
        topic: str,
        size_bytes: int,
        *,
        count: int = 1,
        answers: int = 0,
        answer_bytes: int = 0,
        apart: bool = False,
    ) -> None:
        """Count commands that are done or dropped, as they were taken, and those of them that were answered."""
        if answers:
            self._count_answer(topic, -answers, -answer_bytes, apart=apart)
        self._add(topic, -count, -size_bytes, apart=apart)
        if topic in self._crowded:
            self._needed = min(self._needed, 2 * self._share_of(topic))

    def answered(self, topic: str, size_bytes: int, *, apart: bool = False) -> None:
        """Count what is to be published for a command that is taken."""
        self._count_answer(topic, 1, size_bytes, apart=apart)
        self._add(topic, 0, size_bytes, apart=apart)

    def grow(self, topic: str, size_bytes: int, *, apart: bool = False) -> None:
        """Count what is published instead of it; below 0, what it is less."""
        self._count_answer(topic, 0, size_bytes, apart=apart)
        self._add(topic, 0, size_bytes, apart=apart)

    def reserve(self, topic: str, size_bytes: int, *, at_once: bool, apart: bool = False) -> bool:
        """Count what a call is going to bring, if there is room for it; return whether there is.

        A topic may reserve as much as it leaves free, as with what it takes. But `at_once`, and where nothing else of
        its topic is under way or waits for the broker, a call is let through: to wait for room that only itself could
        make would be to wait for ever. What is `apart` has as much room again, for answers alone.
        """
        if apart:
            return self._reserve_apart(topic, size_bytes, at_once=at_once)
        share = self._share(self._counts[topic], self._sizes_bytes[topic] + size_bytes)
        is_alone = not (self._calls[topic] or self._answers[topic])
        if not (at_once or is_alone) and share >= 1 - self._share(self.count, self.size_bytes + size_bytes):
            return False
        self._calls[topic] += 1
        self._add(topic, 0, size_bytes, apart=False)
        return True

    def unreserve(self, topic: str, size_bytes: int, *, apart: bool = False) -> None:
        """Take a reservation back: its call has ended."""
        if apart:
            self._coming_bytes[topic] -= size_bytes
            return
        self._calls[topic] -= 1
        self._add(topic, 0, -size_bytes, apart=False)

    def fits(self, size_bytes: int) -> int:
        """Return how many messages of a size one topic may hold at a time, at least 1."""
        return max(1, self._bytes_max // (2 * size_bytes))

    @property
    def room_bytes(self) -> int:
        """How many bytes more the host may hold, at least 0."""
        return max(0, self._bytes_max - self.size_bytes)

    def reason(self, topic: str) -> str | None:
        """Return why a topic is held back now; None where it is not."""
        if topic not in self._held:
            return None
        if topic in self._full:
            return f"node full: {self._counts[topic]} commands in flight"
        if topic in self._crowded:
            return "host nearly full: no capacity for more commands of this node"
        if topic in self._resting:
            return "rate limited after many dead letters"
        return f"host full: {self.count} commands, {self.size_bytes} bytes in flight"

    def pass_through(self, count: int, size_bytes: int) -> None:
        """Count commands that wait in no line, and so against the host's limits alone: taken, or, below 0, done."""
        self._add_to_host(count, size_bytes)

    def rest(self, topic: str, times: Literal[1, -1]) -> None:
        """Keep a topic back, whatever room there is, until each time it was asked for was taken back."""
        self._resting[topic] += times
        self._resting += Counter()  # Keeps those above 0.

    def share_of(self, topic: str, partitions: int) -> float:
        """Return how many commands of a busy topic one of its partitions may hold, for the others to have some, too."""
        limit = self._limits[topic]
        return inf if limit is None or partitions <= 1 else max(1, limit // partitions)

    def is_busy(self, topic: str) -> bool:
        """Whether a topic's partitions have to share: as many commands wait as are under way, or it is half full.

        From there on a partition gets no more than its share. Otherwise the one that is fetched first takes all room.
        """
        return self._counts[topic] >= self._busy_at[topic]

    def is_idle(self, topic: str) -> bool:
        """Whether a topic has so little that one of its partitions may have it all: it may be the only one in use."""
        return self._counts[topic] <= self._busy_at[topic] / 2

    def waiting(self, topic: str) -> int:
        """How many commands are counted against a topic."""
        return self._counts[topic]

    @property
    def held(self) -> frozenset[str]:
        """The topics that are held back now, as of the last `change`."""
        return self._held

    @property
    def full(self) -> bool:
        """Whether the host as a whole has no room."""
        return self._host_full

    def change(self, *, hold_all: bool = True) -> FlowChange | None:
        """Describe what has to be paused and resumed since the last call; None where nothing has.

        Without `hold_all`, a full host holds nothing back: whoever asks waits for room in another way.
        """
        if self._crowded and self._needed < self._free:
            self._let_in()
        held = frozenset(self._full | self._crowded | self._resting.keys())
        if self._host_full and hold_all:
            held = frozenset(self._limits)
        if held == self._held:
            return None
        change = FlowChange(pause=held - self._held, resume=self._held - held)
        self._held = held
        return change

    def _add(self, topic: str, count: int, size_bytes: int, *, apart: bool) -> None:
        if apart:
            self.apart_count += count
            self.apart_bytes += size_bytes
        else:
            self._add_to_host(count, size_bytes)
        self._sizes_bytes[topic] += size_bytes
        if count:
            self._counts[topic] += count
            if (limit := self._limits[topic]) is not None:
                self._mark(topic, self._counts[topic], limit)

    def _count_answer(self, topic: str, count: int, size_bytes: int, *, apart: bool) -> None:
        if apart:
            self._coming_bytes[topic] += size_bytes
        else:
            self._answers[topic] += count

    def _reserve_apart(self, topic: str, size_bytes: int, *, at_once: bool) -> bool:
        coming_bytes = self._coming_bytes[topic]
        free_bytes = self._bytes_max - self._coming_bytes.total() - size_bytes
        if coming_bytes and not at_once and coming_bytes + size_bytes >= free_bytes:
            return False
        self._coming_bytes[topic] += size_bytes
        return True

    def _add_to_host(self, count: int, size_bytes: int) -> None:
        self.count += count
        self.size_bytes += size_bytes
        if self._host_full:
            self._host_full = 2 * self.count > self._in_all or 2 * self.size_bytes > self._bytes_max
        else:
            self._host_full = self.count >= self._in_all or self.size_bytes >= self._bytes_max

    def _mark(self, topic: str, count: int, limit: int) -> None:
        if count >= limit:
            self._full.add(topic)
        elif count <= limit // 2:
            self._full.discard(topic)

    def _let_in(self) -> None:
        """Let those go on of which the host could now hold twice as much."""
        free = self._free
        self._crowded = {topic for topic in self._crowded if 2 * self._share_of(topic) >= free}
        self._needed = min((2 * self._share_of(topic) for topic in self._crowded), default=inf)

    def _share_of(self, topic: str) -> float:
        return self._share(self._counts[topic], self._sizes_bytes[topic])

    @property
    def _free(self) -> float:
        return 1 - self._share(self.count, self.size_bytes)

    def _share(self, count: int, size_bytes: int) -> float:
        """How much of the host that is, of 1: in commands or in bytes, whichever is more."""
        return max(count / self._in_all, size_bytes / self._bytes_max)
