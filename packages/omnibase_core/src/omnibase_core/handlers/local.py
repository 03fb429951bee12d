"""The `local` handler: answers from the request itself. Inline, for examples, tests and wiring checks."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from omnibase_core.errors import HandlerError
from omnibase_core.ports import ErrorDescription, HandlerCall, HandlerDescription, OperationDescription


class _LocalModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LocalSettings(_LocalModel):
    """There is nothing to set."""


class Echo(_LocalModel):
    """`echo` gives back what it was sent."""

    message: Any


class Fail(_LocalModel):
    """`fail` fails as it is told to."""

    code: str = "told_to_fail"
    message: str = "the request asked for a failure"
    retryable: bool = False


LOCAL_DESCRIPTION = HandlerDescription(
    handler_type="local",
    operations={
        "echo": OperationDescription(request=Echo, result=Echo, errors=()),
        "fail": OperationDescription(request=Fail, result=LocalSettings),
    },
    settings=LocalSettings,
    transactional=True,
    errors={
        "told_to_fail": ErrorDescription(
            "`fail` was asked for, with no other code.", retryable="where the request says so"
        )
    },
    inline=True,
)


class LocalHandler:
    """Serves `echo` and `fail`. An InlineHandler."""

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Return the message back, or raise the HandlerError that was asked for."""
        match call.request:
            case Echo(message=message):
                return {"message": message}
            case Fail() as asked:
                raise HandlerError(asked.code, asked.message, retryable=asked.retryable)
        raise HandlerError("unknown_operation", f"the local handler has no operation {call.operation!r}")
