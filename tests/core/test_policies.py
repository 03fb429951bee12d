"""Retries wait long enough and never too long; a breaker against a plain model, and never wedged."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omnibase_core.policies import BreakerState, CircuitBreaker, RetryPolicy

CHANCES = st.floats(0, 1, exclude_max=True)
ATTEMPTS = st.integers(1, 5000)
RETRIES = st.builds(
    RetryPolicy,
    attempts=ATTEMPTS,
    initial_s=st.floats(0, 100),
    max_s=st.floats(0, 1000),
    multiplier=st.floats(1, 10),
    jitter=st.floats(0, 1),
)
SLACK = 1 + 1e-9
"""What rounding may add to a product."""


# --- Retries ------------------------------------------------------------------------------------------------------


@given(RETRIES, ATTEMPTS, CHANCES, st.none() | st.floats(0))
@example(RetryPolicy(initial_s=0.0), 5000, 0.5, None)
@example(RetryPolicy(initial_s=1e-300), 5000, 0.5, None)
def test_a_delay_is_bounded(policy: RetryPolicy, attempt: int, chance: float, retry_after_s: float | None) -> None:
    """No attempt, however late, and no wish of the other side, however great, leaves the bounds."""
    delay_s = policy.delay_s(attempt, chance=chance, retry_after_s=retry_after_s)
    assert 0 <= delay_s <= policy.max_s
    if retry_after_s is not None:
        assert delay_s >= min(retry_after_s, policy.max_s)


@given(RETRIES, ATTEMPTS, CHANCES, st.none() | st.floats(0))
@example(RetryPolicy(multiplier=2.0), 1024, 0.5, None)
def test_a_later_attempt_waits_no_less(
    policy: RetryPolicy, attempt: int, chance: float, retry_after_s: float | None
) -> None:
    """Whatever the chance: so in expectation too."""
    earlier_s = policy.delay_s(attempt, chance=chance, retry_after_s=retry_after_s)
    later_s = policy.delay_s(attempt + 1, chance=chance, retry_after_s=retry_after_s)
    assert later_s * SLACK >= earlier_s


@given(RETRIES, ATTEMPTS, CHANCES)
def test_jitter_is_a_share_of_the_delay(policy: RetryPolicy, attempt: int, chance: float) -> None:
    """The wait lies between its fixed share and the whole, in proportion to the chance."""
    fixed_s = policy.delay_s(attempt, chance=0)
    whole_s = RetryPolicy(
        initial_s=policy.initial_s, max_s=policy.max_s, multiplier=policy.multiplier, jitter=0
    ).delay_s(attempt, chance=chance)
    assert math.isclose(fixed_s, whole_s * (1 - policy.jitter), abs_tol=1e-300)
    expected_s = fixed_s + (whole_s - fixed_s) * chance
    assert math.isclose(policy.delay_s(attempt, chance=chance), expected_s, rel_tol=1e-9, abs_tol=1e-9)


@given(RETRIES, ATTEMPTS, CHANCES, st.floats(0))
def test_a_wish_never_shortens_a_delay(policy: RetryPolicy, attempt: int, chance: float, retry_after_s: float) -> None:
    """The backoff holds, even if the other side would have us back at once."""
    own_s = policy.delay_s(attempt, chance=chance)
    assert policy.delay_s(attempt, chance=chance, retry_after_s=retry_after_s) >= own_s


def test_what_was_put_off_together_is_not_tried_together() -> None:
    """Jitter comes on top of what the other side asked for, and only there where the cap leaves room."""
    policy = RetryPolicy(initial_s=1.0, max_s=30.0, jitter=0.5)
    assert policy.delay_s(1, chance=0.0, retry_after_s=10.0) == 10.0
    assert policy.delay_s(1, chance=0.5, retry_after_s=10.0) == 10.25
    assert policy.delay_s(1, chance=0.5, retry_after_s=3600.0) == 30.0


def test_backoff_doubles_up_to_its_limit() -> None:
    """The numbers of a contract, seen once."""
    policy = RetryPolicy(attempts=9, initial_s=0.5, max_s=5.0, jitter=0.0)
    assert [policy.delay_s(attempt, chance=0.9) for attempt in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


@given(st.integers(1, 50), st.booleans())
def test_attempts_count_the_first_one(attempts: int, retryable: bool) -> None:  # noqa: FBT001 - Hypothesis names it
    """A command that always fails is tried exactly so often; one that may not be retried, once."""
    policy = RetryPolicy(attempts=attempts)
    tried = 1
    while policy.is_retried("timeout", retryable=retryable, attempt=tried):
        tried += 1
    assert tried == (attempts if retryable else 1)


@pytest.mark.parametrize("retryable", [True, False])
def test_codes_given_are_those_alone(retryable: bool) -> None:  # noqa: FBT001 - pytest names it
    """A contract that names codes decides for itself what is worth another attempt."""
    policy = RetryPolicy(attempts=2, codes=frozenset({"timeout"}))
    assert policy.is_retried("timeout", retryable=retryable, attempt=1)
    assert not policy.is_retried("http_503", retryable=retryable, attempt=1)
    assert not policy.is_retried("timeout", retryable=retryable, attempt=2)


def test_by_default_nothing_is_retried() -> None:
    """An effect is repeated only where its contract says that it may be."""
    assert not RetryPolicy().is_retried("timeout", retryable=True, attempt=1)


# --- The breaker against a model ----------------------------------------------------------------------------------


class BreakerAgainstModel(RuleBasedStateMachine):
    """The model writes everything down: the results of now, and for each call the period that admitted it.

    Times are whole numbers of seconds, so that nothing depends on rounding.
    """

    @initialize(
        failures=st.integers(1, 3), probes=st.integers(1, 3), open_s=st.integers(1, 4), factor=st.sampled_from([1, 2])
    )
    def start(self, failures: int, probes: int, open_s: int, factor: int) -> None:
        """Start closed."""
        self.breaker = CircuitBreaker(failures=failures, open_s=open_s, open_max_s=10, multiplier=factor, probes=probes)
        self.failures, self.probes, self.open_s, self.factor = failures, probes, open_s, factor
        self.now = 100
        self.state = "closed"
        self.since = self.now
        self.failed_probes_in_a_row = 0
        self.results: list[bool] = []
        self.current: dict[int, int] = {}
        self.outlived: dict[int, int] = {}
        self.calls = 0

    def change(self, state: str) -> None:
        """Begin a new period: nothing that was admitted before counts any more."""
        self.state, self.since, self.results = state, self.now, []
        self.outlived.update(self.current)
        self.current = {}

    @property
    def opens_at(self) -> int:
        """When an open breaker admits its first probe."""
        growth: int = self.factor**self.failed_probes_in_a_row
        return self.since + min(self.open_s * growth, 10)

    @property
    def places(self) -> int:
        """How many more probes may start: those under way and those that succeeded have theirs."""
        return self.probes - len(self.current) - len(self.results)

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def wait_as_told(self) -> None:
        """Whoever waits as long as it is told to is admitted, unless probes hold every place."""
        self.now += int(self.breaker.next_probe_s(self.now))
        expected = self.state != "half_open" or self.places > 0
        self.ask()
        assert self.admitted is expected

    @rule()
    def ask(self) -> None:
        """Everything is admitted while closed, nothing while open, and as many as there are places after that."""
        if self.state == "open" and self.now >= self.opens_at:
            self.change("half_open")
        expected = self.state == "closed" or (self.state == "half_open" and self.places > 0)
        self.admitted = self.breaker.admits(self.now)
        assert self.admitted is expected
        if self.admitted:
            self.current[self.calls] = self.breaker.period
            self.calls += 1

    @precondition(lambda self: self.current)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        """Success of every probe closes the breaker; success while closed ends a row of failures."""
        self.breaker.succeeded(self.now, period=self.current.pop(data.draw(st.sampled_from(sorted(self.current)))))
        self.results.append(True)
        if self.state == "half_open" and len(self.results) == self.probes:
            self.failed_probes_in_a_row = 0
            self.change("closed")

    @precondition(lambda self: self.current)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """So many failures in a row open the breaker; so does one failed probe, for longer."""
        self.breaker.failed(self.now, period=self.current.pop(data.draw(st.sampled_from(sorted(self.current)))))
        self.results.append(False)
        if self.state == "half_open":
            self.failed_probes_in_a_row += 1
            self.change("open")
        elif self.results[-self.failures :] == [False] * self.failures:
            self.change("open")

    @precondition(lambda self: self.current)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A cancelled call says nothing, and leaves its place."""
        self.breaker.cancelled(period=self.current.pop(data.draw(st.sampled_from(sorted(self.current)))))

    @precondition(lambda self: self.outlived)
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def end_late(self, data: st.DataObject, end: str) -> None:
        """What was admitted in an earlier period changes nothing."""
        period = self.outlived.pop(data.draw(st.sampled_from(sorted(self.outlived))))
        if end == "succeeded":
            self.breaker.succeeded(self.now, period=period)
        elif end == "failed":
            self.breaker.failed(self.now, period=period)
        else:
            self.breaker.cancelled(period=period)

    @invariant()
    def agrees_with_the_model(self) -> None:
        """State and the time to wait are the model's, and never too many probes are under way."""
        assert self.breaker.state == self.state
        if self.state == "open":
            assert self.breaker.next_probe_s(self.now) == max(self.opens_at - self.now, 0)
        elif self.state == "half_open":
            assert len(self.current) <= self.probes
            assert (self.breaker.next_probe_s(self.now) == 0) is (self.places > 0)
        else:
            assert self.breaker.next_probe_s(self.now) == 0

    def teardown(self) -> None:
        """Whatever happened: when every call has ended and calls succeed again, it closes."""
        if hasattr(self, "breaker"):
            for period in self.current.values():
                self.breaker.cancelled(period=period)
            assert_recovers(self.breaker, self.now, probes=self.probes)


