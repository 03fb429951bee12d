"""In how many seconds a server wants to be asked again. Pure, but for the time of day."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DIGITS_MAX = 9


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date; None for whatever else a server writes there.

    Servers of models also say it in milliseconds. Names of headers are in lower case.
    """
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    written = headers.get("retry-after", "").strip()
    if (seconds := _number(written)) is not None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(written) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str) -> float | None:
    text = text.strip()[:_DIGITS_MAX]
    return float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else None
