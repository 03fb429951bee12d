"""A pool in the middle of a deployment: one of its hosts has a node that the other does not have yet."""

import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from omnibase_core.codec import decode
from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command, node
from tests.support.hosts import POOL, Machine
from tests.support.http_service import http_service
from tests.support.processes import until
from tests.support.traffic import Reader, committed, create_topics, ends, publish

WAVES = 5
WAVE = 20
WAVES_EVERY_S = 1.2
"""So that some meet the service while it fails, which it does for three seconds of five."""
ASK = '{ask: {input: {type: object}, request: {path: [flaky], expect: [200]}, answer: {text: "${ result.json.text }"}}}'
OVERTAKE = "{on_retry: overtake, ordering: none, retry: {attempts: 100, initial_s: 0.5, max_s: 2}}"


def asker(name: str) -> str:
    """Return a node that asks a service which fails now and then, and whose commands may be overtaken."""
    contract = node(name, handler="http", operations=ASK, delivery=OVERTAKE)
    return contract.replace("delivery:", "target: words\ndelivery:")


def test_retries_of_a_new_node_outlast_the_hosts_that_lack_it(machine: Machine, kafka: Broker) -> None:
    """What the older host does not know it leaves to others, until it is replaced: nothing becomes a dead letter.

    Kafka may give the older host every partition of the retry topic, since the newer one has more topics.
    """
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")
    prefix = f"onex.app.test.{machine.tenant}"
    commands, answers = f"{prefix}.cmd.node.new.v1", f"{prefix}.evt.node.new.v1"
    retries, letters = f"{prefix}.retry.runtime.{POOL}.v1", f"{prefix}.dlq.runtime.{POOL}.v1"
    create_topics(machine.broker, [commands, answers, retries, letters])
    with http_service() as service:
        target = {"base_url": f"http://127.0.0.1:{service.port}"}
        handlers = {"http": {"breaker": {"failures": 1000}, "targets": {"words": target}}}
        machine.write({"old": asker("old")}, handlers=handlers)
        older = machine.start()
        older.until_ready(partitions=8)
        machine.write({"old": asker("old"), "new": asker("new")}, handlers=handlers)
        newer = machine.start()
        newer.until_ready(partitions=6)
        sent: set[UUID] = set()
        for _ in range(WAVES):
            wave = [command(commands, "new", {"n": n}, key=b"%d" % n, envelope_id=uuid4()) for n in range(WAVE)]
            publish(machine.broker, wave)
            sent |= {decode(it.value).envelope_id for it in wave}
            time.sleep(WAVES_EVERY_S)
        with Reader(machine.broker, [retries]) as reader:
            reader.until(lambda found: any(_is_passed_on(it) for it in found), within_s=30)
        assert older.child.stop() == 0
        with Reader(machine.broker, [answers]) as reader:
            reader.until_answered(sent, within_s=90)
            assert not any(decode(it.value()).error for it in reader.messages)
        group = f"onex.test.{machine.tenant}.{POOL}"
        until(
            lambda: committed(machine.broker, group, [commands, retries]) == ends(machine.broker, [commands, retries]),
            within_s=60,
            what="everything is committed",
        )
        assert sum(ends(machine.broker, [letters]).values()) == 0
        assert newer.child.stop() == 0


def _is_passed_on(message: Any) -> bool:
    return any(name == "onex-passed-on" for name, _ in message.headers() or ())
