"""When a server wants to be asked again: whatever it writes, it is a number of seconds or nothing."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_infra.http.retry_after import retry_after_s


@given(st.text(max_size=40) | st.from_regex(r"Mon, \d{1,12} Jan \d{1,12} \d\d:00:00 [+-]\d{1,20}", fullmatch=True))
def test_whatever_is_written_is_seconds_or_nothing(written: str) -> None:
    """It is a number from outside: no error of Python's gets out."""
    for name in ("retry-after", "retry-after-ms"):
        found_s = retry_after_s({name: written})
        assert found_s is None or (isfinite(found_s) and found_s >= 0)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("5", 5.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("9" * 400, 999_999_999.0),
        ("-3", None),
        ("1e3", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
    ],
)
def test_seconds_and_dates_are_read(written: str, seconds: float | None) -> None:
    """As RFC 9110 has it; what has passed is now."""
    assert retry_after_s({"retry-after": written}) == seconds


def test_a_date_to_come_is_as_far_off_as_it_is() -> None:
    """By the clock of this host."""
    found_s = retry_after_s({"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)})
    assert found_s is not None
    assert 85 < found_s <= 90
