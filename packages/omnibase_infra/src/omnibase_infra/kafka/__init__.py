"""Kafka: the bus of a host, the embedded broker, and the clients of the command line. The one user of librdkafka."""

from omnibase_infra.kafka.bus import KafkaBus, KafkaBusFactory
from omnibase_infra.kafka.dead_letters import DeadLetters, Letter, Mark, NoSuchLetter, Place, Selection
from omnibase_infra.kafka.redrive import NotRedrivable, Outcome, Redrive
from omnibase_infra.kafka.settings import EMBEDDED, KafkaSettings, check_addresses

__all__ = [
    "EMBEDDED",
    "DeadLetters",
    "KafkaBus",
    "KafkaBusFactory",
    "KafkaSettings",
    "Letter",
    "Mark",
    "NoSuchLetter",
    "NotRedrivable",
    "Outcome",
    "Place",
    "Redrive",
    "Selection",
    "check_addresses",
]
