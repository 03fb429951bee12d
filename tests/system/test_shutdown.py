"""How a host ends: one deadline, `limits.stop_s`, over all its phases, whatever does not answer."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import node
from tests.support.hosts import Machine, echo_nodes
from tests.support.processes import Child, until
from tests.support.traffic import Reader, create_topics, publish
from tests.system.test_failures import ids_of, load, topics

_SLACK_S = 2.0
"""For the end of the process itself, and for a machine that is busy."""
_DEFAULT_S = 25.0
_COMMANDS = 5_000


@pytest.fixture
def frozen(own_kafka: Broker) -> Iterator[ApacheKafka]:
    """Yield a broker that a test may freeze: it is thawed afterwards, so that it can be ended."""
    if not isinstance(own_kafka, ApacheKafka):
        pytest.skip(f"not on {own_kafka.name}")
    own_kafka.start()
    yield own_kafka
    os.kill(own_kafka.pid, signal.SIGCONT)


@pytest.fixture
def machine(tmp_path: Path, frozen: ApacheKafka, unique_slug: str) -> Iterator[Machine]:
    """Yield a machine on the broker that may be frozen."""
    found = Machine(tmp_path, tenant=unique_slug, broker=frozen.bootstrap_servers)
    yield found
    found.close()


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("limits", [{"stop_s": 5, "drain_s": 5}, {}], ids=["5 s", "by default"])
def test_a_host_under_load_stops_in_time_while_its_broker_is_frozen(
    machine: Machine, frozen: ApacheKafka, guarantee: str, limits: dict[str, float]
) -> None:
    """It says what it gave up, and the next host answers every command."""
    machine.write(echo_nodes(["echo"]), guarantee=guarantee, limits=limits)
    commands, answers = topics(machine)
    create_topics(machine.broker, [commands, answers])
    host = machine.start()
    host.until_ready(partitions=4)
    messages = load(commands, _COMMANDS)
    publish(machine.broker, messages)
    os.kill(frozen.pid, signal.SIGSTOP)
    status = host.child.stop(within_s=limits.get("stop_s", _DEFAULT_S) + _SLACK_S)
    passed = host.events("stop_deadline_passed")
    assert [it["phase"] for it in passed] == ["drain, commit and leaving the group"][: len(passed)]
    assert status == (1 if passed else 0)
    os.kill(frozen.pid, signal.SIGCONT)
    second = machine.start()
    with Reader(machine.broker, [answers]) as reader:
        reader.until_answered(ids_of(messages), within_s=90)
    assert second.child.stop() == 0


ASK = '{ask: {input: {type: object}, request: {path: [word]}, answer: {status: "${ result.status }"}}}'


def test_the_drain_leaves_time_for_what_comes_after_it(machine: Machine) -> None:
    """A call that nobody answers takes no longer than the deadline allows; the rest ends in order, with status 0."""
    with SilentServer() as port:
        ask = node("asker", handler="http\ntarget: silent", operations=ASK)
        handlers = {"http": {"targets": {"silent": {"base_url": f"http://127.0.0.1:{port}"}}}}
        machine.write({"asker": ask}, handlers=handlers, limits={"stop_s": 5, "drain_s": 5})
        host = machine.start()
        host.until_ready(partitions=4)
        topic = f"onex.app.test.{machine.tenant}.cmd.node.asker.v1"
        publish(machine.broker, load(topic, 10, "asker"))
        until(lambda: host.health()["in_flight"] == 10, within_s=30, what="commands in flight")
        assert host.child.stop(within_s=5 + _SLACK_S) == 0
    assert host.events("drain_timed_out")
    assert host.events("host_stopped")
    assert not host.events("stop_deadline_passed")


_STANDING_STILL = """
import asyncio, time
from omnibase_infra.cli.run import stop_on_signals

async def stand_still():
    stop_on_signals(within_s=1.0)
    print("ready", flush=True)
    time.sleep(1000)

asyncio.run(stand_still())
"""


def test_a_loop_that_stands_still_is_ended_and_says_where(tmp_path: Path) -> None:
    """What blocks the loop keeps no signal from being heeded: the stack of each thread is on stderr."""
    child = Child([sys.executable, "-c", _STANDING_STILL], tmp_path / "log")
    child.until_says("ready", within_s=30)
    assert child.stop(within_s=30) == 1
    assert "in stand_still" in child.tail()


def test_a_second_signal_ends_a_host_at_once(machine: Machine, frozen: ApacheKafka) -> None:
    """Whatever it is waiting for."""
    machine.write(echo_nodes(["echo"]), limits={"stop_s": 600})
    host = machine.start()
    host.until_ready(partitions=4)
    os.kill(frozen.pid, signal.SIGSTOP)
    os.kill(host.child.pid, signal.SIGTERM)
    until(lambda: host.events("host_stopping"), within_s=30, what="the host is stopping")
    assert host.child.stop(within_s=5) == -signal.SIGTERM


class SilentServer:
    """A server that takes connections and never says anything."""

    def __enter__(self) -> int:
        """Listen, and give the port."""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self._socket.close()
        for connection in self._taken:
            connection.close()

    def _take(self) -> None:
        try:
            while True:
                self._taken.append(self._socket.accept()[0])
        except OSError:
            return
