"""What is put aside comes back as it was."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.overtaking import Tried, put_aside, taken_up
from omnibase_core.ports import Delivery, Partition

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
HEADERS = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=3).map(tuple)
DELIVERIES = st.builds(
    Delivery,
    partition=st.builds(Partition, topic=st.text(max_size=20), number=st.integers(0, 10_000)),
    offset=st.integers(0, 2**62),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=20),
    headers=HEADERS,
    timestamp_ms=st.just(0),
)


@given(DELIVERIES, st.integers(1, 1000), MOMENTS, MOMENTS)
def test_what_is_put_aside_comes_back_as_it_was(
    origin: Delivery, attempts: int, first: datetime, due: datetime
) -> None:
    """Place, key, value and headers, those that look like ours included; and how often it was tried."""
    message = put_aside(origin, topic="retries", attempts=attempts, first_failed_at=first, due=due)
    again = Delivery(Partition("retries", 3), 7, message.key, message.value, message.headers, 0)
    assert taken_up(again) == (origin, Tried(attempts, first, due))


@given(DELIVERIES)
def test_anything_else_is_not_taken_up(delivery: Delivery) -> None:
    """Whatever its headers: it is none of ours, or nothing is raised."""
    found = taken_up(delivery)
    assert found is None or found[1].attempts >= 1


def test_a_time_without_its_zone_is_not_ours() -> None:
    """Nobody could say when it is due."""
    origin = Delivery(Partition("a", 0), 0, None, b"", (), 0)
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the point of the test
    for first, due in ((naive, naive), (naive, naive.replace(tzinfo=UTC)), (naive.replace(tzinfo=UTC), naive)):
        message = put_aside(origin, topic="retries", attempts=1, first_failed_at=first, due=due + timedelta(0))
        assert taken_up(Delivery(Partition("r", 0), 0, None, b"", message.headers, 0)) is None