TestBreakerAgainstModel = BreakerAgainstModel.TestCase


@pytest.mark.parametrize(
    ("well", "state"), [(True, BreakerState.CLOSED), (False, BreakerState.OPEN), (None, BreakerState.HALF_OPEN)]
)
def test_a_call_that_is_held_ends_as_it_says(well: bool | None, state: BreakerState) -> None:  # noqa: FBT001 - a case
    """By its result, at the time when it has it; without one, its place is free again."""
    breaker, now_s = CircuitBreaker(failures=1, open_s=5), [0.0]
    breaker.failed(0)
    assert breaker.admits(5)
    with breaker.admitted(lambda: now_s[0]) as call:
        call.well = well
        now_s[0] = 7
    assert breaker.state is state
    assert breaker.next_probe_s(7) == (10 if well is False else 0)


def test_a_call_that_is_held_and_raises_was_cancelled_unless_it_said_otherwise() -> None:
    """What flies past is the caller's affair; a call that outlived a change of state says nothing."""
    breaker = CircuitBreaker(failures=1, open_s=5)
    breaker.failed(0)
    assert breaker.admits(5)
    with pytest.raises(ZeroDivisionError), breaker.admitted(lambda: 5):
        raise ZeroDivisionError
    assert (breaker.state, breaker.admits(5)) == (BreakerState.HALF_OPEN, True)
    with breaker.admitted(lambda: 6) as late:
        breaker.succeeded(5)
        late.well = False
    assert breaker.state is BreakerState.CLOSED


