"""A pool while it is deployed: hosts of the version before read what this one puts on the retry topic, and back."""

from datetime import UTC, datetime

import pytest

from omnibase_core.engine.retry_topic import PREFIX, RetryState, retried, retry_message
from omnibase_core.ports import Delivery, Headers, Message, Partition

BEFORE = ("topic", "partition", "offset", "attempts", "first-failed-at", "due")
"""What the version before wrote, and looked for in exactly the last six headers."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = Delivery(Partition("t", 3), 17, b"k", b"v", (("mine", b"1"),), 0)
TRIED = RetryState(2, NOW, NOW, 1.5, 4.0)


def delivered(message: Message, headers: Headers | None = None) -> Delivery:
    """Deliver a message of the retry topic."""
    found = message.headers if headers is None else headers
    return Delivery(Partition(message.topic, 0), 0, message.key, message.value, found, 0)


def test_a_host_of_the_version_before_reads_what_this_one_writes() -> None:
    """It would take anything else for a message that no host put there, and end it as a dead letter."""
    message = retry_message(ORIGIN, TRIED, topic="retries")
    assert [name for name, _ in message.headers[-6:]] == [PREFIX + name for name in BEFORE]


@pytest.mark.parametrize("again", [False, True])
def test_what_a_host_of_the_version_before_has_put_there_is_read(again: bool) -> None:  # noqa: FBT001 - a case
    """Also a command that a host of this version had put there first."""
    first = retry_message(ORIGIN, TRIED, topic="retries")
    facts = zip(BEFORE, (b"t", b"3", b"17", b"3", *[NOW.isoformat().encode()] * 2), strict=True)
    kept = first.headers[:-6] if again else ORIGIN.headers
    found = retried(delivered(first, (*kept, *((PREFIX + name, value) for name, value in facts))))
    assert found is not None
    assert (found[0], found[1].attempts) == (ORIGIN, 3)


def test_durations_of_this_version_are_read_and_taken_off() -> None:
    """Twice on the topic, too."""
    once = retried(delivered(retry_message(ORIGIN, TRIED, topic="retries")))
    assert once == (ORIGIN, TRIED)
    assert retried(delivered(retry_message(once[0], TRIED, topic="retries"))) == (ORIGIN, TRIED)
