"""A Kafka in virtual time: the consumer of one client, as hard as librdkafka's.

What is asked of it takes effect at its next turn. It keeps pauses of a partition over revoke and assign, jumps to the
beginning where its position is out of range, and hears of a topic that was created again a while later.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from omnibase_core.ports import Assigned, Batch, Delivery, Happening, Headers, Partition, Revoked, Rewound
from omnibase_core.testing.simulated_cluster import SimulatedCluster
from omnibase_core.testing.simulated_group import ConsumerGroup, Tenure

_NOTICED_WITHIN_S = 3.0
"""A client that asks for the id of a topic now and then notices a new one by then."""
UNREADABLE = "\udcff"
"""The name of a header that stands for bytes that are not UTF-8: then none of the headers can be read."""


@dataclass(eq=False)
class ConsumedPartition:
    """One assignment of a partition as the client knows it.

    `position` is where it reads on, `expected` the offset behind the last delivery. `noted` is what the runtime asked
    to commit, `sent` what is on its way, `acknowledged` what the broker has.
    """

    partition: Partition
    tenure: Tenure
    identity: int
    position: int
    expected: int | None = None
    reached: int | None = None
    noted: int | None = None
    sent: int | None = None
    acknowledged: int | None = None
    leaving: bool = False

    @property
    def due(self) -> int | None:
        """The offset that has yet to be committed; None while there is none, or one is on its way."""
        is_new = self.noted is not None and (self.acknowledged is None or self.noted > self.acknowledged)
        return self.noted if is_new and self.sent is None else None


class SimulatedConsumer:
    """Positions, pauses and commits of one client. `wake` lets the client take a turn."""

    def __init__(self, cluster: SimulatedCluster, group: ConsumerGroup, *, wake: Callable[[], None]) -> None:
        """Start without a partition."""
        self.held: dict[Partition, ConsumedPartition] = {}
        self.paused: set[Partition] = set()
        self.news: deque[Callable[[], Happening | None]] = deque()
        self._asked: deque[Callable[[], None]] = deque()
        self._cluster = cluster
        self._group = group
        self._wake = wake
        self._noticing: set[ConsumedPartition] = set()

    # --- What the runtime asks, by the partition object of an assignment ------------------------------------------

    def ask(self, what: Callable[[Sequence[ConsumedPartition]], None], partitions: Iterable[Partition]) -> None:
        """Do something with partitions at the next turn, as far as they are still held under the same assignment."""
        wanted = list(partitions)
        self._asked.append(lambda: what(self.current(wanted)))
        self._wake()

    def current(self, partitions: Iterable[Partition]) -> list[ConsumedPartition]:
        """Return what is held under exactly these objects."""
        found = [(self.held.get(partition), partition) for partition in partitions]
        return [held for held, partition in found if held is not None and held.partition is partition]

    def pause(self, partitions: Sequence[ConsumedPartition]) -> None:
        """Fetch nothing more of these."""
        self.paused.update(held.partition for held in partitions)

    def resume(self, partitions: Sequence[ConsumedPartition]) -> None:
        """Fetch these again."""
        self.paused.difference_update(held.partition for held in partitions)

    def rewind(self, offset: int, partitions: Sequence[ConsumedPartition]) -> None:
        """Read these again from an offset on."""
        for held in partitions:
            held.position, held.expected, held.reached = offset, offset, None
            self.news.append(partial(self._rewound, held))

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was asked, or has to be told, is still on its way."""
        return not (self._asked or self.news)

    def note(self, offsets: Mapping[Partition, int]) -> None:
        """Record offsets to commit: the largest of an assignment wins."""
        for held in self.current(offsets):
            held.noted = max(held.noted or 0, offsets[held.partition])

    # --- A turn ---------------------------------------------------------------------------------------------------

    def turn(self, room: int) -> Happening | None:
        """Do what was asked, then return the information as a result: news first, then records."""
        while self._asked:
            self._asked.popleft()()
        while self.news:
            if (happening := self.news.popleft()()) is not None:
                return happening
        return self._fetch(room)

    def _fetch(self, room: int) -> Batch | None:
        deliveries: list[Delivery] = []
        reached: dict[Partition, int] = {}
        for held in list(self.held.values()):
            if held.partition in self.paused or held.leaving or len(deliveries) >= room:
                continue
            for delivery in self._read(held, room - len(deliveries)):
                if held.expected is not None and delivery.offset < held.expected:
                    self.went_back(held)
                    break
                held.expected = delivery.offset + 1
                deliveries.append(delivery)
            else:
                self._note_end(held, reached)
        return Batch(deliveries, reached) if deliveries or reached else None

    def _read(self, held: ConsumedPartition, room: int) -> list[Delivery]:
        log = self._cluster.log(held.partition)
        if log is None:
            return []
        if log.identity != held.identity and held.position <= log.end:
            return []
        if not log.begin <= held.position <= log.end:
            # As with auto.offset.reset of earliest.
            held.position = log.begin
            if held.expected is None:
                held.identity = log.identity
        records, held.position = log.read(held.position, room)
        return [Delivery(held.partition, offset, it.key, it.value, *_headers_of(it.headers)) for offset, it in records]

    def _note_end(self, held: ConsumedPartition, reached: dict[Partition, int]) -> None:
        """Report a gap at the end once. Where nothing was delivered, a committed offset says what is below."""
        log = self._cluster.log(held.partition)
        if log is None or log.identity != held.identity or held.position != log.end or held.reached == held.position:
            return
        known = held.expected if held.expected is not None else self._group.committed.get(held.partition, 0)
        held.reached = held.position
        if held.position > known:
            reached[held.partition] = held.expected = held.position

    def watch(self, held: ConsumedPartition) -> None:
        """Hear, a while later, when the log of a partition is another one, whether or not it is fetched."""
        log = self._cluster.log(held.partition)
        if log is not None and log.identity != held.identity and held not in self._noticing:
            self._noticing.add(held)
            self._cluster.later(self._cluster.dice.between(0, _NOTICED_WITHIN_S), partial(self._recreated, held))

    def _recreated(self, held: ConsumedPartition) -> None:
        self._noticing.discard(held)
        if self.held.get(held.partition) is held:
            self.went_back(held, start=0)

    # --- Assignments ----------------------------------------------------------------------------------------------

    def went_back(self, held: ConsumedPartition, *, start: int | None = None) -> None:
        """End an assignment whose offsets went back by themselves, and begin another at the log's beginning."""
        lost = Revoked(frozenset({held.partition}), lost=True, release=lambda: None)

        def lose() -> Happening | None:
            # What is being revoked ends with that.
            return lost if not held.leaving and self.forget(held) else None

        def begin() -> Happening | None:
            if held.leaving or not self._group.is_current(held.tenure) or held.partition in self.held:
                return None
            return self.assigned([held.tenure], start=start if start is not None else self._begin_of(held.partition))

        self.news.extend((lose, begin))
        self._wake()

    def assigned(self, tenures: Sequence[Tenure], *, start: int | None = None) -> Assigned:
        """Begin assignments at the committed offsets, in a known state."""
        fresh = [self._held_of(tenure, start) for tenure in tenures]
        self.held.update({held.partition: held for held in fresh})
        self.start(fresh)
        return Assigned(frozenset(held.partition for held in fresh))

    def start(self, fresh: Sequence[ConsumedPartition]) -> None:
        """Begin to fetch: the client itself would keep what was paused under an earlier assignment."""
        self.paused.difference_update(held.partition for held in fresh)

    def forget(self, held: ConsumedPartition) -> bool:
        """End an assignment on this side; return whether it was still held."""
        if self.held.get(held.partition) is not held:
            return False
        del self.held[held.partition]
        return True

    def _held_of(self, tenure: Tenure, start: int | None) -> ConsumedPartition:
        partition = Partition(*tenure.partition)
        log = self._cluster.log(partition)
        position = self._group.committed.get(partition, 0) if start is None else start
        return ConsumedPartition(partition, tenure, log.identity if log is not None else 0, position)

    def _begin_of(self, partition: Partition) -> int:
        log = self._cluster.log(partition)
        return log.begin if log is not None else 0

    def _rewound(self, held: ConsumedPartition) -> Rewound | None:
        return Rewound(held.partition) if self.held.get(held.partition) is held else None


def _headers_of(headers: Headers) -> tuple[Headers, int, str | None]:
    """Return headers, time stamp and error of a delivery."""
    if any(name == UNREADABLE for name, _ in headers):
        return (), 0, "a header's name is not UTF-8"
    return tuple(headers), 0, None
