"""Topics that change under a running host: deleted, created again, extended, and written by somebody's transactions."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from omnibase_core.codec import decode
from omnibase_core.ports import Message
from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command
from tests.support.hosts import POOL, Machine, RunningHost, echo_nodes
from tests.support.processes import until
from tests.support.traffic import Reader, committed, create_topics, ends, publish

PROTOCOLS = ("classic", "consumer")


@pytest.fixture(autouse=True)
def apache_kafka(kafka: Broker) -> None:
    """Skip on the stand-in, which has no group protocol of KIP-848 and no ids of topics."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")


def topic(machine: Machine, stream: str, slug: str) -> str:
    """Return the name of a node's topic."""
    return f"onex.app.test.{machine.tenant}.{stream}.node.{slug}.v1"


def load(machine: Machine, count: int, slug: str = "echo") -> list[Message]:
    """Return commands of a hundred keys."""
    name = topic(machine, "cmd", slug)
    return [command(name, slug, {"n": n}, key=b"%d" % (n % 100), envelope_id=uuid4()) for n in range(count)]


def ids_of(messages: list[Message]) -> set[UUID]:
    """Return the ids of commands."""
    return {decode(it.value).envelope_id for it in messages}


@contextmanager
def serving(machine: Machine, *slugs: str, protocol: str = "classic") -> Iterator[RunningHost]:
    """Run a host of echo nodes."""
    client = {"session.timeout.ms": 6000} if protocol == "classic" else {}
    machine.write(
        echo_nodes(slugs),
        bus={"bootstrap_servers": machine.broker, "group_protocol": protocol, "client": client},
    )
    create_topics(machine.broker, [topic(machine, stream, slug) for stream in ("cmd", "evt") for slug in slugs])
    host = machine.start()
    host.until_ready(partitions=4 * len(slugs))
    yield host
    assert host.child.stop() == 0


def admin(machine: Machine) -> AdminClient:
    """Return a client of the tests' own."""
    return AdminClient({"bootstrap.servers": machine.broker, "log_level": 0})


def delete(machine: Machine, name: str) -> None:
    """Delete a topic."""
    client = admin(machine)
    client.delete_topics([name])[name].result()


def create(machine: Machine, name: str) -> None:
    """Create a topic as soon as the old one is away."""

    def created() -> bool:
        try:
            create_topics(machine.broker, [name])
        except KafkaException:
            return False
        return True

    until(created, within_s=30, what=name)


def answered(machine: Machine, messages: list[Message], *, slug: str = "echo") -> None:
    """Publish commands, and wait for an answer to each."""
    publish(machine.broker, messages)
    with Reader(machine.broker, [topic(machine, "evt", slug)]) as reader:
        reader.until_answered(ids_of(messages), within_s=60)


