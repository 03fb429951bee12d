"""Where a new pool begins to read: once, and nothing is lost by it afterwards."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from omnibase_core.codec import decode
from omnibase_core.ports import Message
from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command
from tests.support.hosts import Machine, RunningHost, echo_nodes
from tests.support.processes import until
from tests.support.traffic import Reader, create_topics, publish


@pytest.fixture(autouse=True)
def apache_kafka(kafka: Broker) -> None:
    """Skip on the stand-in, which knows no times of messages."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")


def topics(machine: Machine) -> tuple[str, str]:
    """Return the topics of the node's commands and answers."""
    prefix = f"onex.app.test.{machine.tenant}"
    return f"{prefix}.cmd.node.echo.v1", f"{prefix}.evt.node.echo.v1"


def commands(machine: Machine, count: int) -> list[Message]:
    """Return commands of as many keys."""
    return [command(topics(machine)[0], "echo", {"n": n}, key=b"%d" % n, envelope_id=uuid4()) for n in range(count)]


def started(machine: Machine, start: str) -> RunningHost:
    """Start a host whose pool begins there."""
    machine.write(
        echo_nodes(["echo"]),
        bus={"bootstrap_servers": machine.broker, "start": start, "client": {"session.timeout.ms": 6000}},
    )
    host = machine.start()
    host.until_ready(partitions=4)
    return host


def answered(machine: Machine, reader: Reader, sent: list[Message]) -> set[int]:
    """Publish, wait until all that was sent is answered, and return the numbers of all answers so far."""
    publish(machine.broker, sent)
    reader.until_answered({decode(it.value).envelope_id for it in sent}, within_s=30)
    return {decode(it.value()).payload["n"] for it in reader.until(lambda _: True, within_s=5)}


def test_a_new_pool_begins_with_what_comes_and_goes_on_where_it_ended(machine: Machine) -> None:
    """What is there before is not read; what comes while no host runs is, and so is a partition that is added later."""
    create_topics(machine.broker, topics(machine))
    publish(machine.broker, commands(machine, 50))
    host = started(machine, "latest")
    [told] = host.events("start_offsets_committed")
    assert (told["topic"], told["at"], told["partitions"]) == (topics(machine)[0], "latest", 4)
    assert host.child.stop() == 0  # It has served nothing, and committed where it begins.

    missed = commands(machine, 5)
    publish(machine.broker, missed)
    host = started(machine, "latest")
    assert host.events("start_offsets_committed") == []
    with Reader(machine.broker, [topics(machine)[1]]) as reader:
        reader.until_answered({decode(it.value).envelope_id for it in missed}, within_s=30)
        reader.until_quiet()
        assert len(reader.until(lambda _: True, within_s=5)) == 5

    assert host.child.stop() == 0
    client = AdminClient({"bootstrap.servers": machine.broker, "log_level": 0})
    [extended] = client.create_partitions([NewPartitions(topics(machine)[0], 5)]).values()
    extended.result()
    until(lambda: len(client.list_topics(timeout=10).topics[topics(machine)[0]].partitions) == 5, within_s=30, what="5")
    added = commands(machine, 40)
    publish(machine.broker, added)
    host = started(machine, "latest")
    with Reader(machine.broker, [topics(machine)[1]]) as reader:
        reader.until_answered({decode(it.value).envelope_id for it in added}, within_s=30)
    assert host.child.stop() == 0


def test_a_new_pool_begins_at_a_time(machine: Machine) -> None:
    """With the first message of each partition that is no older; where there is none, at its end."""
    create_topics(machine.broker, topics(machine))
    publish(machine.broker, commands(machine, 50))
    moment = datetime.now(UTC)
    later = commands(machine, 3)
    publish(machine.broker, later)
    host = started(machine, moment.isoformat())
    with Reader(machine.broker, [topics(machine)[1]]) as reader:
        reader.until_answered({decode(it.value).envelope_id for it in later}, within_s=30)
        reader.until_quiet()
        assert len(reader.until(lambda _: True, within_s=5)) == 3
    assert host.child.stop() == 0
