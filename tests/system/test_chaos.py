"""Three hosts of one pool, killed and stopped while commands stream through: nothing lost, nothing out of order.

Every second key's commands go to a node that publishes a record for each, through the kafka handler.

`CHAOS_COMMANDS` and `CHAOS_S` make it longer than it is in the ordinary suite.
"""

import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count
from uuid import UUID, uuid4

import pytest

from omnibase_core.codec import decode
from omnibase_core.ports import Message
from tests.gear.brokers import ApacheKafka, Broker
from tests.gear.commands import command
from tests.gear.hosts import Machine, RunningHost, echo_nodes
from tests.gear.traffic import Reader, create_topics, disordered, publish

COMMANDS = int(os.environ.get("CHAOS_COMMANDS", "20000"))
LENGTH_S = float(os.environ.get("CHAOS_S", "20"))
KEYS = 500
HOSTS = 3
PARTITIONS = 12
SLICE = 500
AUDIT = """
contract: node/v1
name: audit
kind: effect
version: 1.0.0
description: Publishes what it is sent.
handler: kafka
target: trail
operations:
  record:
    input: {type: object}
    request: {key: "${ string(payload.n) }", json: "${ payload }"}
    answer: "${ payload }"
"""


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_three_hosts_under_kill_and_stop_lose_nothing_and_keep_the_order(
    machine: Machine, kafka: Broker, capsys: pytest.CaptureFixture[str], guarantee: str
) -> None:
    """Every command has its answer; per key, first answers come in the order of the commands; repeats are counted.

    With exactly_once there are none, for a reader of what is committed; neither of answers nor of published records.
    """
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}: a group member that was killed is never evicted there")
    names = f"onex.app.test.{machine.tenant}"
    records = f"{machine.tenant}.audit"
    answers = [f"{names}.evt.node.{slug}.v1" for slug in ("echo", "audit")]
    topics = [f"{names}.cmd.node.{slug}.v1" for slug in ("echo", "audit")]
    create_topics(machine.broker, [*topics, *answers, records], partitions=PARTITIONS)
    bound = {"kafka": {"targets": {"trail": {"topics": [records]}}}}
    machine.write({**echo_nodes(["echo"]), "audit": AUDIT}, guarantee=guarantee, handlers=bound)
    hosts = [machine.start() for _ in range(HOSTS)]
    for host in hosts:
        host.until_started()
    messages = [
        command(topics[n % 2], ("echo", "audit")[n % 2], {"n": n}, key=b"%d" % (n % KEYS), envelope_id=uuid4())
        for n in range(COMMANDS)
    ]
    sender = threading.Thread(target=_stream, args=(machine.broker, messages))
    sender.start()
    faults = _torment(machine, hosts, until_s=time.monotonic() + LENGTH_S)
    sender.join()
    with Reader(machine.broker, answers) as reader:
        wanted = {decode(it.value).envelope_id for it in messages}
        reader.until_answered(wanted, within_s=180)
        for host in hosts:
            assert host.child.stop() == 0
        reader.until_quiet()
        out_of_order = disordered(reader.messages)
        counts = Counter(decode(message.value()).causation_id for message in reader.messages)
    repeats = sum(counts.values()) - len(counts)
    published = _published(machine.broker, records)
    republished = sum(published.values()) - len(published)
    with capsys.disabled():
        print(f"\n{guarantee}: {COMMANDS:,} commands, {HOSTS} hosts, {faults}:", end=" ")
        print(f"{len(wanted - set(counts))} lost, {out_of_order} out of order, {repeats:,} repeats;", end=" ")
        print(f"{COMMANDS // 2 - len(published)} of {COMMANDS // 2:,} records lost, {republished:,} repeated")
    assert set(counts) == wanted
    assert out_of_order == 0
    assert repeats == 0 or guarantee == "at_least_once"
    assert set(published) == {decode(it.value).envelope_id for it in messages[1::2]}
    assert republished == 0 or guarantee == "at_least_once"


def _published(broker: str, topic: str) -> Counter[UUID]:
    """Count the records of each command; the reader sees what is committed, and nothing else."""
    with Reader(broker, [topic]) as reader:
        reader.until_quiet()
        causes = [dict(message.headers())["onex-causation-id"] for message in reader.messages]
    return Counter(UUID(cause.decode()) for cause in causes)


def _stream(broker: str, messages: list[Message]) -> None:
    """Send the commands over the length of the test."""
    pause_s = LENGTH_S / (len(messages) / SLICE)
    for begin in range(0, len(messages), SLICE):
        publish(broker, messages[begin : begin + SLICE])
        time.sleep(pause_s / 2)


def _torment(machine: Machine, hosts: list[RunningHost], *, until_s: float) -> str:
    """Kill, stop in order, or freeze one host after the other, and start another in its place."""
    done: dict[str, int] = defaultdict(int)
    for turn, victim in zip(count(), _round_and_round(hosts), strict=False):
        if time.monotonic() > until_s:
            break
        time.sleep(3)
        fault = ("killed", "stopped", "frozen")[turn % 3]
        done[fault] += 1
        child = hosts[victim].child
        if fault == "frozen":
            # Longer than the session timeout: the group goes on without it, and it comes back to find itself replaced.
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(8)
            os.kill(child.pid, signal.SIGCONT)
            continue
        child.kill() if fault == "killed" else child.stop()
        hosts[victim] = machine.start()
        hosts[victim].until_started()
    return ", ".join(f"{number} {fault}" for fault, number in done.items())


def _round_and_round(hosts: list[RunningHost]) -> Iterator[int]:
    while True:
        yield from range(len(hosts))
