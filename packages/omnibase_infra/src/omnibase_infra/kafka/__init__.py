"""Kafka: the bus of a host, the embedded broker, and the clients of the command line. The one user of librdkafka."""

from omnibase_infra.kafka.bus import KafkaBus, KafkaBusFactory
from omnibase_infra.kafka.dead_letters import (
    DeadLetter,
    DeadLetterPosition,
    DeadLetters,
    Mark,
    NoSuchDeadLetter,
    Selection,
)
from omnibase_infra.kafka.redrive import NotRedrivable, Redrive, RedriveOutcome
from omnibase_infra.kafka.settings import EMBEDDED, KafkaSettings, NotKafka, check_addresses, kafka_settings

__all__ = [
    "EMBEDDED",
    "DeadLetter",
    "DeadLetterPosition",
    "DeadLetters",
    "KafkaBus",
    "KafkaBusFactory",
    "KafkaSettings",
    "Mark",
    "NoSuchDeadLetter",
    "NotKafka",
    "NotRedrivable",
    "Redrive",
    "RedriveOutcome",
    "Selection",
    "check_addresses",
    "kafka_settings",
]
