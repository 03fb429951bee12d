"""What waits on the retry topic comes back as it was, and so does what is left to another host of the pool."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.engine.retry_topic import PREFIX, RetryState, passed_on, retried, retry_message, taken_over
from omnibase_core.ports import Delivery, Message, Partition

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
SECONDS = st.floats(0, 1e6)
NAMES = st.text(max_size=8) | st.sampled_from([f"{PREFIX}topic", f"{PREFIX}due", "onex-passed-on"])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=8)), max_size=3).map(tuple)
DELIVERIES = st.builds(
    Delivery,
    partition=st.builds(Partition, topic=st.text(max_size=20), number=st.integers(0, 10_000)),
    offset=st.integers(0, 2**62),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=20),
    headers=HEADERS,
    timestamp_ms=st.just(0),
    headers_error=st.none(),
)


def arrived(message: Message) -> Delivery:
    """Return a message as it is delivered on its topic."""
    return Delivery(Partition(message.topic, 3), 7, message.key, message.value, tuple(message.headers), 0)


@given(DELIVERIES, st.builds(RetryState, st.integers(1, 1000), MOMENTS, MOMENTS, SECONDS, SECONDS))
def test_a_retried_command_comes_back_as_it_was(origin: Delivery, tried: RetryState) -> None:
    """Place, key, value and headers, those that look like ours included; and how often it was tried."""
    assert retried(arrived(retry_message(origin, tried, topic="retries"))) == (origin, tried)


@given(DELIVERIES)
def test_anything_else_is_no_retry(delivery: Delivery) -> None:
    """Whatever its headers: it is none of ours, or nothing is raised."""
    found = retried(delivery)
    assert found is None or found[1].attempts >= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("due", b"2026-01-01T00:00:00"),
        ("first-failed-at", b"2026-01-01T00:00:00"),
        ("attempts", b"0"),
        ("attempts", b"many"),
        ("delay-s", b"nan"),
        ("spent-s", b"-1"),
        ("offset", None),
    ],
)
def test_facts_that_nobody_can_act_on_are_not_ours(name: str, value: bytes | None) -> None:
    """A time without its zone, a number that is none, a duration that never ends."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    message = retry_message(
        Delivery(Partition("a", 0), 0, None, b"", (), 0), RetryState(1, moment, moment, 1.0, 1.0), topic="r"
    )
    headers = [(header, value if header == PREFIX + name else fact) for header, fact in message.headers]
    assert retried(arrived(message._replace(headers=headers))) is None


def test_facts_of_other_versions_are_read() -> None:
    """An older host says no durations; a newer one says more than is known here."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    origin = Delivery(Partition("a", 2), 5, b"k", b"v", (("h", b"1"),), 0)
    message = retry_message(origin, RetryState(2, moment, moment, 1.0, 1.0), topic="r")
    older = message._replace(
        headers=[it for it in message.headers if it[0] not in (f"{PREFIX}delay-s", f"{PREFIX}spent-s")]
    )
    assert retried(arrived(older)) == (origin, RetryState(2, moment, moment, None, None))
    newer = message._replace(headers=[*message.headers, (f"{PREFIX}mood", b"well")])
    assert retried(arrived(newer)) == (origin, RetryState(2, moment, moment, 1.0, 1.0))


@given(DELIVERIES, SECONDS, SECONDS)
def test_what_is_passed_on_comes_back_with_its_key_and_its_first_place(
    delivery: Delivery, first_s: float, then_s: float
) -> None:
    """However often it was passed on: the message itself has no key, so that it may go to any partition."""
    message = passed_on(delivery, first_s)
    assert message.key is None
    again, waited_s = taken_over(arrived(message))
    assert again._replace(partition=delivery.partition) == delivery
    assert waited_s == pytest.approx(first_s, abs=0.1)
    twice, waited_s = taken_over(arrived(passed_on(again, then_s)))
    assert twice == again
    assert waited_s == pytest.approx(then_s, abs=0.1)


@given(DELIVERIES)
def test_what_is_not_marked_was_not_passed_on(delivery: Delivery) -> None:
    """It is as it was delivered."""
    assert taken_over(delivery) == (delivery, 0.0)
