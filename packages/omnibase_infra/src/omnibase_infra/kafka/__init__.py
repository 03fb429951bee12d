"""Kafka: the bus of a host, the embedded broker, and the client that sends one command. The one user of librdkafka."""

from omnibase_infra.kafka.bus import KafkaBus, KafkaBusFactory
from omnibase_infra.kafka.caller import KafkaCaller
from omnibase_infra.kafka.embedded import EMBEDDED
from omnibase_infra.kafka.settings import KafkaSettings

__all__ = ["EMBEDDED", "KafkaBus", "KafkaBusFactory", "KafkaCaller", "KafkaSettings"]
