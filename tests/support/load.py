"""Commands of several nodes at rates of their own, for as long as a test goes on, and what came of them.

Of messages only what is judged is kept: ids, numbers and counts, so that hours of large ones fit into memory.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from confluent_kafka import Consumer, Producer, TopicPartition

from omnibase_core.codec import decode
from omnibase_core.ports import Message
from tests.support.commands import command

_SLICE_S = 0.25
_QUIET = {"log_level": 0}
_SIZES = 7
_FLUSH_S = 120
_SENDER = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "message.max.bytes": 2_000_000,
    "partitioner": "murmur2_random",
    "reconnect.backoff.max.ms": 1000,
    "queue.buffering.max.kbytes": 65_536,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Commands to one node: so many a second, of so many keys, with up to so many bytes of text in them."""

    slug: str
    topic: str
    per_s: float
    keys: int = 100
    text_bytes: int = 0

    def commands(self, numbers: Iterable[int]) -> Iterator[tuple[UUID, Message]]:
        """Yield commands by their ids."""
        for n in numbers:
            identity = uuid4()
            payload = {"n": n, "text": "x" * (self.text_bytes * (n % _SIZES + 1) // _SIZES)}
            yield identity, command(self.topic, self.slug, payload, key=b"%d" % (n % self.keys), envelope_id=identity)


class Load:
    """Sends the flows from a thread of its own until it is stopped; a broker that is away is waited for."""

    def __init__(self, broker: str, flows: Sequence[Flow]) -> None:
        """Start to send."""
        self.sent: dict[str, set[UUID]] = {flow.slug: set() for flow in flows}
        self._flows = flows
        self._refused: list[object] = []
        self._client = Producer({"bootstrap.servers": broker, **_SENDER, **_QUIET})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send nothing more, whatever became of what was sent."""
        self._stopping.set()

    def stop(self) -> set[UUID]:
        """Stop, wait until the broker has everything, and give the ids of all commands."""
        self._stopping.set()
        self._thread.join()
        assert self._client.flush(_FLUSH_S) == 0
        assert not self._refused, self._refused[:3]
        return set().union(*self.sent.values())

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stopping.wait(_SLICE_S):
            elapsed_s = time.monotonic() - began_s
            for flow in self._flows:
                sent = self.sent[flow.slug]
                for identity, message in flow.commands(range(len(sent), int(flow.per_s * elapsed_s))):
                    sent.add(identity)
                    self._send(message)

    def _send(self, message: Message) -> None:
        while True:
            try:
                self._client.produce(message.topic, message.value, message.key, on_delivery=self._delivered)
            except BufferError:
                self._client.poll(0.1)
            else:
                self._client.poll(0)
                return

    def _delivered(self, error: object, _: object) -> None:
        if error is not None:
            self._refused.append(error)


@dataclass(slots=True)
class Tally:
    """What came of commands: answers by cause, errors among them, and first answers that came out of order."""

    counts: Counter[UUID] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    disordered: Counter[str] = field(default_factory=Counter)
    _last: dict[tuple[str, bytes], int] = field(default_factory=dict)

    def take(self, topic: str, key: bytes, value: bytes) -> None:
        """Count an answer."""
        answer = decode(value)
        assert answer.causation_id is not None
        self.counts[answer.causation_id] += 1
        if answer.error is not None:
            self.errors[f"{answer.node_slug}: {answer.error.code}"] += 1
        elif self.counts[answer.causation_id] == 1:
            number, last = answer.payload["n"], self._last.get((topic, key), -1)
            assert isinstance(number, int)
            self.disordered[answer.node_slug] += number < last
            self._last[topic, key] = max(number, last)

    @property
    def repeats(self) -> int:
        """How many answers came again."""
        return self.counts.total() - len(self.counts)


class TallyReader:
    """Reads answers, and published records by their header, from the beginning of their topics, and tallies them."""

    def __init__(self, broker: str, answers: Sequence[str], records: str) -> None:
        """Take every partition. It reads what is committed, and nothing else."""
        self.tally = Tally()
        self.records: Counter[UUID] = Counter()
        self._record_topic = records
        self._client = Consumer(
            {"bootstrap.servers": broker, "group.id": "tests", "enable.auto.commit": False, **_QUIET}
        )
        there = self._client.list_topics(timeout=30).topics
        topics = [*answers, records]
        self._client.assign([TopicPartition(it, number, 0) for it in topics for number in there[it].partitions])

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def read(self) -> int:
        """Tally what has come, and give how much."""
        arrived = [it for it in self._client.consume(500, 0.2) if it.error() is None]
        for message in arrived:
            if message.topic() == self._record_topic:
                self.records[UUID(dict(message.headers())["onex-causation-id"].decode())] += 1
            else:
                self.tally.take(message.topic(), message.key(), message.value())
        return len(arrived)

    def until_answered(self, commands: set[UUID], *, quiet_s: float) -> set[UUID]:
        """Read until each command has its answer, or nothing came for so long; give those without."""
        last_s = time.monotonic()
        while (missing := commands - self.tally.counts.keys()) and time.monotonic() < last_s + quiet_s:
            last_s = time.monotonic() if self.read() else last_s
        return missing

    def until_quiet(self, *, for_s: float = 2.0) -> None:
        """Read on until nothing has come for a while."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            if self.read():
                until_s = time.monotonic() + for_s


def leave_gaps(broker: str, topics: Sequence[str]) -> None:
    """Write to every partition of the topics in a transaction, and abort it: only a gap remains."""
    client = Producer({"bootstrap.servers": broker, "transactional.id": f"tests-{uuid4()}", **_QUIET})
    client.init_transactions(30)
    there = client.list_topics(timeout=30).topics
    client.begin_transaction()
    for topic in topics:
        for number in there[topic].partitions:
            client.produce(topic, b"never sent", partition=number)
    client.flush(30)
    client.abort_transaction(30)
    client.close()
