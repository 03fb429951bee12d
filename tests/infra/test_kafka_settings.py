"""The settings of the bus: what is an address of brokers."""

import pytest
from pydantic import ValidationError

from omnibase_infra.kafka import KafkaSettings

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
