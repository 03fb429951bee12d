"""What every model accepts and what makes no sense all the same: told at the number to change, or not at all."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from omnibase_core.contracts.node import DeliveryPolicy, Retry
from omnibase_core.errors import InvalidContracts, Problem
from tests.support.commands import ECHO, host, node, registry

COMPUTE = """
contract: node/v1
name: adder
kind: compute
version: 1.0.0
description: A node of a test.
operations: {add: {input: {}, OPERATION}}
delivery: DELIVERY
"""


def _problems(files: dict[str, str]) -> list[Problem]:
    try:
        registry(files)
    except InvalidContracts as error:
        return list(error.problems)
    return []


def _of(delivery: str, **options: str) -> list[str]:
    found = _problems({"n.yaml": node("greeter", delivery=delivery, **options).lstrip()})
    assert all(problem.line == 8 for problem in found)
    return [f"{problem.column}: {problem.message} [{problem.code}]" for problem in found]


def _of_compute(delivery: str, operation: str = "logic: 'pkg:f'") -> list[str]:
    text = COMPUTE.replace("OPERATION", operation).replace("DELIVERY", delivery).lstrip()
    return [f"{problem.column}: {problem.message} [{problem.code}]" for problem in _problems({"n.yaml": text})]


WAITS = "it bounds the calls of a handler that waits, and this node makes none"
FUNCTIONS = "it bounds the functions of a compute node, and this node has none"


def test_the_bound_of_another_kind_of_node_is_refused() -> None:
    """It would bound nothing; the one that does is named, if there is one."""
    assert _of("{budget_s: 1}") == [
        f"12: nothing reads budget_s here: {FUNCTIONS}; remove it, or write timeout_s [unused-key]"
    ]
    assert _of("{timeout_s: 1}") == []
    assert _of("{timeout_s: 1}", handler="local", operations=ECHO) == [
        f"12: nothing reads timeout_s here: {WAITS}; remove it [unused-key]"
    ]
    assert _of_compute("{timeout_s: 1}") == [
        f"12: nothing reads timeout_s here: {WAITS}; remove it, or write budget_s [unused-key]"
    ]
    assert _of_compute("{budget_s: 1}") == []
    assert _of_compute("{isolation: process, budget_s: 1, timeout_s: 2}") == []
    assert _of_compute("{budget_s: 1}", "answer: {a: 1}") == [
        f"12: nothing reads budget_s here: {FUNCTIONS}; remove it [unused-key]"
    ]


@pytest.mark.parametrize(
    "key",
    ["initial_s: 1", "max_s: 1", "multiplier: 1", "jitter: 1", "codes: [busy]", "deadline_s: 60", "on_retry: wait"],
)
def test_what_is_said_of_further_attempts_needs_them(key: str) -> None:
    """With one attempt there is no wait, no deadline of all, and nothing to overtake."""
    name = key.partition(":")[0]
    within = name not in ("deadline_s", "on_retry")
    once, twice = (
        f"{{retry: {{attempts: {attempts}, {key}}}}}" if within else f"{{{key}, retry: {{attempts: {attempts}}}}}"
        for attempts in (1, 2)
    )
    column = 33 if within else 12
    assert _of(once) == [
        f"{column}: nothing reads {name} with attempts: 1; remove it, or write attempts: 2 [unused-key]"
    ]
    assert _of(twice) == []


def test_one_call_may_not_take_longer_than_all() -> None:
    """The number that is written is shown, and one that nobody wrote is named as such."""
    told = "write timeout_s: 10 or less, or deadline_s: 30 or more [timeout-past-deadline]"
    assert _of("{deadline_s: 10}") == [
        f"24: one call may take 30 s (timeout_s, by default), all attempts together 10 s (deadline_s); {told}"
    ]
    assert _of("{timeout_s: 30, deadline_s: 10}") == [
        f"23: one call may take 30 s (timeout_s), all attempts together 10 s (deadline_s); {told}"
    ]
    assert _of("{timeout_s: 10, deadline_s: 10}") == []
    assert _of_compute("{budget_s: 2, deadline_s: 1}")[0].startswith("22: one call may take 2 s (budget_s), all ")
    assert _of_compute("{deadline_s: 10}") == []


def test_a_first_wait_beyond_the_longest_is_refused() -> None:
    """No wait is longer than `max_s`: the larger number would have no effect."""
    [told] = _of("{retry: {initial_s: 40}}")
    assert told == (
        "31: the first wait is 40 s (initial_s), the longest 30 s (max_s, by default); "
        "write initial_s: 30 or less, or max_s: 40 or more [wrong-value]"
    )
    assert _of("{retry: {max_s: 0.1}}")[0].startswith("27: the first wait is 0.2 s (initial_s, by default), ")


@given(
    attempts=st.integers(2, 60),
    deadline_s=st.integers(1, 400),
    initial_s=st.sampled_from([0.1, 1, 5, 20]),
    max_s=st.sampled_from([20, 60]),
    jitter=st.sampled_from([0, 0.5, 1]),
)
def test_attempts_are_refused_only_if_none_could_ever_be_the_last(
    attempts: int, deadline_s: int, initial_s: float, max_s: float, jitter: float
) -> None:
    """What is advised is accepted: fewer attempts or a later deadline; one attempt more, or a second less, is not."""
    retry = Retry(attempts=attempts, initial_s=initial_s, max_s=max_s, jitter=jitter)
    shortest_s = sum(retry.policy.delay_s(number, chance=0.0) for number in range(1, attempts))

    def told(attempts: int, deadline_s: int) -> list[str]:
        delivery = DeliveryPolicy(
            timeout_s=0.5, deadline_s=deadline_s, retry=retry.model_copy(update={"attempts": attempts})
        )
        return _of(delivery.model_dump_json(exclude={"budget_s": True, "isolation": True, "retry": {"codes"}}))

    found = told(attempts, deadline_s)
    assert bool(found) == (shortest_s > deadline_s)
    assume(found)
    advice = found[0].partition("write attempts: ")[2].removesuffix(" [retry-past-deadline]")
    fewer, later_s = (int(number) for number in advice.split(", or deadline_s: "))
    assert told(attempts, later_s) == []
    # With a single attempt, nothing reads the rest.
    assert fewer == 1 or told(fewer, deadline_s) == []
    assert told(fewer + 1, deadline_s)
    assert told(attempts, later_s - 1)


def test_the_times_of_a_breaker_are_held_to_each_other() -> None:
    """At the host contract, which sets them."""
    text = host("greeter") + "handlers: {scripted: {breaker: {open_s: 90}}}\n"
    [problem] = _problems({"h.yaml": text, "n.yaml": node("greeter")})
    assert str(problem) == (
        "h.yaml:11:41: the first wait is 90 s (open_s), the longest 60 s (open_max_s, by default); "
        "write open_s: 60 or less, or open_max_s: 90 or more"
    )


def test_a_handler_that_answers_at_once_has_no_breaker() -> None:
    """Nothing would ever ask it."""
    text = host("greeter") + "handlers: {local: {breaker: {}}}\n"
    files = {"h.yaml": text, "n.yaml": node("greeter", handler="local", operations=ECHO)}
    assert [str(problem) for problem in _problems(files)] == [
        "h.yaml:11:20: handler 'local' answers at once and has no breaker; remove it"
    ]


def test_hosts_of_one_pool_have_the_same_nodes() -> None:
    """In whatever order; a host of another pool, tenant or environment may have others."""
    nodes = {name: node(name) for name in ("a-node", "b-node")}
    first, second = host("a-node", "b-node"), host("b-node", "a-node").replace("test-host", "other-host")
    assert _problems({**nodes, "h.yaml": first, "i.yaml": second}) == []
    fewer = second.replace(", a-node", "")
    [problem] = _problems({**nodes, "h.yaml": first, "i.yaml": fewer})
    assert str(problem) == (
        "i.yaml:9:1: host 'test-host' of the pool 'pool' has other nodes (the difference: a-node); "
        "list the same, or name another pool"
    )
    for key in ("pool: pool", "tenant: test", "environment: dev"):
        assert _problems({**nodes, "h.yaml": first, "i.yaml": fewer.replace(key, f"{key}-two")}) == []


def test_a_node_that_cannot_be_read_is_not_missed_by_its_host() -> None:
    """It is known by the name that its text or its file gives it."""
    torn = node("greeter") + "more: [\n"
    for name, text in (("n.yaml", torn), ("nodes/greeter.yaml", torn.replace("name: greeter", "name greeter"))):
        assert {problem.path for problem in _problems({"h.yaml": host("greeter"), name: text})} == {name}


def test_what_is_left_of_a_faulty_host_is_looked_at_too() -> None:
    """A missing key hides neither an absent node nor a bad number."""
    text = host("greter").replace("tenant: test\n", "") + "handlers: {scripted: {breaker: {open_s: 90}}, xyz: {}}\n"
    told = [f"{problem.line} {problem.code}" for problem in _problems({"h.yaml": text, "n.yaml": node("greeter")})]
    assert told == ["2 missing-key", "8 unknown-node", "10 wrong-value", "10 unknown-handler"]
