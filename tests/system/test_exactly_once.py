"""Hosts of exactly once, and what a broker may do to their transactions."""

from uuid import uuid4

import pytest

from omnibase_core.codec import decode
from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command
from tests.support.hosts import NAME, Machine, echo_nodes
from tests.support.traffic import Reader, create_topics, publish

COMMANDS = 3000
PAYLOAD_BYTES = 4000
BYTES_PER_S = 400_000


def test_transactions_fit_a_quota_of_producers(own_kafka: Broker, machine: Machine) -> None:
    """All that is ready takes longer to publish than a transaction may last; every command is answered once."""
    if not isinstance(own_kafka, ApacheKafka):
        pytest.skip(f"not on {own_kafka.name}: quotas are Kafka's")
    own_kafka.start()
    own_kafka.limit_producer(NAME, bytes_per_s=BYTES_PER_S)
    machine.broker = own_kafka.bootstrap_servers
    names = f"onex.app.test.{machine.tenant}"
    commands, answers = f"{names}.cmd.node.echo.v1", f"{names}.evt.node.echo.v1"
    create_topics(machine.broker, [commands, answers])
    payload = "x" * PAYLOAD_BYTES
    messages = [
        command(commands, "echo", {"n": n, "text": payload}, key=b"%d" % (n % 100), envelope_id=uuid4())
        for n in range(COMMANDS)
    ]
    publish(machine.broker, messages)
    # A few seconds, so that a transaction of everything cannot end.
    machine.write(echo_nodes(["echo"]), guarantee="exactly_once", client={"transaction.timeout.ms": 4000})
    host = machine.start()
    with Reader(machine.broker, [answers]) as reader:
        reader.until_answered({decode(it.value).envelope_id for it in messages}, within_s=120)
        assert host.child.stop(within_s=40) == 0
        reader.until_quiet()
        assert len(reader.messages) == COMMANDS


def test_transactions_that_the_broker_never_allows_end_the_host(machine: Machine, kafka: Broker) -> None:
    """The broker of the tests allows transactions of ten minutes at the most. The host ends, and says why."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}: transactions are tested on Kafka itself")
    machine.write(echo_nodes(["echo"]), guarantee="exactly_once", client={"transaction.timeout.ms": 700_000})
    host = machine.start()
    host.until_ready(partitions=4)
    publish(machine.broker, [command(f"onex.app.test.{machine.tenant}.cmd.node.echo.v1", "echo", {"n": 1})])
    assert host.child.wait(within_s=60) != 0
    assert "transaction.timeout.ms" in host.child.tail()
