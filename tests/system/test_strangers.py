"""Hostile messages on real Kafka, at a steady rate beside a neighbour: each ends, and the neighbour has its answers."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random
from statistics import quantiles
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Producer

from omnibase_core.codec import decode
from omnibase_core.dead_letters import size_of
from omnibase_core.ports import Message
from tests.support.commands import command
from tests.support.hosts import POOL, Machine, RunningHost, echo_nodes
from tests.support.processes import until
from tests.support.raw_produce import produce_raw
from tests.support.strangers import LIMITS, RESULT, at_the_limit, strange_node, stranger, written
from tests.support.traffic import Reader, committed, create_topics, ends

NODES = ("strange", "quiet")
DRAWN = 500
TICK_S = 0.01
"""A command to the neighbour is sent in each, a stranger in every second one."""
BYTES_MAX = 1_000_000
"""A larger message no broker takes that nobody has configured."""
P99_MAX_S = 0.25
TRIES = 3
Place = tuple[int, int]


class Round:
    """Strangers on their way to one node, and commands to its neighbour; what became of them is read by place."""

    def __init__(self, machine: Machine, seed: int) -> None:
        """Draw the strangers."""
        self._machine = machine
        self.commands = f"onex.app.test.{machine.tenant}.cmd.node.strange.v1"
        self.neighbour = self.commands.replace("strange", "quiet")
        random = Random(seed)  # noqa: S311 - an order that can be had again
        messages = {name: at_the_limit(name, self.commands, "strange", uuid4()).message for name in LIMITS}
        messages |= {f"drawn {n}": stranger(random, self.commands, "strange", uuid4()) for n in range(DRAWN)}
        self.messages = {name: it for name, it in messages.items() if size_of(it) < BYTES_MAX}
        self.places: dict[str, Place] = {}
        self.quiet: list[Place] = []

    def play(self) -> None:
        """Send everything at its rate, and what no client sends: headers whose names are not UTF-8."""
        client = Producer({"bootstrap.servers": self._machine.broker, "message.max.bytes": 2_000_000, "log_level": 0})
        due_s = time.monotonic()
        for name, message in self.messages.items():
            for _ in range(2):
                _send(client, command(self.neighbour, "quiet", {}, key=b"k", envelope_id=uuid4()), self.quiet.append)
                due_s += TICK_S
                client.poll(max(0.0, due_s - time.monotonic()))
            _send(client, message, lambda place, name=name: self.places.__setitem__(name, place))
        for number in range(4):
            value = written("strange", uuid4(), {"text": "a"})
            offset = produce_raw(self._machine.broker, self.commands, number, b"k", value, [(b"\xff", b"x")])
            self.places[f"unreadable {number}"] = (number, offset)
        assert client.flush(60) == 0
        assert self.places.keys() >= self.messages.keys()

    def until_committed(self) -> None:
        """Wait until the host has nothing left to do."""
        group, topics = f"onex.test.{self._machine.tenant}.{POOL}", [self.commands, self.neighbour]
        all_of_it = ends(self._machine.broker, topics)
        until(lambda: committed(self._machine.broker, group, topics) == all_of_it, within_s=60, what="no lag")

    def endings(self) -> dict[str, set[str]]:
        """Return by which codes each stranger has ended."""
        letters = f"onex.app.test.{self._machine.tenant}.dlq.runtime.{POOL}.v1"
        found: defaultdict[Place, set[str]] = defaultdict(set)
        asked: dict[UUID, Place] = {}
        for record in _all(self._machine, self.commands):
            if record.value() and b'"envelope_id": "' in record.value():
                identity = record.value().partition(b'"envelope_id": "')[2][:36].decode(errors="replace")
                if len(identity) == 36 and identity.count("-") == 4:
                    asked[UUID(identity)] = (record.partition(), record.offset())
        for record in _all(self._machine, self.commands.replace(".cmd.", ".evt.")):
            answer = decode(record.value())
            assert answer.causation_id is not None
            found[asked[answer.causation_id]].add(RESULT if answer.error is None else answer.error.code)
        for record in _all(self._machine, letters):
            facts = dict(record.headers())
            if facts["onex-dlq-topic"] == self.commands.encode():
                place = (int(facts["onex-dlq-partition"]), int(facts["onex-dlq-offset"]))
                found[place].add(facts["onex-dlq-code"].decode())
        return {name: found[place] for name, place in self.places.items()}

    def latencies_s(self) -> Sequence[float]:
        """Return how long the neighbour took for each command, by the broker's clock alone."""
        sent = {decode(it.value()).envelope_id: it for it in _all(self._machine, self.neighbour)}
        answers = _all(self._machine, self.neighbour.replace(".cmd.", ".evt."))
        came = {decode(it.value()).causation_id: it for it in answers}
        places = set(self.quiet)
        mine = {key: it for key, it in sent.items() if (it.partition(), it.offset()) in places}
        assert mine.keys() <= came.keys()
        return [(came[key].timestamp()[1] - it.timestamp()[1]) / 1000 for key, it in mine.items()]


@pytest.fixture
def host(machine: Machine) -> Iterator[RunningHost]:
    """Yield a host of a node for strangers and its neighbour; it lives until the end of the test."""
    machine.write({"strange": strange_node("strange", handler="local"), **echo_nodes(["quiet"])})
    topics = [f"onex.app.test.{machine.tenant}.{kind}.node.{it}.v1" for kind in ("cmd", "evt") for it in NODES]
    create_topics(machine.broker, topics, **{"message.timestamp.type": "LogAppendTime"})
    found = machine.start()
    found.until_ready(partitions=8)
    yield found
    assert found.child.stop() == 0


def test_each_stranger_ends_and_the_neighbour_is_served_in_time(
    machine: Machine, host: RunningHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those at a limit as it says, all as an answer or a dead letter; a busy machine has more tries to be in time."""
    p99s_s: list[float] = []
    for seed in range(TRIES):
        played = Round(machine, seed)
        played.play()
        played.until_committed()
        endings = played.endings()
        assert not [name for name, codes in endings.items() if not codes]
        assert {name: endings[name] for name in LIMITS} == {name: {case.ends} for name, case in LIMITS.items()}
        assert all(codes == {"headers_unreadable"} for name, codes in endings.items() if name.startswith("unreadable"))
        p99s_s.append(quantiles(played.latencies_s(), n=100)[98])
        with capsys.disabled():
            print(f"\n{len(endings)} strangers, {len(played.quiet)} commands to a neighbour, p99 {p99s_s[-1]:.3f} s")
        if p99s_s[-1] <= P99_MAX_S:
            break
    assert min(p99s_s) <= P99_MAX_S, p99s_s
    report = host.health()
    assert report["nodes"]["quiet"]["state"] == "ok"
    assert report["nodes"]["quiet"]["dead_letters"] == 0
    assert not host.events("command_internal_error")
    assert max(len(str(line)) for line in host.lines()) < 8000


def _send(client: Producer, message: Message, note: Any) -> None:
    """Produce a message, and note its place once the broker has it."""

    def delivered(error: object, record: Any) -> None:
        assert error is None, error
        note((record.partition(), record.offset()))

    headers: Any = list(message.headers)
    client.produce(message.topic, message.value, message.key, headers=headers, on_delivery=delivered)


def _all(machine: Machine, topic: str) -> Sequence[Any]:
    """Return all records of a topic."""
    count = sum(ends(machine.broker, [topic]).values())
    with Reader(machine.broker, [topic]) as reader:
        return reader.until(lambda it: len(it) >= count, within_s=30)
