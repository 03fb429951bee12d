"""The load: topics, commands of about 450 bytes, a steady sender, answers and their times, and a backlog that waits."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic

from omnibase_core.ports import Headers
from tests.support.processes import until

COMMAND_BYTES = 450
KEYS = 1000
TOPICS_AT_ONCE = 100
_QUIET = {"log_level": 0}
_ANSWERS_STAMPED = {"message.timestamp.type": "LogAppendTime"}
"""The broker's own clock: some clients pass the time stamp of the command on."""


@dataclass(frozen=True)
class Route:
    """A node: its name, where its commands come from and where its answers go."""

    node: str
    commands: str
    answers: str


@dataclass
class Answers:
    """What was read of answer topics: which command each is for, and when the broker had the first."""

    stamps_ms: dict[str, int] = field(default_factory=dict)
    repeats: int = 0


class Load:
    """A sender and a reader for one contestant.

    `positions` is where its answers were read to in earlier runs, `headers` what each command carries.
    """

    def __init__(
        self, broker: str, routes: Sequence[Route], positions: dict[tuple[str, int], int], headers: Headers = ()
    ) -> None:
        """Connect. Answers will be read on from the positions."""
        self._headers = list(headers)
        self._address = broker
        self._routes = routes
        self._positions = positions
        self._random = Random(1)  # noqa: S311 - the same keys for everyone
        self._admin = AdminClient({"bootstrap.servers": broker, **_QUIET})
        self._producer = Producer({"bootstrap.servers": broker, "linger.ms": 0, **_QUIET})
        # A request carries the messages of one partition: those of 500 have to be collected for a while.
        self._bulk = Producer(
            {"bootstrap.servers": broker, "linger.ms": 1000, "queue.buffering.max.messages": 1_000_000, **_QUIET}
        )
        self._reader = Consumer(
            {"bootstrap.servers": broker, "group.id": "benchmarks", "enable.auto.commit": False, **_QUIET}
        )
        there = self._admin.list_topics(timeout=30).topics
        self._places = [(it.answers, number) for it in routes for number in there[it.answers].partitions]
        self.partitions = sum(len(there[it.commands].partitions) for it in routes)

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()
        self._producer.close()
        self._bulk.close()

    def probe(self) -> set[str]:
        """Send one command to each node, and give their ids."""
        return {self._send(n) for n in range(len(self._routes))}

    def answered(self, ids: set[str], *, within_s: float) -> Answers:
        """Read until each of these commands has its answer.

        Nobody fetches answers before: a consumer of hundreds of partitions keeps the broker busier than the load does,
        also one that is not polled.
        """
        found = Answers()
        self._reader.assign([TopicPartition(*place, self._positions.get(place, 0)) for place in self._places])
        until(lambda: self._read(found, ids, 0.05), within_s=within_s, what=f"{len(ids)} answers")
        self._reader.unassign()
        return found

    def steady(self, *, per_second: int, seconds: float) -> list[float]:
        """Send at a steady pace, and give how long each answer took, from before the send to the broker's stamp, in ms.

        Nothing is read meanwhile. The stamp is in whole milliseconds, so half of one is added.
        """
        sent_ms: dict[str, float] = {}
        began = time.perf_counter()
        for n in range(int(per_second * seconds)):
            time.sleep(max(0.0, began + n / per_second - time.perf_counter()))
            moment_ns = time.time_ns()
            sent_ms[self._send(n, moment_ns)] = moment_ns / 1e6
        found = self.answered(set(sent_ms), within_s=60)
        return [found.stamps_ms[it] + 0.5 - moment_ms for it, moment_ms in sent_ms.items()]

    def pile_up(self, count: int) -> set[str]:
        """Publish commands, spread evenly over nodes and keys, until the broker has them all."""
        ids = {self._send(n, client=self._bulk) for n in range(count)}
        assert self._bulk.flush(120) == 0
        return ids

    def answers_at_the_broker(self) -> int:
        """Count the answers that the broker has and that were not read here, without reading them."""
        wanted = {TopicPartition(*place): OffsetSpec.latest() for place in self._places}
        ends = self._admin.list_offsets(wanted)
        return sum(
            ends[place].result().offset - self._positions.get((place.topic, place.partition), 0) for place in wanted
        )

    def uncommitted(self, group: str, routes: Sequence[Route]) -> int:
        """Count the commands that a group has not committed."""
        topics = {it.commands for it in routes}
        there = self._admin.list_topics(timeout=30).topics
        places = [TopicPartition(topic, number) for topic in topics for number in there[topic].partitions]
        ends = self._admin.list_offsets({place: OffsetSpec.latest() for place in places})
        reader = Consumer({"bootstrap.servers": self._address, "group.id": group, **_QUIET})
        committed = {(it.topic, it.partition): max(it.offset, 0) for it in reader.committed(places, timeout=30)}
        reader.close()
        return sum(ends[it].result().offset - committed[it.topic, it.partition] for it in places)

    def _send(self, n: int, sent_ns: int = 0, *, client: Producer | None = None) -> str:
        route = self._routes[n % len(self._routes)]
        identity, data = command(route.node, n, sent_ns)
        client = client or self._producer
        client.produce(route.commands, data, b"%d" % self._random.randrange(KEYS), headers=self._headers)
        client.poll(0)
        return identity

    def _read(self, found: Answers, ids: set[str], timeout_s: float) -> bool:
        """Read what is there, and say whether all of these commands are answered now."""
        message = self._reader.poll(timeout_s)
        while message is not None:
            assert message.error() is None, message.error()
            self._positions[message.topic(), message.partition()] = message.offset() + 1
            identity = json.loads(message.value())["causation_id"]
            if identity in ids:
                found.repeats += identity in found.stamps_ms
                found.stamps_ms.setdefault(identity, message.timestamp()[1])
            message = self._reader.poll(0)
        return ids <= found.stamps_ms.keys()


def command(node: str, n: int, sent_ns: int = 0) -> tuple[str, bytes]:
    """Make a command whose payload fills it up to its size, and give its id with it."""
    identity = str(uuid4())
    envelope = {
        "envelope_version": 1,
        "envelope_id": identity,
        "correlation_id": identity,
        "node_slug": node,
        "operation": "echo",
        "payload": {"n": n, "sent_ns": sent_ns, "text": ""},
        "metadata": {},
        "timestamp": "2026-01-01T00:00:00Z",
    }
    missing = COMMAND_BYTES - len(json.dumps(envelope, separators=(",", ":")))
    envelope["payload"] = {"n": n, "sent_ns": sent_ns, "text": "x" * max(missing, 0)}
    return identity, json.dumps(envelope, separators=(",", ":")).encode()


def create(broker: str, routes: Sequence[Route], *, partitions: int) -> None:
    """Create the topics of nodes, some hundred at a time."""
    admin = AdminClient({"bootstrap.servers": broker, **_QUIET})
    topics = [NewTopic(it.commands, partitions, 1) for it in routes]
    topics += [NewTopic(it.answers, partitions, 1, config=_ANSWERS_STAMPED) for it in routes]
    for start in range(0, len(topics), TOPICS_AT_ONCE):
        some = topics[start : start + TOPICS_AT_ONCE]
        for future in admin.create_topics(some, operation_timeout=60, request_timeout=90).values():
            future.result()
    names = {it.topic for it in topics}
    until(lambda: names <= admin.list_topics(timeout=30).topics.keys(), within_s=120, what=f"{len(names)} topics")
