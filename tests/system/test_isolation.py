"""Functions in worker processes of a real host: what holds them for ever holds nobody else."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from omnibase_core.codec import decode
from tests.support.brokers import Broker
from tests.support.commands import command, node
from tests.support.hosts import Machine, RunningHost, echo_nodes
from tests.support.processes import until
from tests.support.traffic import Reader, create_topics, publish

ROOT = str(Path(__file__).parents[2])
COMMANDS = 200
BUDGET_S = 0.5


@pytest.fixture
def machine(tmp_path: Path, kafka: Broker, unique_slug: str) -> Iterator[Machine]:
    """Yield a machine on which the functions of tests can be imported."""
    found = Machine(tmp_path, tenant=unique_slug, broker=kafka.bootstrap_servers, PYTHONPATH=ROOT)
    yield found
    found.close()


def isolated(name: str, function: str) -> str:
    """Write a node whose function runs in a worker."""
    operations = f"{{do: {{input: {{type: object}}, logic: 'tests.support.functions:{function}'}}}}"
    text = node(name, operations=operations, delivery=f"{{isolation: process, budget_s: {BUDGET_S}}}")
    return text.replace("handler: scripted\n", "").replace("kind: effect", "kind: compute")


def workers_of(host: RunningHost) -> list[psutil.Process]:
    """Return the processes that a host has started."""
    return psutil.Process(host.child.pid).children(recursive=True)


def test_a_function_that_never_comes_back_holds_none_of_its_nine_neighbours(machine: Machine) -> None:
    """It spins in C; five nodes on the loop and four in workers serve on, the host says why one does not."""
    neighbours = [*(f"echo-{n}" for n in range(5)), *(f"isolated-{n}" for n in range(4))]
    nodes = {**echo_nodes(neighbours[:5]), **{name: isolated(name, "echo") for name in neighbours[5:]}}
    machine.write({**nodes, "wild": isolated("wild", "wild")}, logic_packages=["tests"])
    topics = {name: f"onex.app.test.{machine.tenant}.{{}}.node.{name}.v1" for name in [*nodes, "wild"]}
    create_topics(machine.broker, [topic.format(it) for topic in topics.values() for it in ("cmd", "evt")])
    host = machine.start()
    host.until_ready(partitions=40)
    assert workers_of(host) == []

    spinning = [
        command(topics["wild"].format("cmd"), "wild", {}, key=b"%d" % n, envelope_id=uuid4()) for n in range(20)
    ]
    publish(machine.broker, spinning)
    until(lambda: host.health()["breakers"]["wild"] == "open", within_s=30, what="the breaker opens")
    health = host.health()["nodes"]["wild"]
    assert health["state"] == "degraded"
    reason = f"tests.support.functions:wild was interrupted after {BUDGET_S} s (delivery.budget_s)"
    assert health["reason"] == f"function_interrupted: {reason}"

    messages = [
        command(topics[name].format("cmd"), name, {"n": n}, key=b"%d" % (n % 20), envelope_id=uuid4())
        for n in range(COMMANDS)
        for name in neighbours
    ]
    publish(machine.broker, messages)
    with Reader(machine.broker, [topics[name].format("evt") for name in neighbours]) as reader:
        reader.until_answered({decode(it.value).envelope_id for it in messages}, within_s=60)
        places: dict[tuple[str, bytes], list[int]] = {}
        for it in reader.messages:
            payload = decode(it.value()).payload
            places.setdefault((it.topic(), it.key()), []).append(payload.get("got", payload)["n"])
    assert all(numbers == sorted(numbers) for numbers in places.values())
    assert host.health()["nodes"]["wild"]["answers"] == 0
    assert {name: host.health()["nodes"][name]["state"] for name in neighbours} == dict.fromkeys(neighbours, "ok")
    left = workers_of(host)
    assert 1 <= len(left) <= 2
    assert host.child.stop() == 0
    assert not any(it.is_running() for it in left)


def inline(name: str, function: str, argument: str) -> str:
    """Write a node whose function runs on the loop."""
    operations = f"{{do: {{input: {{}}, logic: 'tests.support.functions:{function}', request: '{argument}'}}}}"
    return node(name, operations=operations).replace("handler: scripted\n", "").replace("kind: effect", "kind: compute")


def test_a_function_that_would_end_the_host_ends_its_command_alone(machine: Machine) -> None:
    """With sys.exit, or as if somebody had pressed Ctrl-C: that still ends the host, and in good order."""
    nodes = {**echo_nodes(["echo"]), "leave": inline("leave", "leave", "${ payload.how }")}
    machine.write(nodes, logic_packages=["tests"])
    host = machine.start()
    host.until_ready(partitions=8)
    topics = {name: f"onex.app.test.{machine.tenant}.{{}}.node.{name}.v1" for name in nodes}
    messages = [
        command(topics[name].format("cmd"), name, {"how": how}, key=b"k", envelope_id=uuid4())
        for how in ("exit", "interrupt", "exit")
        for name in nodes
    ]
    publish(machine.broker, messages)
    with Reader(machine.broker, [it.format("evt") for it in topics.values()]) as reader:
        reader.until_answered({decode(it.value).envelope_id for it in messages}, within_s=60)
        answers = [decode(it.value()) for it in reader.messages]
    assert [it.payload["how"] for it in answers if it.node_slug == "echo"] == ["exit", "interrupt", "exit"]
    errors = [(it.error.code, it.error.message) for it in answers if it.error is not None]
    left, interrupted = ("internal_error", "SystemExit: 3"), ("internal_error", "KeyboardInterrupt: ")
    assert errors == [left, interrupted, left]
    assert host.health()["nodes"]["leave"]["reason"] == "internal_error: SystemExit: 3"
    assert host.child.stop(signal.SIGINT) == 0


def test_a_second_signal_ends_a_host_that_is_still_draining(machine: Machine) -> None:
    """The first lets work in flight finish; who has no patience for that presses Ctrl-C again."""
    wild = isolated("wild", "wild").replace(f"{BUDGET_S}", "50, timeout_s: 60")
    machine.write({"wild": wild}, logic_packages=["tests"])
    host = machine.start()
    host.until_ready(partitions=4)
    topic = f"onex.app.test.{machine.tenant}.cmd.node.wild.v1"
    publish(machine.broker, [command(topic, "wild", {})])
    until(lambda: host.health()["in_flight"], within_s=30, what="the command is taken")
    os.kill(host.child.pid, signal.SIGINT)
    host.child.until_says('"host_stopping"', within_s=10)
    assert host.child.stop(signal.SIGINT, within_s=5) == -signal.SIGINT
