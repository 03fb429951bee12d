"""When to try again, and when to stop asking: retries with backoff, and the circuit breaker. Pure.

Time and chance are arguments: `now_s` is monotonic time in seconds, `chance` a random number from 0 up to, not with, 1.
Numbers are checked where contracts are read, not here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are tried again, how often and after how long.

    - `attempts`: how often a command is tried in all, the first time included; 1 means no retry.
    - `initial_s`: seconds before the second attempt, without jitter; at least 0.
    - `max_s`: the longest wait between two attempts, in seconds; nothing makes a wait longer.
    - `multiplier`: by how much each wait is longer than the one before; at least 1.
    - `jitter`: the share of a wait that is random, from 0 to 1, so that what failed together is not tried together.
    - `codes`: the error codes that are retried, whether or not they are retryable; None: whatever is retryable.
    """

    attempts: int = 1
    initial_s: float = 0.2
    max_s: float = 30.0
    multiplier: float = 2.0
    jitter: float = 0.5
    codes: frozenset[str] | None = None

    def is_retried(self, code: str, *, retryable: bool, attempt: int) -> bool:
        """Check whether another attempt follows the one that failed; `attempt` is its number, counted from 1."""
        wanted = retryable if self.codes is None else code in self.codes
        return wanted and attempt < self.attempts

    def delay_s(self, attempt: int, *, chance: float, retry_after_s: float | None = None) -> float:
        """Seconds from the failure of this attempt (counted from 1) to the next one, from 0 to `max_s`.

        The wait is `initial_s * multiplier ** (attempt - 1)`, at most `max_s`, of which the share `jitter` is random.
        Where the other side asked for `retry_after_s` seconds, the wait is no shorter; where these are more than the
        fixed share, the random share comes on top, so that what was put off together is not tried together. What is
        asked beyond `max_s` is not granted: the contract's author, not the other side, says how long a lane may wait.
        """
        full = self._full_s(attempt)
        lowest = full * (1 - self.jitter)
        if retry_after_s is not None:
            lowest = max(lowest, retry_after_s)
        return min(lowest + full * self.jitter * chance, self.max_s)

    def _full_s(self, attempt: int) -> float:
        try:
            return min(self.initial_s * self.multiplier ** (attempt - 1), self.max_s)
        except OverflowError:
            return self.max_s if self.initial_s else 0.0


