"""The `compute` handler: calls the pure function that a compute node names, on the loop or in a worker process."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from omnibase_core.errors import FunctionInterrupted
from omnibase_core.handlers.signatures import NodeFunction, json_object
from omnibase_core.ports import (
    Budget,
    ErrorDescription,
    HandlerCall,
    HandlerDescription,
    OperationDescription,
    PureFunction,
    Workers,
)

COMPUTE = "compute"


class FunctionCall(BaseModel):
    """Which function is called with what, and for how many seconds at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str
    argument: Any
    budget_s: float


class FunctionResult(BaseModel):
    """A function gives any JSON object."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ComputeSettings(BaseModel):
    """Worker processes of a host, for its nodes with `isolation: process`.

    `workers` is how many there are at most; one that holds more than `worker_bytes_max` of memory after a call is
    replaced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workers: Annotated[int, Field(ge=1, le=256)] = 2
    worker_bytes_max: Annotated[int, Field(ge=32 * 1024 * 1024)] = 512 * 1024 * 1024


COMPUTE_DESCRIPTION = HandlerDescription(
    handler_type=COMPUTE,
    operations={"call": OperationDescription(request=FunctionCall, result=FunctionResult)},
    settings=ComputeSettings,
    transactional=True,
    errors={
        "function_interrupted": ErrorDescription("The function ran past `delivery.budget_s`."),
        "invalid_result": ErrorDescription("The function gave something other than a JSON object."),
        "worker_died": ErrorDescription(
            "The worker process of an isolated node ended under the function.",
            retryable="unless the function itself crashed it",
        ),
        "worker_not_started": ErrorDescription(
            "No worker process could be started for an isolated node.", retryable=True
        ),
        "function_unavailable": ErrorDescription(
            "A worker process could not import the function of an isolated node.", retryable=True
        ),
    },
    inline=True,
)


class ComputeHandler:
    """Calls functions by the name under which contracts know them: an InlineHandler, and a Handler for isolated nodes.

    Where a function runs changes nothing of what it may give or raise.
    """

    def __init__(self, function: Callable[[str], PureFunction], *, budget: Budget, workers: Workers) -> None:
        """Take what finds a function by name, since importing is the host's affair, and what interrupts one."""
        self._function = cache(lambda name: NodeFunction.of(name, function(name)))
        self._budget = budget
        self._workers = workers

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Call the function on the loop. What it raises itself is its node's bug.

        Raises CommandRejected for an argument off its model, HandlerError when it gives no object, and
        FunctionInterrupted when it takes longer than its budget.
        """
        asked = _asked(call)
        work = partial(self._function(asked.function).call, asked.argument)
        try:
            return self._budget.bounded(work, asked.budget_s)
        except TimeoutError as error:
            raise _interrupted(asked) from error

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Call the function in a worker process, which is killed when it takes longer than its budget."""
        asked = _asked(call)
        try:
            result = await self._workers.call(asked.function, asked.argument, budget_s=asked.budget_s)
        except TimeoutError as error:
            raise _interrupted(asked) from error
        return json_object(asked.function, result)


def _asked(call: HandlerCall) -> FunctionCall:
    assert isinstance(call.request, FunctionCall)  # noqa: S101 - narrows the type; the runtime validated it
    return call.request


def _interrupted(asked: FunctionCall) -> FunctionInterrupted:
    message = f"{asked.function} was interrupted after {asked.budget_s:g} s (delivery.budget_s)"
    return FunctionInterrupted("function_interrupted", message)
