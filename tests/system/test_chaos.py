"""Everything at once: hosts that are killed, stopped, frozen, join and leave, on a broker that is restarted under load.

An echo, a node that publishes a record for each command and a node with large answers, all in the order of their keys;
with at_least_once also a node that is always full and one whose service fails now and then, whose commands others may
overtake. Nothing may be lost, stuck or out of order, every host ends when asked to, and memory stays level.

`CHAOS_COMMANDS` and `CHAOS_S` make it longer than it is in the ordinary suite.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import pytest

from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import ECHO, node
from tests.support.hosts import POOL, Machine
from tests.support.http_service import HttpService, http_service
from tests.support.load import Flow, Load, TallyReader, leave_gaps
from tests.support.resident import ResidentMemory
from tests.support.torment import Hosts, Torment
from tests.support.traffic import committed, create_topics, ends

COMMANDS = int(os.environ.get("CHAOS_COMMANDS", "20000"))
LENGTH_S = float(os.environ.get("CHAOS_S", "25"))
PARTITIONS = 12
LARGE_BYTES = 900_000
STOP_S = 10
QUIET_S = 60.0
"""After so long without an answer, what has none is lost."""
STILL_MAX_S = 60.0
"""For so long a partition may be committed no further once the chaos is over."""
RESIDENT_MAX_MB = 250
"""Of a host: 80 MB without work, 32 MB of messages in flight, the client's buffers, and copies on their way."""
LEVEL_S = 120.0
"""A shorter run says nothing of what memory comes to in the long term."""
LEVEL_RATIO = 1.05
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
ASK = "{{ask: {{input: {{type: object}}, request: {{path: [{path}], expect: [200]}}, answer: {answer}}}}}"
SLOW = "{max_in_flight: 4, retry: {attempts: 20}}"
OVERTAKEN = "{on_retry: overtake, ordering: none, retry: {attempts: 100, initial_s: 0.5, max_s: 2}}"


@pytest.fixture
def service() -> Iterator[HttpService]:
    """Yield the service of the slow and the failing node."""
    with http_service(slow_s=0.1) as running:
        yield running


@pytest.fixture
def machine(own_kafka: Broker, tmp_path: Path, unique_slug: str) -> Iterator[Machine]:
    """Yield a machine on a broker that the test may restart."""
    if not isinstance(own_kafka, ApacheKafka):
        pytest.skip(f"not on {own_kafka.name}: a group member that was killed is never evicted there")
    own_kafka.start()
    found = Machine(tmp_path, tenant=unique_slug, broker=own_kafka.bootstrap_servers)
    yield found
    found.close()


@pytest.mark.timeout(600 + 2 * LENGTH_S)
@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_hosts_and_a_broker_in_chaos_lose_nothing_and_keep_the_order(
    machine: Machine, own_kafka: Broker, service: HttpService, capsys: pytest.CaptureFixture[str], guarantee: str
) -> None:
    """Every command is answered, in the order of its key, committed, and once with exactly_once; records likewise."""
    names = f"onex.app.test.{machine.tenant}"
    flows = _flows(names, with_effects=guarantee == "at_least_once")
    commands, answers = [it.topic for it in flows], [f"{names}.evt.node.{it.slug}.v1" for it in flows]
    records = f"{machine.tenant}.audit"
    create_topics(machine.broker, [*commands, *answers, records], partitions=PARTITIONS)
    leave_gaps(machine.broker, commands)
    _write(machine, flows, records, service, guarantee)
    hosts = Hosts(machine, stop_s=STOP_S)
    with ExitStack() as stack:
        memory = stack.enter_context(closing(ResidentMemory(hosts.pids)))
        reader = stack.enter_context(closing(TallyReader(machine.broker, answers, records)))
        torment = stack.enter_context(closing(Torment(hosts, own_kafka, length_s=LENGTH_S)))
        load = stack.enter_context(closing(Load(machine.broker, flows)))
        while torment.goes_on:
            reader.read()
        faults = torment.told()
        sent = load.stop()
        leave_gaps(machine.broker, commands)
        ended_s = time.monotonic()
        stuck = _stuck(machine, [*commands, *_retries(names, guarantee)])
        caught_up_s = time.monotonic() - ended_s
        missing = reader.until_answered(sent, quiet_s=QUIET_S)
        standing = hosts.standing()
        statuses = hosts.stop_all()
        reader.until_quiet()
    tally, published = reader.tally, reader.records
    del tally.disordered["flaky"]  # its commands may overtake each other
    lost_records = len(load.sent["audit"] - published.keys())
    republished = published.total() - len(published)
    veteran_mb = memory.samples_mb[hosts.veteran.child.pid]
    thirds_mb = [median(third) for third in _thirds(veteran_mb)]
    with capsys.disabled():
        print(f"\n{guarantee}: {len(sent):,} commands in {LENGTH_S:g} s, {faults}:", end=" ")
        print(f"{len(missing)} lost, {len(stuck)} partitions stuck, {tally.disordered.total()} out of order,", end=" ")
        print(f"{tally.repeats:,} repeats, {dict(tally.errors)} errors;", end=" ")
        print(f"{lost_records} of {len(load.sent['audit']):,} records lost, {republished:,} repeated;", end=" ")
        print(
            f"all committed {caught_up_s:.0f} s later; resident {memory.most_mb:.0f} MB at most, of a host that stayed",
            end=" ",
        )
        print(f"{', '.join(f'{it:.0f}' for it in thirds_mb)} MB (median of each third);", end=" ")
        print(
            f"hosts ended within {hosts.longest_stop_s:.1f} s, {hosts.statuses_told}; standing at the end: {standing}"
        )
    assert not missing
    assert not stuck, standing
    assert tally.counts.keys() == sent
    assert not tally.disordered.total()
    assert not tally.errors
    assert published.keys() == load.sent["audit"]
    assert (tally.repeats, republished) == (0, 0) or guarantee == "at_least_once"
    assert set(statuses) == {0}
    assert not hosts.died, hosts.died
    assert memory.most_mb < RESIDENT_MAX_MB
    assert LENGTH_S < LEVEL_S or thirds_mb[2] < LEVEL_RATIO * thirds_mb[1]


