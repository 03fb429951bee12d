"""Accounts of what calls cost: a window at a time, for a target and for each of its nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_infra.handlers.llm.spending import Account, estimated_tokens
from omnibase_infra.handlers.llm.target import Budget, Price
from omnibase_spi import HandlerError

BUDGET = Budget(tokens=100, window_s=60)


def test_a_window_begins_with_its_first_call() -> None:
    """And what was spent in one is nothing to the next."""
    account = Account()
    spend(account, tokens=100, now_s=1_000)
    with pytest.raises(HandlerError, match="100 of 100 tokens; its window ends in 10 s") as caught:
        account.admit("a", budget=BUDGET, node_budget=None, now_s=1_050)
    assert caught.value.details == {"window_ends_in_s": 10}
    account.admit("a", budget=BUDGET, node_budget=None, now_s=1_060)


def test_a_nodes_budget_is_its_own() -> None:
    """The target's is everybody's."""
    account = Account()
    account.charge("a", tokens=100, usd=0, budget=None, node_budget=BUDGET, now_s=0)
    account.admit("b", budget=None, node_budget=BUDGET, now_s=1)
    with pytest.raises(HandlerError, match="the budget of node 'a'"):
        account.admit("a", budget=None, node_budget=BUDGET, now_s=1)


def test_dollars_and_tokens_are_bounds_of_their_own() -> None:
    """The first that is reached counts."""
    account, budget = Account(), Budget(tokens=1000, usd=0.01)
    account.charge("a", tokens=1, usd=0.01, budget=budget, node_budget=None, now_s=0)
    with pytest.raises(HandlerError, match=r"0\.01 of 0\.01 US dollars"):
        account.admit("a", budget=budget, node_budget=None, now_s=0)


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 50)), max_size=50))
def test_calls_one_after_the_other_overrun_a_budget_by_one_at_most(calls: list[tuple[int, float]]) -> None:
    """Whatever each costs, and whenever it is made: what is spent in a window is under the budget but for its last."""
    account, now_s, spent, ends_s = Account(), 0.0, 0, 0.0
    for tokens, pause_s in calls:
        now_s += pause_s
        if now_s >= ends_s:
            spent, ends_s = 0, now_s + BUDGET.window_s
        try:
            account.admit("a", budget=BUDGET, node_budget=None, now_s=now_s)
        except HandlerError:
            assert spent >= 100
            continue
        assert spent < 100
        spend(account, tokens=tokens, now_s=now_s)
        spent += tokens


def test_prices_are_for_a_million_tokens() -> None:
    """In and out each have their own."""
    price = Price(input_usd_per_million=2, output_usd_per_million=8)
    assert price.cost_usd(input_tokens=500_000, output_tokens=250_000) == pytest.approx(3)
    assert [estimated_tokens(size) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]


def spend(account: Account, *, tokens: int, now_s: float) -> None:
    """Count a call of node a."""
    account.charge("a", tokens=tokens, usd=0, budget=BUDGET, node_budget=None, now_s=now_s)
