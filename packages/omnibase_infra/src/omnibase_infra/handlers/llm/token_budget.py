"""What calls have cost, per node and in all, and whether a budget leaves room for another. Pure.

A call reserves the most that it may cost before its model is asked, and is settled with what it did cost. So whatever
runs at the same time, what is spent and what is reserved fit into the budget together, but for a call that runs alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.llm.target import SpendingLimit

_BYTES_A_TOKEN = 4
_TOKENS_MAX = 1_000_000_000
"""No request takes as many. What is above is no count, and could have no form as a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens and US dollars."""

    tokens: int = 0
    usd: float = 0.0


@dataclass(slots=True)
class Account:
    """What one target's calls cost. Time is monotonic seconds, and an argument."""

    _windows: dict[str | None, "_Window"] = field(default_factory=dict)

    def reserve(
        self, node: str, most: Cost, *, budget: SpendingLimit | None, node_budget: SpendingLimit | None, now_s: float
    ) -> "Reservation":
        """Reserve the most that a call may cost, in the target's budget and in the node's, or in neither.

        A call beside which nothing is under way may cost more than is left: else a small budget would let nothing run.
        Raises HandlerError, `over_budget`, where one of them is spent, or leaves no room beside the calls under way.
        """
        bounds = (
            (None, budget, "the target's budget (budget)"),
            (node, node_budget, f"the budget of node {node!r} (node_budget)"),
        )
        bounded = [(self._window(key, limit, now_s), limit, whose) for key, limit, whose in bounds if limit is not None]
        for window, limit, whose in bounded:
            window.check(most, limit, now_s, whose=whose)
        windows = [window for window, _, _ in bounded]
        reservation = Reservation(most, windows)
        for window in windows:
            window.under_way.add(reservation)
        return reservation

    def _window(self, key: str | None, budget: SpendingLimit, now_s: float) -> "_Window":
        window = self._windows.setdefault(key, _Window())
        window.turn(now_s, window_s=budget.window_s)
        return window


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """What is kept free for a call under way. It is settled once, however the call ends."""

    most: Cost
    _windows: Sequence["_Window"]

    def settle(self, cost: Cost, *, now_s: float) -> None:
        """Return what was reserved, and count what the call has cost, in the window in which it ends."""
        for window in self._windows:
            window.under_way.remove(self)
            window.turn(now_s, window_s=window.length_s)
            window.spent = Cost(tokens=window.spent.tokens + cost.tokens, usd=window.spent.usd + cost.usd)


@dataclass(slots=True)
class _Window:
    """What was spent in a window, which begins with the first call after the one before it; calls go on across."""

    ends_s: float = 0.0
    length_s: float = 0.0
    spent: Cost = Cost()
    under_way: set[Reservation] = field(default_factory=set)

    def turn(self, now_s: float, *, window_s: float) -> None:
        """Begin anew where the window is over."""
        self.length_s = window_s
        if now_s >= self.ends_s:
            self.ends_s, self.spent = now_s + window_s, Cost()

    def check(self, most: Cost, limit: SpendingLimit, now_s: float, *, whose: str) -> None:
        """Raise HandlerError where there is no room for a call."""
        # Summed up anew each time: a sum of floats that is added to and taken from does not come back to zero.
        reserved_usd = fsum(it.most.usd for it in self.under_way)
        reserved_tokens = sum(it.most.tokens for it in self.under_way)
        left_s = self.ends_s - now_s
        for bound, spent, reserved, wanted, unit in (
            (limit.usd, self.spent.usd, reserved_usd, most.usd, "US dollars"),
            (limit.tokens, self.spent.tokens, reserved_tokens, most.tokens, "tokens"),
        ):
            if bound is None:
                continue
            if spent >= bound:
                message = f"{whose} is spent: {spent:g} of {bound:g} {unit}"
            elif self.under_way and spent + reserved + wanted > bound:
                message = (
                    f"{whose} leaves no room: of {bound:g} {unit}, {spent:g} are spent and {reserved:g} are reserved "
                    f"for calls under way, and this call may take {wanted:g}"
                )
            else:
                continue
            message = f"{message}; its window ends in {left_s:.0f} s"
            raise HandlerError("over_budget", message, details={"window_ends_in_s": round(left_s, 3)})


def counted_tokens(said: Any) -> int | None:
    """Return how many tokens a server says there were; None for what is no count, such as text."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= _TOKENS_MAX:
        return None
    return int(said) if said == int(said) else None


def estimated_tokens(size_bytes: int) -> int:
    """Return about how many tokens a text is, where the server does not say."""
    return -(-size_bytes // _BYTES_A_TOKEN)
