"""Fixtures for every test."""

import uuid
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def kafka():
    """To be replaced."""
    return SimpleNamespace(bootstrap_servers="127.0.0.1:19092")


@pytest.fixture
def unique_slug():
    """Give a name that no other test uses."""
    return "t" + uuid.uuid4().hex[:10]
