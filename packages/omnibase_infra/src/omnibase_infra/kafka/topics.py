"""Creates those topics of a host that are missing, and waits for a broker that is not there yet."""

import threading
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from omnibase_core.errors import BusError
from omnibase_infra.kafka.connectivity import BrokerConnectivity
from omnibase_infra.kafka.settings import KafkaSettings

_ASK_S = 2.0
_CREATE_S = 15.0
_AGAIN_S = 0.5

PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""What a broker says while it is away, starting, or busy with a topic that is new."""


def ensure_topics(
    settings: KafkaSettings,
    *,
    address: str,
    client_id: str,
    topics: Sequence[str],
    connection: BrokerConnectivity,
    give_up: threading.Event,
) -> None:
    """Return when every topic is there, or when `give_up` is set. Blocks.

    Raises BusError when the broker refuses to create a topic that is missing.
    """
    config: dict[str, Any] = {"bootstrap.servers": address, "error_cb": connection.error}
    admin = AdminClient({**settings.common(client_id), **config})
    while not give_up.is_set():
        try:
            missing = _missing(admin, topics, settings)
            connection.found()
            if not missing:
                return
            _create(admin, missing, settings)
            if not _missing(admin, missing, settings):
                return
        except KafkaException as error:
            if error.args[0].code() not in PASSING:
                raise BusError(f"the host's topics could not be looked up: {error.args[0].str()}") from error
            admin.poll(0)  # Why it cannot be reached is told to the error callback alone.
            connection.lost(error.args[0])
        give_up.wait(_AGAIN_S)


def _missing(admin: AdminClient, topics: Sequence[str], settings: KafkaSettings) -> list[str]:
    if settings.embedded:
        # The embedded broker knows no topic administration: a topic is there once it was asked for.
        for topic in topics:
            admin.list_topics(topic, timeout=_ASK_S)
        return []
    there = admin.list_topics(timeout=_ASK_S).topics
    return [topic for topic in topics if topic not in there]


def _create(admin: AdminClient, topics: Sequence[str], settings: KafkaSettings) -> None:
    # Without a number of its own (-1) the broker takes its `default.replication.factor`: Kafka 2.4 and later.
    replicas = settings.replicas or -1
    asked = [NewTopic(it, num_partitions=settings.partitions, replication_factor=replicas) for it in topics]
    for topic, future in admin.create_topics(asked, operation_timeout=_CREATE_S, request_timeout=_CREATE_S).items():
        try:
            future.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() in PASSING or reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            raise BusError(f"topic {topic} is missing and could not be created: {reason.str()}") from error