def _flows(names: str, *, with_effects: bool) -> list[Flow]:
    """Return the nodes' commands: `COMMANDS` to the echo and the audit, and those of the others beside them."""
    rates = {"echo": COMMANDS / LENGTH_S / 2, "audit": COMMANDS / LENGTH_S / 2, "large": 4.0}
    rates |= {"slow": 40.0, "flaky": 40.0} if with_effects else {}
    return [
        Flow(
            slug=slug,
            topic=f"{names}.cmd.node.{slug}.v1",
            per_s=per_s,
            text_bytes=LARGE_BYTES if slug == "large" else 0,
        )
        for slug, per_s in rates.items()
    ]


def _write(machine: Machine, flows: list[Flow], records: str, service: HttpService, guarantee: str) -> None:
    """Write the host."""
    nodes = {
        "echo": node("echo", handler="local", operations=ECHO),
        "audit": AUDIT,
        "large": node("large", handler="local", operations=ECHO),
        "slow": node("slow", handler="http\ntarget: service", operations=_ask("slow"), delivery=SLOW),
        "flaky": node("flaky", handler="http\ntarget: service", operations=_ask("flaky"), delivery=OVERTAKEN),
    }
    target = {"base_url": f"http://127.0.0.1:{service.port}"}
    handlers: dict[str, object] = {"kafka": {"targets": {"trail": {"topics": [records]}}}}
    if guarantee == "at_least_once":
        handlers["http"] = {"breaker": {"failures": 10_000}, "targets": {"service": target}}
    machine.write(
        {flow.slug: nodes[flow.slug] for flow in flows},
        guarantee=guarantee,
        handlers=handlers,
        limits={"stop_s": STOP_S, "drain_s": STOP_S / 2},
    )


def _ask(path: str) -> str:
    return ASK.format(path=path, answer='{"n": "${ payload.n }"}')


def _retries(names: str, guarantee: str) -> list[str]:
    return [f"{names}.retry.runtime.{POOL}.v1"] if guarantee == "at_least_once" else []


def _stuck(machine: Machine, topics: list[str]) -> dict[tuple[str, int], str]:
    """Wait until everything is committed to its end, gaps included. Return the partitions that stand still instead.

    How long it takes depends on what the chaos has left undone of the slow node's commands; each partition moves on.
    """
    group = f"onex.test.{machine.tenant}.{POOL}"
    moved: dict[tuple[str, int], tuple[int | None, float]] = {}
    while True:
        done, now_s = committed(machine.broker, group, topics), time.monotonic()
        left = {it: end for it, end in ends(machine.broker, topics).items() if done.get(it) != end}
        for it in left:
            if it not in moved or moved[it][0] != done.get(it):
                moved[it] = done.get(it), now_s
        stuck = {it: f"{done.get(it)} of {end}" for it, end in left.items() if now_s - moved[it][1] > STILL_MAX_S}
        if stuck or not left:
            return stuck
        time.sleep(0.5)


def _thirds(samples: list[float]) -> list[list[float]]:
    size = max(1, len(samples) // 3)
    return [samples[:size], samples[size : 2 * size] or samples, samples[2 * size :] or samples]