# --- The breaker whose callers keep no periods --------------------------------------------------------------------


def assert_recovers(breaker: CircuitBreaker, now_s: float, *, probes: int) -> None:
    """With no call under way, wait as told and let every call succeed: it is closed after one round of probes."""
    for _ in range(probes):
        for _ in range(2):  # rounding may leave the first wait short; the second is then exact
            now_s += breaker.next_probe_s(now_s)
        assert breaker.next_probe_s(now_s) == 0
        assert breaker.admits(now_s)
        breaker.succeeded(now_s)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.next_probe_s(now_s) == 0
    assert breaker.admits(now_s)


@st.composite
def breakers(draw: st.DrawFn) -> tuple[CircuitBreaker, int]:
    """Any breaker, and how many probes it asks for."""
    probes = draw(st.integers(1, 3))
    breaker = CircuitBreaker(
        failures=draw(st.integers(1, 4)),
        open_s=draw(st.floats(0.001, 60)),
        open_max_s=draw(st.floats(60, 600)),
        multiplier=draw(st.floats(1, 10)),
        probes=probes,
    )
    return breaker, probes


@given(
    breakers(), st.floats(0, 1e6), st.lists(st.sampled_from(["ask", "succeed", "fail", "cancel"]) | st.floats(0, 100))
)
def test_it_recovers_whoever_its_callers_are(
    made: tuple[CircuitBreaker, int], now_s: float, steps: list[str | float]
) -> None:
    """Without periods a late result may mislead it for a while; it still admits nothing while open and never wedges."""
    breaker, probes = made
    under_way = 0
    for step in steps:
        if isinstance(step, float):
            now_s += step
        elif step == "ask":
            wait_s, was_open = breaker.next_probe_s(now_s), breaker.state is BreakerState.OPEN
            admitted = breaker.admits(now_s)
            assert not (admitted and was_open and wait_s > 0)
            under_way += admitted
        elif under_way:
            under_way -= 1
            if step == "succeed":
                breaker.succeeded(now_s)
            elif step == "fail":
                breaker.failed(now_s)
            else:
                breaker.cancelled()
    for _ in range(under_way):
        breaker.cancelled()
    assert_recovers(breaker, now_s, probes=probes)


