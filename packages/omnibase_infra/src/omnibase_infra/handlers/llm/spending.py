"""What calls have cost, per node and in all, and whether a budget leaves room for another. Pure."""

from dataclasses import dataclass, field

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.llm.target import Budget

_BYTES_A_TOKEN = 4


@dataclass(slots=True)
class Spent:
    """Tokens and US dollars."""

    tokens: int = 0
    usd: float = 0.0

    def add(self, *, tokens: int, usd: float) -> None:
        """Count a call."""
        self.tokens += tokens
        self.usd += usd


@dataclass(slots=True)
class _Window:
    """What was spent in a window, which begins with the first call after the one before it."""

    ends_s: float = 0.0
    spent: Spent = field(default_factory=Spent)

    def at(self, now_s: float, *, window_s: float) -> "_Window":
        """Give the window in force, a new one where this is over."""
        return self if now_s < self.ends_s else _Window(now_s + window_s)


@dataclass(slots=True)
class Account:
    """What one target's calls cost. Time is monotonic seconds, and an argument."""

    _windows: dict[str | None, _Window] = field(default_factory=dict)

    def admit(self, node: str, *, budget: Budget | None, node_budget: Budget | None, now_s: float) -> None:
        """Let a call go on. Raises HandlerError, `over_budget`, where the target's budget or the node's is spent."""
        self._check(None, budget, now_s, whose="the target's budget (budget)")
        self._check(node, node_budget, now_s, whose=f"the budget of node {node!r} (node_budget)")

    def charge(
        self, node: str, *, tokens: int, usd: float, budget: Budget | None, node_budget: Budget | None, now_s: float
    ) -> None:
        """Count what a call has cost."""
        for key, limit in ((None, budget), (node, node_budget)):
            if limit is not None:
                self._window(key, limit, now_s).spent.add(tokens=tokens, usd=usd)

    def _check(self, key: str | None, budget: Budget | None, now_s: float, *, whose: str) -> None:
        if budget is None:
            return
        window = self._window(key, budget, now_s)
        left_s = window.ends_s - now_s
        for spent, limit, unit in (
            (window.spent.usd, budget.usd, "US dollars"),
            (window.spent.tokens, budget.tokens, "tokens"),
        ):
            if limit is not None and spent >= limit:
                message = f"{whose} is spent: {spent:g} of {limit:g} {unit}; its window ends in {left_s:.0f} s"
                raise HandlerError("over_budget", message, details={"window_ends_in_s": round(left_s, 3)})

    def _window(self, key: str | None, budget: Budget, now_s: float) -> _Window:
        window = self._windows.get(key, _Window()).at(now_s, window_s=budget.window_s)
        self._windows[key] = window
        return window


def estimated_tokens(size_bytes: int) -> int:
    """Give about how many tokens a text is, where the server does not say."""
    return -(-size_bytes // _BYTES_A_TOKEN)
