"""The handlers that ask nobody outside, for verbs that serve commands without a host."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from omnibase_core.handlers.compute import COMPUTE, ComputeHandler
from omnibase_core.handlers.local import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import InlineHandler
from omnibase_infra.functions.budget import AlarmBudget, alarm_budget
from omnibase_infra.functions.purity.guard import guarded_import

T = TypeVar("T")


class _NoWorkers:
    """There are no workers, for an isolated node's functions run in the process of the verb."""

    async def call(self, function: str, _argument: Any, /, *, budget_s: float) -> Any:  # noqa: ARG002 - a port's form
        """Refuse the call: nothing asks for it."""
        raise RuntimeError(f"{function} runs in the process of the verb")


_ALLOWANCE = 20
"""Watching slows a function, most of all one that calls many others."""


class _Generous:
    """Gives a watched function more than its budget. A Budget."""

    def __init__(self, budget: AlarmBudget) -> None:
        self._budget = budget

    def bounded(self, work: Callable[[], T], seconds: float, /) -> T:
        """Do the work. Raises TimeoutError when it was interrupted."""
        return self._budget.bounded(work, _ALLOWANCE * seconds)


@contextmanager
def pure_handlers() -> Iterator[Mapping[str, InlineHandler]]:
    """Yield them by type. Functions are watched, and on the main thread interrupted as in production."""
    with alarm_budget() as budget:
        compute = ComputeHandler(guarded_import(), budget=_Generous(budget), workers=_NoWorkers())
        yield {COMPUTE: compute, LOCAL_DESCRIPTION.handler_type: LocalHandler()}