class BreakerState(StrEnum):
    """What a circuit breaker lets through: everything, nothing, or a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class AdmittedCall:
    """A call that a breaker let through. `well` says how it ended; None: without a result."""

    well: bool | None = None


class CircuitBreaker:
    """Stops asking what does not answer, and finds out by a few probes when it answers again.

    The pattern is that of Nygard, "Release It!": it opens after so many failures in a row. A count needs no window and
    no smallest number of calls, and what mostly fails soon fails so often in a row. As with gobreaker's generations, a
    change of state begins a new period, and what was admitted in an earlier one says nothing about this one.

    Every admitted call has to end in exactly one of `succeeded`, `failed` and `cancelled`, which `admitted` sees to. A
    failure is one that tells that the other side is not well; an answer that refuses the request is a success. Whoever
    does without `admitted` keeps the `period` read right after `admits` and hands it back: without it, a call that
    outlived a change of state is taken for one of now.
    """

    __slots__ = (
        "_failures",
        "_failures_max",
        "_multiplier",
        "_open_first_s",
        "_open_max_s",
        "_open_s",
        "_open_until_s",
        "_period",
        "_probes_max",
        "_probes_out",
        "_probes_succeeded",
        "_state",
    )

    def __init__(
        self,
        *,
        failures: int = 5,
        open_s: float = 1.0,
        open_max_s: float = 60.0,
        multiplier: float = 2.0,
        probes: int = 1,
    ) -> None:
        """Start closed.

        - `failures`: how many in a row open it; at least 1.
        - `open_s`: seconds that it stays open the first time; more than 0.
        - `open_max_s`: the longest that it stays open, in seconds; at least `open_s`.
        - `multiplier`: by how much longer it stays open after each failed probe, until it closes; at least 1.
        - `probes`: how many calls a half-open one admits, all of which have to succeed to close it; at least 1.
        """
        self._failures_max = failures
        self._open_first_s = open_s
        self._open_max_s = open_max_s
        self._multiplier = multiplier
        self._probes_max = probes
        self._state = BreakerState.CLOSED
        self._period = 0
        self._failures = 0
        self._open_s = open_s
        self._open_until_s = 0.0
        self._probes_out = 0
        self._probes_succeeded = 0

    @property
    def state(self) -> BreakerState:
        """The state as of the last call. An open one becomes half-open when it is asked after its time."""
        return self._state

    @property
    def period(self) -> int:
        """The number of the present period: one more with each change of state."""
        return self._period

    def admits(self, now_s: float) -> bool:
        """Check whether a call may start. If so it counts as started, and must be ended."""
        if self._state is BreakerState.CLOSED:
            return True
        if self._state is BreakerState.OPEN:
            if now_s < self._open_until_s:
                return False
            self._enter(BreakerState.HALF_OPEN)
        if not self._has_place:
            return False
        self._probes_out += 1
        return True

    @contextmanager
    def admitted(self, now_s: Callable[[], float]) -> Iterator[AdmittedCall]:
        """Guard a call right after `admits` let it start; however the block ends, the breaker is told what it says."""
        period, call = self._period, AdmittedCall()
        try:
            yield call
        finally:
            self.ended(now_s(), period=period, well=call.well)

    def ended(self, now_s: float, *, period: int, well: bool | None) -> None:
        """Record how an admitted call of a period ended; None: without a result."""
        if well is None:
            self.cancelled(period=period)
        elif well:
            self.succeeded(now_s, period=period)
        else:
            self.failed(now_s, period=period)

    def succeeded(self, now_s: float, *, period: int | None = None) -> None:  # noqa: ARG002 - the same form as `failed`
        """Record that an admitted call succeeded. The last probe to succeed closes the breaker."""
        if self._is_past(period):
            return
        self._failures = 0
        if self._state is BreakerState.HALF_OPEN:
            self._probes_out -= 1
            self._probes_succeeded += 1
            if self._probes_succeeded == self._probes_max:
                self._open_s = self._open_first_s
                self._enter(BreakerState.CLOSED)

    def failed(self, now_s: float, *, period: int | None = None) -> None:
        """Record that an admitted call failed. One failed probe opens the breaker again, for longer."""
        if self._is_past(period):
            return
        self._failures += 1
        if self._state is BreakerState.HALF_OPEN:
            self._open_s = min(self._open_s * self._multiplier, self._open_max_s)
            self._open(now_s)
        elif self._failures == self._failures_max:
            self._open(now_s)

    def cancelled(self, *, period: int | None = None) -> None:
        """Record that an admitted call ended without a result. A probe gives its place back."""
        if self._state is BreakerState.HALF_OPEN and not self._is_past(period):
            self._probes_out -= 1

    def next_probe_s(self, now_s: float) -> float:
        """Seconds until it is worth asking again; 0: now.

        Nobody knows when probes that are under way will end. While they hold every place this is the first `open_s`:
        whoever can, asks when one has ended.
        """
        if self._state is BreakerState.OPEN:
            return max(self._open_until_s - now_s, 0.0)
        if self._state is BreakerState.HALF_OPEN and not self._has_place:
            return self._open_first_s
        return 0.0

    @property
    def _has_place(self) -> bool:
        return self._probes_out + self._probes_succeeded < self._probes_max

    def _is_past(self, period: int | None) -> bool:
        """Whether a result says nothing about now. While open, and half-open without a probe out, none can."""
        if self._state is BreakerState.OPEN or (self._state is BreakerState.HALF_OPEN and not self._probes_out):
            return True
        return period is not None and period != self._period

    def _open(self, now_s: float) -> None:
        self._open_until_s = now_s + self._open_s
        self._enter(BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._period += 1
        self._failures = 0
        self._probes_out = 0
        self._probes_succeeded = 0
