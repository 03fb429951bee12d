"""The embedded broker: librdkafka's mock cluster, inside this process. For trying out and for tests.

Its limits: topics appear on first use with 4 partitions, a partition keeps about 5 MB and then drops its oldest
messages, and there are no transactions. Nothing outlives the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from omnibase_infra.kafka.settings import EMBEDDED

__all__ = ["EMBEDDED", "embedded_broker"]

_ANSWERS_WITHIN_S = 10.0


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Give the broker's address for as long as the context is open."""
    holder = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "embedded", "log_level": 2})
    brokers = holder.list_topics(timeout=_ANSWERS_WITHIN_S).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    # The cluster lives as long as the client that holds it.
    del holder
