"""Where keys go on a real broker: librdkafka's partitioner against ours, which is Java's."""

from collections.abc import Sequence

from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnibase_core.partitioning import partition_of
from tests.support.brokers import Broker
from tests.support.traffic import create_topics

_PARTITIONS = 7


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.binary(max_size=40), min_size=1, max_size=100))
def test_a_key_is_where_javas_clients_put_it(kafka: Broker, keys: Sequence[bytes]) -> None:
    """Any bytes, the empty key too: the delivery reports say where the broker has them."""
    client = _producer(kafka)
    seen: dict[bytes, set[int]] = {}
    for key in keys:
        client.produce(
            _TOPIC,
            b"",
            key,
            on_delivery=lambda error, message, key=key: seen.setdefault(key, set()).add(
                -1 if error is not None else message.partition()
            ),
        )
    assert client.flush(30) == 0
    assert seen == {key: {partition_of(key, _PARTITIONS)} for key in keys}


_TOPIC = "partitioner"
_PRODUCERS: dict[str, Producer] = {}


def _producer(kafka: Broker) -> Producer:
    """Return the one producer of this module, and its topic with it: each example would wait for its own."""
    address = kafka.bootstrap_servers
    if address not in _PRODUCERS:
        create_topics(address, [_TOPIC], partitions=_PARTITIONS)
        options = {"partitioner": "murmur2_random", "linger.ms": 0, "log_level": 0}
        _PRODUCERS[address] = Producer({"bootstrap.servers": address, **options})
    return _PRODUCERS[address]
