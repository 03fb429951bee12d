"""Nodes that ask other nodes, in real processes on a real broker."""

from typing import Any
from uuid import uuid4

from omnibase_core.codec import decode
from omnibase_core.envelope import OnexEnvelope
from tests.support.brokers import Broker
from tests.support.commands import command, node
from tests.support.hosts import Machine, echo_nodes
from tests.support.traffic import Reader, create_topics, publish

LOAD = 1_000
CIRCLES = 100
TIGHT = "{timeout_s: 20, max_in_flight: 4}"


def asker(name: str, asked: str) -> str:
    """Write a node that asks another what it is asked, and stands it that too many wait."""
    operations = """
  do:
    input: {type: object}
    call: request
    request: {payload: "${ payload }", expect_errors: [too_deep]}
    answer: {"n": "${ payload.n }"}
"""
    return node(name, handler="kafka", operations=operations, delivery=TIGHT) + f"target: {asked}\n"


def test_a_host_that_is_killed_while_its_nodes_wait_for_each_other_loses_nothing(
    machine: Machine, kafka: Broker
) -> None:
    """One node asks an echo; two ask each other in circles, with places for few. Each command has its answer.

    The host is killed in the middle of it; what its nodes waited for is asked again by the next.
    """
    del kafka
    nodes = {**echo_nodes(["echo"]), "front": asker("front", "echo"), "a": asker("a", "b"), "b": asker("b", "a")}
    targets = {name: {"node": name} for name in ("echo", "a", "b")}
    machine.write(nodes, requests=True, handlers={"kafka": {"targets": targets}}, limits={"max_in_flight": 50})
    names = f"onex.app.test.{machine.tenant}"
    commands = {slug: f"{names}.cmd.node.{slug}.v1" for slug in nodes}
    answers = [f"{names}.evt.node.{slug}.v1" for slug in ("front", "a", "b")]
    create_topics(machine.broker, [*commands.values(), *answers])
    messages = [command(commands["front"], "front", {"n": n}, key=b"%d" % n, envelope_id=uuid4()) for n in range(LOAD)]
    for slug in ("a", "b"):
        messages += [
            command(commands[slug], slug, {"n": n}, key=b"%d" % n, envelope_id=uuid4()) for n in range(CIRCLES)
        ]
    first = machine.start()
    first.until_ready(partitions=4)
    publish(machine.broker, messages)
    with Reader(machine.broker, answers) as reader:
        reader.until(lambda found: len(found) >= LOAD // 4, within_s=60)
        first.child.kill()
        second = machine.start()
        wanted = {decode(it.value).envelope_id for it in messages}
        reader.until_answered(wanted, within_s=120)
        failed = [it for it in map(_read, reader.messages) if it.causation_id in wanted and it.error is not None]
        assert failed == []
    assert second.child.stop() == 0


def _read(message: Any) -> OnexEnvelope:
    return decode(message.value())
