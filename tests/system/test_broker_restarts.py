"""A broker that is restarted under load, in order and by SIGKILL, beneath two hosts of one pool.

`RESTARTS` is how often in a row; each takes some ten seconds.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokers import ApacheKafka, Broker
from tests.support.hosts import POOL, Machine, echo_nodes
from tests.support.processes import until
from tests.support.stream import Stream
from tests.support.traffic import Reader, committed, create_topics, ends

RESTARTS = int(os.environ.get("RESTARTS", "2"))
BETWEEN_S = 2.0
ANSWERED_WITHIN_S = 180.0
LEFT_WITHIN_S = 40.0


@pytest.fixture
def kafka_machine(own_kafka: Broker, tmp_path: Path, unique_slug: str) -> Iterator[Machine]:
    """Yield a machine on a broker that the test may restart."""
    if not isinstance(own_kafka, ApacheKafka):
        pytest.skip(f"not on {own_kafka.name}: transactions and members that die are tested on Kafka itself")
    own_kafka.start()
    machine = Machine(tmp_path, tenant=unique_slug, broker=own_kafka.bootstrap_servers)
    yield machine
    machine.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_broker_restarted_under_load_costs_no_command(
    own_kafka: Broker, kafka_machine: Machine, guarantee: str, end: str
) -> None:
    """Every command is answered and committed, and once only with exactly_once; the hosts stop when asked to."""
    machine = kafka_machine
    names = f"onex.app.test.{machine.tenant}"
    commands, answers = f"{names}.cmd.node.echo.v1", f"{names}.evt.node.echo.v1"
    create_topics(machine.broker, [commands, answers])
    machine.write(echo_nodes(["echo"]), guarantee=guarantee)
    hosts = [machine.start() for _ in range(2)]
    for host in hosts:
        host.until_ready(partitions=1)
    stream = Stream(machine.broker, commands)
    for _ in range(RESTARTS):
        time.sleep(BETWEEN_S)
        getattr(own_kafka, end)()
        own_kafka.start()
    time.sleep(BETWEEN_S)
    stream.stop()
    with Reader(machine.broker, [answers]) as reader:
        counts = reader.until_answered(stream.commands, within_s=ANSWERED_WITHIN_S)
        group = f"onex.test.{machine.tenant}.{POOL}"
        until(
            lambda: committed(machine.broker, group, [commands]) == ends(machine.broker, [commands]),
            within_s=30,
            what="every command is committed",
        )
        assert [host.child.stop(within_s=LEFT_WITHIN_S) for host in hosts] == [0, 0]
        reader.until_quiet()
    assert set(counts) == stream.commands
    if guarantee == "exactly_once":
        assert len(reader.messages) == len(stream.commands)
