"""Three brokers, three replicas: a rolling restart under load, and too few replicas for a while."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.brokers import ApacheCluster
from tests.support.hosts import POOL, Machine, echo_nodes
from tests.support.processes import until
from tests.support.stream import Stream
from tests.support.traffic import Reader, committed, ends

DOWN_S = 8.0
ANSWERED_WITHIN_S = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheCluster]:
    """Run a cluster, which tests leave whole."""
    if any(shutil.which(tool) is None for tool in ("java", "mvn")):
        if os.environ.get("REQUIRE_KAFKA") == "1":
            raise AssertionError("REQUIRE_KAFKA=1, and there is no Java or no Maven to run Apache Kafka with")
        pytest.skip("a cluster is Apache Kafka's")
    cluster = ApacheCluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@contextmanager
def served(cluster: ApacheCluster, folder: Path, guarantee: str) -> Iterator[None]:
    """Have a host serve commands while the block does its worst; then each is answered, and once if so promised."""
    folder.mkdir()
    machine = Machine(folder, tenant=f"t{uuid4().hex[:12]}", broker=cluster.bootstrap_servers)
    names = f"onex.app.test.{machine.tenant}"
    commands, answers = f"{names}.cmd.node.echo.v1", f"{names}.evt.node.echo.v1"
    cluster.create_topics([commands, answers])
    bus = {"bootstrap_servers": machine.broker, "replicas": 3, "client": {"session.timeout.ms": 6000}}
    machine.write(echo_nodes(["echo"]), guarantee=guarantee, bus=bus)
    try:
        host = machine.start()
        host.until_ready(partitions=4)
        stream = Stream(machine.broker, commands)
        try:
            yield
        finally:
            stream.stop()
        with Reader(machine.broker, [answers]) as reader:
            counts = reader.until_answered(stream.commands, within_s=ANSWERED_WITHIN_S)
            group = f"onex.test.{machine.tenant}.{POOL}"
            until(
                lambda: committed(machine.broker, group, [commands]) == ends(machine.broker, [commands]),
                within_s=30,
                what="every command is committed",
            )
            assert host.child.stop(within_s=40) == 0
            reader.until_quiet()
        assert set(counts) == stream.commands
        assert guarantee == "at_least_once" or len(reader.messages) == len(stream.commands)
    finally:
        machine.close()


def test_a_rolling_restart_costs_no_command(cluster: ApacheCluster, tmp_path: Path) -> None:
    """One broker after the other is stopped and started, each when all replicas are in sync again."""
    with served(cluster, tmp_path / "once", "exactly_once"), served(cluster, tmp_path / "least", "at_least_once"):
        for number in cluster.brokers:
            cluster.stop(number)
            cluster.start(number)
            cluster.until_in_sync()


def test_too_few_replicas_are_waited_for(cluster: ApacheCluster, tmp_path: Path) -> None:
    """With one broker of three nothing can be published; two that come back are enough to go on."""
    with served(cluster, tmp_path / "once", "exactly_once"), served(cluster, tmp_path / "least", "at_least_once"):
        first, second, _ = cluster.brokers
        cluster.kill(first)
        cluster.kill(second)
        time.sleep(DOWN_S)
        cluster.start(first)
        cluster.start(second)
        cluster.until_in_sync()