def until_committed(machine: Machine, host: RunningHost, slug: str = "echo") -> None:
    """Wait until what is committed is where the topic ends."""
    name = topic(machine, "cmd", slug)
    group = f"onex.test.{machine.tenant}.{POOL}"
    until(
        lambda: committed(machine.broker, group, [name]) == ends(machine.broker, [name]),
        within_s=30,
        what=f"no lag of {name}; {host.child.tail()}",
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_command_of_a_topic_that_is_created_again_is_answered(machine: Machine, protocol: str) -> None:
    """The host has read further than the new topic reaches; it says so, and starts at its beginning."""
    with serving(machine, "echo", protocol=protocol) as host:
        answered(machine, load(machine, 400))
        until_committed(machine, host)
        delete(machine, topic(machine, "cmd", "echo"))
        create(machine, topic(machine, "cmd", "echo"))
        answered(machine, load(machine, 100))
        until(lambda: host.events("topic_recreated"), within_s=20, what="the warning")
        until_committed(machine, host)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_command_of_a_longer_topic_is_answered(machine: Machine, protocol: str) -> None:
    """The new topic reaches further than the host has read before it notices: no offset goes back."""
    with serving(machine, "echo", protocol=protocol) as host:
        answered(machine, load(machine, 100))
        until_committed(machine, host)
        os.kill(host.child.pid, signal.SIGSTOP)
        delete(machine, topic(machine, "cmd", "echo"))
        create(machine, topic(machine, "cmd", "echo"))
        messages = load(machine, 800)
        publish(machine.broker, messages)
        os.kill(host.child.pid, signal.SIGCONT)
        with Reader(machine.broker, [topic(machine, "evt", "echo")]) as reader:
            reader.until_answered(ids_of(messages), within_s=60)
        [told] = _once_told(host, "topic_recreated")
        assert told["topic"] == topic(machine, "cmd", "echo")
        until_committed(machine, host)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_topic_that_is_gone_is_told_and_the_others_are_served(machine: Machine, protocol: str) -> None:
    """Once; when it is back, its commands are answered without a restart."""
    with serving(machine, "echo", "other", protocol=protocol) as host:
        answered(machine, load(machine, 100))
        delete(machine, topic(machine, "cmd", "echo"))
        [told] = _once_told(host, "topic_missing")
        assert told["topic"] == topic(machine, "cmd", "echo")
        answered(machine, load(machine, 100, "other"), slug="other")
        create(machine, topic(machine, "cmd", "echo"))
        answered(machine, load(machine, 200))
        _once_told(host, "topic_restored")
        until_committed(machine, host)
        until_committed(machine, host, "other")


def test_partitions_that_are_added_are_served_from_their_beginning(machine: Machine) -> None:
    """Commands that were published to them before the host knows of them are answered, too."""
    name = topic(machine, "cmd", "echo")
    with serving(machine, "echo") as host:
        answered(machine, load(machine, 100))
        client = admin(machine)
        client.create_partitions([NewPartitions(name, 8)])[name].result()
        time.sleep(0.5)
        answered(machine, load(machine, 400))
        assert host.health()["assigned_partitions"] >= 8
        assert len(ends(machine.broker, [name])) > 4
        until_committed(machine, host)


def test_an_aborted_transaction_at_the_end_leaves_no_lag(machine: Machine) -> None:
    """What was aborted is no command: the host commits past it, so that nobody scales up for it."""
    with serving(machine, "echo") as host:
        answered(machine, load(machine, 100))
        producer = _foreign(machine)
        _begin(producer, load(machine, 79))
        producer.abort_transaction()
        until_committed(machine, host)
        answered(machine, load(machine, 10))


def test_an_open_transaction_in_front_is_told(machine: Machine) -> None:
    """With numbers, once a partition; what waits behind it is answered as soon as it ends."""
    with serving(machine, "echo") as host:
        producer = _foreign(machine)
        held = load(machine, 20)
        _begin(producer, [it._replace(key=b"k") for it in held])
        behind = [it._replace(key=b"k") for it in load(machine, 10)]
        publish(machine.broker, behind)
        [told] = _once_told(host, "open_transaction")
        assert told["messages"] in (20, 30)  # told once, with what was there by then
        producer.commit_transaction()
        with Reader(machine.broker, [topic(machine, "evt", "echo")]) as reader:
            reader.until_answered(ids_of([*held, *behind]), within_s=60)


def _once_told(host: RunningHost, name: str) -> list[dict[str, object]]:
    until(lambda: host.events(name), within_s=30, what=name)
    time.sleep(3)
    return host.events(name)


def _foreign(machine: Machine) -> Producer:
    producer = Producer({"bootstrap.servers": machine.broker, "transactional.id": machine.tenant, "log_level": 0})
    producer.init_transactions()
    return producer


def _begin(producer: Producer, messages: list[Message]) -> None:
    producer.begin_transaction()
    for message in messages:
        producer.produce(message.topic, message.value, message.key)
    assert producer.flush(30) == 0
