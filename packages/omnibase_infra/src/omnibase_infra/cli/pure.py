"""The handlers that ask nobody outside, for verbs that serve commands without a host."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omnibase_core.compute_handler import COMPUTE, ComputeHandler
from omnibase_core.local_handler import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import InlineHandler
from omnibase_infra.budget import alarm_budget
from omnibase_infra.purity.guard import guarded_import


class _NoWorkers:
    """There are no workers, for an isolated node's functions run in the process of the verb."""

    async def call(self, function: str, _argument: Any, /, *, budget_s: float) -> Any:  # noqa: ARG002 - a port's form
        """Refuse the call: nothing asks for it."""
        raise RuntimeError(f"{function} runs in the process of the verb")


@contextmanager
def pure_handlers() -> Iterator[Mapping[str, InlineHandler]]:
    """Give them by type. Functions are watched, and interrupted as in production: on the main thread only."""
    with alarm_budget() as budget:
        compute = ComputeHandler(guarded_import(), budget=budget, workers=_NoWorkers())
        yield {COMPUTE: compute, LOCAL_DESCRIPTION.handler_type: LocalHandler()}
