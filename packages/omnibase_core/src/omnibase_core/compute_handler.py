"""The `compute` handler: calls the pure function that a compute node names. Inline, on the loop."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from omnibase_core.errors import FunctionInterrupted, HandlerError
from omnibase_core.ports import Budget, HandlerCall, HandlerDescription, OperationDescription, PureFunction

COMPUTE = "compute"

_OBJECT = TypeAdapter(dict[str, JsonValue], config=ConfigDict(strict=True))


class FunctionCall(BaseModel):
    """Which function is called with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str
    argument: Any


class FunctionResult(BaseModel):
    """A function gives any JSON object."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ComputeSettings(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


COMPUTE_DESCRIPTION = HandlerDescription(
    handler_type=COMPUTE,
    operations={"call": OperationDescription(request=FunctionCall, result=FunctionResult)},
    settings=ComputeSettings,
    transactional=True,
)


class ComputeHandler:
    """Calls functions by the name under which contracts know them. An InlineHandler."""

    def __init__(self, function: Callable[[str], PureFunction], *, budget: Budget) -> None:
        """Take what finds a function by name, since importing is the host's affair, and what interrupts one."""
        self._function = cache(function)
        self._budget = budget

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Call the function. What it raises itself is its node's bug.

        Raises HandlerError when it gives no object, and FunctionInterrupted when it takes longer than its budget.
        """
        assert isinstance(call.request, FunctionCall)  # noqa: S101 - narrows the type; the runtime validated it
        name = call.request.function
        work = partial(self._function(name), call.request.argument)
        try:
            result = self._budget.bounded(work, call.timeout_s)
        except TimeoutError as error:
            message = f"{name} was interrupted after {call.timeout_s:g} s (delivery.budget_s)"
            raise FunctionInterrupted("function_interrupted", message) from error
        try:
            return _OBJECT.validate_python(result)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(step) for step in fault["loc"]) or "its result"
            raise HandlerError("invalid_result", f"{name}: {where}: {fault['msg']}") from error
