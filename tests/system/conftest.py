"""A machine for each test: contracts, logs and state of its own, on the broker that all share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokers import Broker
from tests.support.hosts import Machine


@pytest.fixture
def machine(tmp_path: Path, kafka: Broker, unique_slug: str) -> Iterator[Machine]:
    """Yield a machine on the shared broker, and end what runs on it."""
    found = Machine(tmp_path, tenant=unique_slug, broker=kafka.bootstrap_servers)
    yield found
    found.close()
