"""The settings of the bus: what is an address of brokers, and which properties of the client may be set."""

import re
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from pydantic import ValidationError

from omnibase_infra.kafka import KafkaSettings
from omnibase_infra.kafka.client_properties import ALLOWED, BOUNDED, REFUSED, Property
from omnibase_infra.kafka.group_status import GroupTimes

ADDRESSES = (
    "embedded",
    "localhost",
    "kafka-1.example.org:9092,kafka-2.example.org:9092",
    "10.0.0.1:9092, [2001:db8::1]:9092",
    "SASL_SSL://broker_1:9093",
    "${secret.KAFKA}",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_a_client_can_connect_to_is_taken(address: str) -> None:
    """As it is written."""
    assert KafkaSettings(bootstrap_servers=address).bootstrap_servers == address


@pytest.mark.parametrize(
    "address", ["", ":9092", "a,,b", "a b:9092", "http://a:9092", "a:port", "2001:db8::1", "a:9092/x"]
)
def test_what_nobody_can_connect_to_is_refused(address: str) -> None:
    """The client would try for ever, and say little about why."""
    with pytest.raises(ValidationError, match="expected host:port, several of them joined by commas, or embedded"):
        KafkaSettings(bootstrap_servers=address)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_property_that_would_break_what_is_promised_is_refused(name: str) -> None:
    """The reason stands in the problem, whatever the value is."""
    for value in (True, "1", "${secret.VALUE}"):
        with pytest.raises(ValidationError, match=re.escape(f"{name!r} is not to be set here: {REFUSED[name]}")):
            KafkaSettings(client={name: value})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("delivery.report.only.error", "nothing would ever be committed"),
        ("isolation.level", "commands of an aborted transaction were never sent"),
        ("group.instance.id", "static membership is not supported yet"),
        ("enable.partition.eof", "where a partition ends"),
        ("metadata.broker.list", "write bus.bootstrap_servers"),
        ("request.required.acks", "it is always all"),
        ("delivery.timeout.ms", "the host never gives up on an answer"),
        ("auto.commit.enable", "the host commits what is acknowledged"),
        ("message.send.max.retries", "until the broker has acknowledged it"),
        ("partitioner", "murmur2_random"),
        ("dr_cb", "only a program can set it"),
    ],
)
def test_neither_a_property_nor_its_alias_is_a_way_around(name: str, reason: str) -> None:
    """Those that were known to lose, repeat or disorder commands, and what librdkafka also calls them."""
    with pytest.raises(ValidationError, match=reason):
        KafkaSettings(client={name: "x"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sesion.timeout.ms", "did you mean 'session.timeout.ms'?"),
        ("Acks", "did you mean 'acks'?"),
        ("topic.acks", "is not known"),
        ("topic.compression.codec", "is not known"),
        ("nothing like it", "see docs/operations.md"),
    ],
)
def test_a_property_that_nobody_knows_is_refused_with_the_nearest(name: str, hint: str) -> None:
    """Before anything connects; a prefix that librdkafka cuts off is no way around either."""
    with pytest.raises(ValidationError, match=re.escape(hint)):
        KafkaSettings(client={name: "1"})


def test_the_client_knows_every_property_that_may_be_set() -> None:
    """A slip in the table would refuse nothing and allow nothing."""
    for name in ALLOWED | BOUNDED.keys():
        with pytest.raises(KafkaException) as raised:
            Producer({name: "\0", "no such property": ""})
        assert f'No such configuration property: "{name}"' not in str(raised.value)


def test_no_property_is_both_allowed_and_refused() -> None:
    """Each has one place in the tables."""
    assert not ALLOWED & BOUNDED.keys()
    assert not (ALLOWED | BOUNDED.keys()) & REFUSED.keys()


@pytest.mark.parametrize("name", sorted(BOUNDED))
def test_within_its_bounds_a_property_suits_both_clients_and_beyond_them_it_is_refused(name: str) -> None:
    """A client is made of the whole configuration, which librdkafka looks at once more for contradictions."""
    low, high, why = BOUNDED[name]
    for value in (low, high):
        settings = KafkaSettings(bootstrap_servers="127.0.0.1:9", client=_with_its_like(name, value))
        Producer({**settings.producer(client_id="host"), "log_level": 0}).close()
        Consumer({**settings.consumer(group="group", client_id="host"), "log_level": 0}).close()
    for value in (low - 1, high + 1):
        with pytest.raises(ValidationError, match=f"{re.escape(why)}|outside allowed range"):
            KafkaSettings(client={name: value})


