"""A host that is killed: who waits for its session to end says so, and its partitions are served soon after."""

import time
from uuid import uuid4

import pytest

from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command
from tests.support.hosts import POOL, Machine, RunningHost, echo_nodes
from tests.support.processes import until
from tests.support.traffic import Reader, publish

SESSION_S = 10
"""By default a host that died holds its partitions for so long."""
SOON_S = 5


def test_who_waits_for_the_session_of_a_killed_host_says_so(machine: Machine, kafka: Broker) -> None:
    """The one that joins is not ready and the one that serves warns, both with reasons; then all is served."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")
    # The defaults are what this is about.
    machine.write(echo_nodes(["echo"]), bus={"bootstrap_servers": machine.broker})
    commands, answers = (f"onex.app.test.{machine.tenant}.{stream}.node.echo.v1" for stream in ("cmd", "evt"))
    survivor = machine.start()
    survivor.until_ready(partitions=4)
    killed = machine.start()
    killed.until_ready(partitions=2)
    killed.child.kill()
    killed_s = time.monotonic()
    ids = [uuid4() for _ in range(40)]
    publish(machine.broker, [command(commands, "echo", {}, key=b"%d" % n, envelope_id=it) for n, it in enumerate(ids)])
    joining = machine.start()
    for host in (survivor, joining):
        host.child.until_says('"rebalance_pending"', within_s=SESSION_S)
    group = f"onex.test.{machine.tenant}.{POOL}"
    _says_for_whom_it_waits(joining, group)
    status, page = joining.ready()
    [reason] = page["reasons"]
    assert (status, page["warnings"]) == (503, [])
    assert reason.startswith(f"no partition is assigned: it has been joining the group {group} for ")
    assert " s, and waits for system-test at 127.0.0.1 (4 partitions); the partitions of a dead member" in reason
    status, page = survivor.ready()
    [warning] = page["warnings"]
    assert (status, page["reasons"]) == (200, [])
    assert warning.startswith(f"the group {group} has been rebalancing for ")
    assert " s, and waits for system-test at 127.0.0.1 (2 partitions); the partitions of a dead member" in warning
    with Reader(machine.broker, [answers]) as reader:
        reader.until_answered(set(ids), within_s=killed_s + SESSION_S + SOON_S - time.monotonic())
    joining.until_ready()
    until(lambda: survivor.events("rebalance_completed"), within_s=SOON_S, what="a settled group")
    assert [host.ready()[1]["reasons"] + host.ready()[1]["warnings"] for host in (survivor, joining)] == [[], []]
    assert [host.child.stop() for host in (survivor, joining)] == [0, 0]


def _says_for_whom_it_waits(host: RunningHost, group: str) -> None:
    [told] = host.events("rebalance_pending")
    assert (told["level"], told["group"], told["assigned"], told["partitions_held"]) == ("warning", group, 0, 4)
    assert told["state"] == "preparing rebalance"
    assert told["waiting_for"] == "system-test at 127.0.0.1 (4 partitions)"
    assert 5 <= told["waited_s"] < SESSION_S
    assert 0 <= told["remaining_max_s"] <= SESSION_S