@given(breakers(), st.floats(0, 1e6), st.integers(1, 200))
def test_cancelled_probes_never_wedge_it(made: tuple[CircuitBreaker, int], now_s: float, count: int) -> None:
    """Each gives its place back, however many there were."""
    breaker, probes = made
    while breaker.state is BreakerState.CLOSED:
        breaker.failed(now_s)
    now_s += 60
    for _ in range(count):
        assert breaker.admits(now_s)
        breaker.cancelled()
    assert_recovers(breaker, now_s, probes=probes)


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_late_results_without_a_period_are_known_where_nothing_else_can_end(end: str) -> None:
    """No call ends while open, nor while half-open without a probe under way: such results are from before."""
    breaker = CircuitBreaker(failures=1, open_s=4.0)
    breaker.failed(0.0)
    for now_s in (3.0, 5.0):
        if now_s == 5.0:
            assert breaker.admits(now_s)
            breaker.cancelled()
        if end == "succeeded":
            breaker.succeeded(now_s)
        elif end == "failed":
            breaker.failed(now_s)
        else:
            breaker.cancelled()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admits(5.0)
    assert not breaker.admits(5.0)


def test_it_stays_open_longer_after_each_failed_probe_and_forgets_that_once_closed() -> None:
    """Open times double up to their limit; a success of the probes starts them anew."""
    breaker = CircuitBreaker(failures=1, open_s=1.0, open_max_s=5.0, multiplier=2.0)
    now_s, waits = 0.0, []
    breaker.failed(now_s)
    for _ in range(5):
        waits.append(breaker.next_probe_s(now_s))
        now_s += waits[-1]
        assert breaker.admits(now_s)
        assert not breaker.admits(now_s)
        breaker.failed(now_s)
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert_recovers(breaker, now_s, probes=1)
    breaker.failed(100.0)
    assert breaker.next_probe_s(100.0) == 1.0


def test_a_success_between_failures_keeps_it_closed() -> None:
    """Only failures in a row open it."""
    breaker = CircuitBreaker(failures=2)
    for _ in range(10):
        breaker.failed(0.0)
        breaker.succeeded(0.0)
    assert breaker.state is BreakerState.CLOSED


def test_a_cancelled_call_does_not_end_a_row_of_failures() -> None:
    """It says nothing: the failures before and after it are in a row."""
    breaker = CircuitBreaker(failures=2)
    breaker.failed(0.0)
    breaker.cancelled()
    breaker.failed(0.0)
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_call_from_before_is_no_probe(end: str) -> None:
    """A slow call that was admitted before the breaker opened neither ends a probe nor gives its place away."""
    breaker = CircuitBreaker(failures=1, open_s=1.0)
    assert breaker.admits(0.0)
    before = breaker.period
    breaker.failed(0.0)
    assert breaker.admits(1.0)
    if end == "succeeded":
        breaker.succeeded(1.0, period=before)
    elif end == "failed":
        breaker.failed(1.0, period=before)
    else:
        breaker.cancelled(period=before)
    assert not breaker.admits(1.0)
    breaker.succeeded(2.0, period=breaker.period)
    assert breaker.state is BreakerState.CLOSED
