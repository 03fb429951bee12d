"""Accounts of what calls cost: a window at a time, for a target and for each of its nodes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from omnibase_infra.handlers.llm.target import Price, SpendingLimit
from omnibase_infra.handlers.llm.token_budget import Account, Cost, Reservation, counted_tokens, estimated_tokens
from omnibase_spi import HandlerError

BUDGET = SpendingLimit(tokens=100, window_s=60)


def test_a_window_begins_with_its_first_call() -> None:
    """And what was spent in one is nothing to the next."""
    account = Account()
    spend(account, tokens=100, now_s=1_000)
    with pytest.raises(HandlerError, match="100 of 100 tokens; its window ends in 10 s") as caught:
        reserve(account, now_s=1_050)
    assert caught.value.details == {"window_ends_in_s": 10}
    reserve(account, now_s=1_060)


def test_a_nodes_budget_is_its_own() -> None:
    """The target's is everybody's."""
    account = Account()
    account.reserve("a", Cost(), budget=None, node_budget=BUDGET, now_s=0).settle(Cost(tokens=100), now_s=0)
    account.reserve("b", Cost(), budget=None, node_budget=BUDGET, now_s=1)
    with pytest.raises(HandlerError, match="the budget of node 'a'"):
        account.reserve("a", Cost(), budget=None, node_budget=BUDGET, now_s=1)


def test_a_call_that_one_budget_refuses_holds_nothing_of_the_other() -> None:
    """The target's budget has room, the node's has none: what the target has left stays free."""
    account, node_budget = Account(), SpendingLimit(tokens=10, window_s=60)
    account.reserve("a", Cost(tokens=10), budget=BUDGET, node_budget=node_budget, now_s=0)
    with pytest.raises(HandlerError, match="the budget of node 'a'"):
        account.reserve("a", Cost(tokens=90), budget=BUDGET, node_budget=node_budget, now_s=0)
    account.reserve("b", Cost(tokens=90), budget=BUDGET, node_budget=node_budget, now_s=0)


def test_dollars_and_tokens_are_bounds_of_their_own() -> None:
    """The first that is reached counts."""
    account, budget = Account(), SpendingLimit(tokens=1000, usd=0.01)
    first = account.reserve("a", Cost(tokens=1, usd=0.006), budget=budget, node_budget=None, now_s=0)
    with pytest.raises(HandlerError, match=r"of 0\.01 US dollars, 0 are spent and 0\.006 are reserved"):
        account.reserve("a", Cost(tokens=1, usd=0.006), budget=budget, node_budget=None, now_s=0)
    first.settle(Cost(tokens=1, usd=0.01), now_s=0)
    with pytest.raises(HandlerError, match=r"0\.01 of 0\.01 US dollars"):
        account.reserve("a", Cost(), budget=budget, node_budget=None, now_s=0)


def test_a_call_that_may_cost_more_than_is_left_runs_alone() -> None:
    """A budget that is not spent lets one call run, whatever that may cost, and none beside it."""
    account = Account()
    alone = reserve(account, tokens=1_000)
    with pytest.raises(HandlerError, match="0 are spent and 1000 are reserved") as caught:
        reserve(account, tokens=1)
    assert (caught.value.code, caught.value.retryable) == ("over_budget", False)
    alone.settle(Cost(tokens=40), now_s=0)
    beside = reserve(account, tokens=1)
    with pytest.raises(HandlerError, match="40 are spent and 1 are reserved for calls under way, and this call may"):
        reserve(account, tokens=60)
    beside.settle(Cost(), now_s=0)
    reserve(account, tokens=61)


def test_a_call_that_goes_on_into_the_next_window_has_its_place_there() -> None:
    """What it reserved is not free there either, and its cost counts where it ends."""
    account = Account()
    long = reserve(account, tokens=60, now_s=0)
    with pytest.raises(HandlerError, match="0 are spent and 60 are reserved"):
        reserve(account, tokens=41, now_s=70)
    long.settle(Cost(tokens=100), now_s=75)
    with pytest.raises(HandlerError, match="100 of 100 tokens"):
        reserve(account, tokens=1, now_s=76)


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 50)), max_size=50))
def test_calls_one_after_the_other_overrun_a_budget_by_one_at_most(calls: list[tuple[int, float]]) -> None:
    """Whatever each costs, and whenever it is made: what is spent in a window is under the budget but for its last."""
    account, now_s, spent, ends_s = Account(), 0.0, 0, 0.0
    for tokens, pause_s in calls:
        now_s += pause_s
        if now_s >= ends_s:
            spent, ends_s = 0, now_s + BUDGET.window_s
        try:
            reservation = reserve(account, tokens=tokens, now_s=now_s)
        except HandlerError:
            assert spent >= 100
            continue
        assert spent < 100
        reservation.settle(Cost(tokens=tokens), now_s=now_s)
        spent += tokens


class CallsAtTheSameTime(RuleBasedStateMachine):
    """Calls of two nodes begin and end as they like, within a budget of their target and one of each node.

    The model counts by itself: what each has under way, and what it has spent since its window began.
    """

    NODE_BUDGET = SpendingLimit(tokens=60, window_s=45)
    under_way = Bundle("under_way")

    def __init__(self) -> None:
        """Begin with nothing spent, and nothing under way."""
        super().__init__()
        self.account = Account()
        self.now_s = 0.0
        self.open: dict[str, list[Reservation]] = {"a": [], "b": []}
        self.spent = dict.fromkeys((None, "a", "b"), 0)
        self.ends_s = dict.fromkeys((None, "a", "b"), 0.0)

    @rule(pause_s=st.sampled_from([0.5, 20.0, 50.0]))
    def wait(self, pause_s: float) -> None:
        """Let time pass, within a window or beyond it."""
        self.now_s += pause_s

    @rule(target=under_way, node=st.sampled_from("ab"), tokens=st.integers(0, 130))
    def begin(self, node: str, tokens: int) -> Any:
        """A call gets its place where the model has one, and `over_budget` where it has none."""
        self.turn(None, node)
        room = all(
            self.spent[key] < limit and (not held or self.spent[key] + sum(held) + tokens <= limit)
            for key, limit, held in self.accounts()
            if key in (None, node)
        )
        if not room:
            with pytest.raises(HandlerError, match="its window ends in"):
                self.reserve(node, tokens)
            return multiple()
        reservation = self.reserve(node, tokens)
        self.open[node].append(reservation)
        return node, reservation

    @rule(call=consumes(under_way), share=st.sampled_from([0, 0.5, 1]))
    def end(self, call: tuple[str, Reservation], share: float) -> None:
        """A call ends, and has taken all that it reserved, a part, or nothing."""
        node, reservation = call
        self.turn(None, node)
        cost = int(reservation.most.tokens * share)
        reservation.settle(Cost(tokens=cost), now_s=self.now_s)
        self.open[node].remove(reservation)
        self.spent[None] += cost
        self.spent[node] += cost

    @invariant()
    def no_more_is_spent_and_under_way_than_the_budget_but_for_a_call_alone(self) -> None:
        """A call that ran alone and overran leaves the budget spent, so that nothing runs beside it."""
        for key, limit, held in self.accounts():
            assert self.spent[key] + sum(held) <= limit or len(held) <= 1

    def teardown(self) -> None:
        """Everything that was reserved is given back: in a new window all of the budget is there, to the last token."""
        for reservation in (*self.open["a"], *self.open["b"]):
            reservation.settle(Cost(), now_s=self.now_s)
        self.now_s += 100
        for node, tokens in (("a", 40), ("b", 59), ("b", 1)):
            self.reserve(node, tokens)

    def reserve(self, node: str, tokens: int) -> Reservation:
        """Reserve tokens for a call."""
        return self.account.reserve(
            node, Cost(tokens=tokens), budget=BUDGET, node_budget=self.NODE_BUDGET, now_s=self.now_s
        )

    def accounts(self) -> list[tuple[str | None, int, list[int]]]:
        """Return whose each account is, its bound, and what its calls under way have reserved."""
        a, b = ([it.most.tokens for it in self.open[node]] for node in "ab")
        return [(None, 100, a + b), ("a", 60, a), ("b", 60, b)]

    def turn(self, *keys: str | None) -> None:
        """Begin a window where one is over."""
        for key in keys:
            if self.now_s >= self.ends_s[key]:
                length_s = BUDGET.window_s if key is None else self.NODE_BUDGET.window_s
                self.spent[key], self.ends_s[key] = 0, self.now_s + length_s


TestCallsAtTheSameTime = CallsAtTheSameTime.TestCase


def test_prices_are_for_a_million_tokens() -> None:
    """In and out each have their own."""
    price = Price(input_usd_per_million=2, output_usd_per_million=8)
    assert price.cost_usd(input_tokens=500_000, output_tokens=250_000) == pytest.approx(3)
    assert [estimated_tokens(size) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]


@given(st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none(), st.just(10**400)))
def test_a_count_of_tokens_is_a_count_or_unknown(said: Any) -> None:
    """Whatever a server says: the number that it is, at a size that tokens can have, or None."""
    tokens = counted_tokens(said)
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    is_count = is_number and 0 <= said <= 1_000_000_000 and said % 1 == 0
    assert tokens == (said if is_count else None)
    assert tokens is None or type(tokens) is int


def reserve(account: Account, *, tokens: int = 0, now_s: float = 0) -> Reservation:
    """Begin a call of node a."""
    return account.reserve("a", Cost(tokens=tokens), budget=BUDGET, node_budget=None, now_s=now_s)


def spend(account: Account, *, tokens: int, now_s: float) -> None:
    """Make a call of node a."""
    reserve(account, tokens=tokens, now_s=now_s).settle(Cost(tokens=tokens), now_s=now_s)