def _with_its_like(name: str, value: int) -> dict[str, Property]:
    """Return the property together with those that must not be below or above it."""
    partners: dict[str, dict[str, Property]] = {
        "heartbeat.interval.ms": {"session.timeout.ms": 1_800_000, "max.poll.interval.ms": 1_800_000},
        "session.timeout.ms": {"heartbeat.interval.ms": 2_000, "max.poll.interval.ms": 1_800_000},
        "max.poll.interval.ms": {"session.timeout.ms": 10_000},
        "reconnect.backoff.max.ms": {"reconnect.backoff.ms": 1},
        "reconnect.backoff.ms": {"reconnect.backoff.max.ms": 60_000},
        "retry.backoff.max.ms": {"retry.backoff.ms": 1},
        "retry.backoff.ms": {"retry.backoff.max.ms": 60_000},
    }
    return {**partners.get(name, {}), name: value}


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        ({"heartbeat.interval.ms": 3_001, "session.timeout.ms": 6_000}, "expected 2 times heartbeat.interval.ms"),
        ({"session.timeout.ms": 6_000, "heartbeat.interval.ms": "5000"}, "expected 2 times heartbeat.interval.ms"),
        ({"session.timeout.ms": 400_000}, "'max.poll.interval.ms': found 60000, expected session.timeout.ms at least"),
        ({"reconnect.backoff.ms": 5_000}, "'reconnect.backoff.max.ms': found 2000, expected reconnect.backoff.ms"),
    ],
)
def test_properties_that_contradict_each_other_are_refused(client: dict[str, Property], problem: str) -> None:
    """A host whose heartbeats come too seldom would lose its partitions again and again."""
    with pytest.raises(ValidationError, match=re.escape(problem)):
        KafkaSettings(client=client)


def test_a_host_that_died_is_dropped_after_ten_seconds_and_one_that_hangs_after_a_minute() -> None:
    """By default; a contract says otherwise, and a host that may take long to let go of partitions has the time."""
    names = ("session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms")
    settings = KafkaSettings()
    config = settings.consumer(group="group", client_id="host", release_s=6.0)
    assert [config[it] for it in names] == [10_000, 1_000, 60_000]
    assert settings.group_times(6.0) == GroupTimes(session_s=10, poll_s=60)
    slow = settings.consumer(group="group", client_id="host", release_s=305.0)
    assert slow["max.poll.interval.ms"] == 335_000
    client: dict[str, Property] = {"session.timeout.ms": "30000", "max.poll.interval.ms": 90_000}
    settings = KafkaSettings(client=client)
    config = settings.consumer(group="group", client_id="host", release_s=6.0)
    assert [config[it] for it in names] == ["30000", 1_000, 90_000]
    assert settings.group_times(6.0) == GroupTimes(session_s=30, poll_s=90)


def test_with_the_newer_group_protocol_only_the_broker_knows_when_a_session_ends() -> None:
    """The client is not told how long a session is, and would not start."""
    settings = KafkaSettings(group_protocol="consumer")
    config = settings.consumer(group="group", client_id="host")
    Consumer({**config, "log_level": 0}).close()
    assert {"session.timeout.ms", "heartbeat.interval.ms"}.isdisjoint(config)
    assert settings.group_times(6.0) == GroupTimes(session_s=None, poll_s=60)


@pytest.mark.parametrize("name", ["session.timeout.ms", "heartbeat.interval.ms"])
def test_with_the_newer_group_protocol_the_broker_sets_the_times_of_a_session(name: str) -> None:
    """The client would not start; `check` says so."""
    with pytest.raises(ValidationError, match="with group_protocol: consumer the broker sets it"):
        KafkaSettings(group_protocol="consumer", client={name: 10_000})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("security.protocol", "tls"),
        ("compression.type", "brotli"),
        ("socket.keepalive.enable", "perhaps"),
        ("log_level", 8),
        ("linger.ms", "soon"),
        ("session.timeout.ms", True),
    ],
)
def test_a_value_that_the_client_cannot_read_is_refused(name: str, value: Property) -> None:
    """In the client's own words, and before the host starts."""
    with pytest.raises(ValidationError, match=f"property {name!r}: "):
        KafkaSettings(client={name: value})


def test_all_problems_of_the_properties_are_said_at_once() -> None:
    """Whoever mends the contract mends it once."""
    with pytest.raises(ValidationError, match=r"'acks' is not to be set.*; property 'lingr.ms' is not known"):
        KafkaSettings(client={"acks": "1", "lingr.ms": 5})


def test_tls_sasl_and_tuning_are_passed_through() -> None:
    """With secrets as they are referred to: their values are looked at when they are there."""
    client: dict[str, Property] = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "host",
        "sasl.password": "${secret.KAFKA_PASSWORD}",
        "ssl.ca.location": "/etc/ssl/ca.pem",
        "session.timeout.ms": "${secret.TIMEOUT}",
        "compression.type": "lz4",
        "linger.ms": 2.5,
        "debug": "cgrp",
        "transaction.timeout.ms": 900_000,
    }
    assert KafkaSettings(client=client).client == client


@pytest.mark.parametrize(
    ("topics", "settings", "transacts", "count"),
    [
        (1, {}, False, 1),
        (16, {}, False, 1),
        (17, {}, False, 2),
        (500, {"partitions": 1}, False, 8),
        (10_000, {}, False, 16),
        (2, {"partitions": 1000}, False, 2),
        (500, {"consumers": 1}, False, 1),
        (500, {"consumers": 20}, False, 20),
        (5, {"consumers": 20}, False, 5),
        (500, {}, True, 1),
        (500, {"bootstrap_servers": "embedded"}, False, 1),
    ],
)
def test_a_host_has_a_consumer_for_each_64_partitions(
    topics: int,
    settings: dict[str, Any],
    transacts: bool,  # noqa: FBT001 - a case
    count: int,
) -> None:
    """No more than there are topics, and one alone where only one can be."""
    assert KafkaSettings(**settings).consumers_of(topics, transacts=transacts) == count
