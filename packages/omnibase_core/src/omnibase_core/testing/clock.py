"""A clock that moves only when it is told to."""

from datetime import UTC, datetime, timedelta


class FixedClock:
    """Stands at a moment until it is advanced."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Start at an aware moment."""
        self._now = start
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        """Give the moment at which the clock stands."""
        return self._now

    def monotonic_s(self) -> float:
        """Give the seconds by which the clock was advanced."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds
