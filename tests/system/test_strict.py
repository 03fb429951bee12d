"""A strict host on a real broker: what a function does beside computing fails its command."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokers import Broker
from tests.support.commands import node
from tests.support.hosts import Machine

LOGIC = """
def take(order):
    return {"first": order["items"].pop(0)}
"""
"""Reading finds nothing: the argument is the function's own, as far as a function can tell."""


@pytest.fixture
def machine(tmp_path: Path, kafka: Broker, unique_slug: str) -> Iterator[Machine]:
    """Yield a machine on which a package with a function is installed."""
    (tmp_path / "orders.py").write_text(LOGIC)
    found = Machine(tmp_path, tenant=unique_slug, broker=kafka.bootstrap_servers, PYTHONPATH=str(tmp_path))
    taking = node("take", operations="{take: {input: {type: object}, logic: 'orders:take'}}")
    found.write(
        {"take": taking.replace("handler: scripted\n", "").replace("effect", "compute")}, logic_packages=["orders"]
    )
    yield found
    found.close()


def test_a_strict_host_fails_an_impure_function_and_says_so(machine: Machine) -> None:
    """The sender gets `impure_function` and the place, the node is degraded, and its neighbours would be served."""
    host = machine.start("--strict")
    host.until_ready()
    done = machine.call("send", "take", "--payload", json.dumps({"items": [1, 2]}))
    assert done.returncode == 1
    assert "impure_function: orders:take: it changed its argument" in done.stderr
    health = host.health()["nodes"]["take"]
    assert (health["state"], health["dead_letters"]) == ("degraded", 1)
    assert host.child.stop() == 0


def test_another_host_does_not_watch(machine: Machine) -> None:
    """To watch costs time, which a host in production may not have."""
    host = machine.start()
    host.until_ready()
    done = machine.call("send", "take", "--payload", json.dumps({"items": [1, 2]}))
    assert (done.returncode, json.loads(done.stdout)) == (0, {"first": 1})
    assert host.child.stop() == 0
