"""The handlers of a test: one that does what the case says, within the handler's own rules, or the real one.

They write down in a `Record` what they were asked.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from omnibase_core.contracts.tests import ScriptedCall, ScriptedError
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall, InlineHandler, OperationDescription


@dataclass(slots=True)
class SentRecord:
    """What became of one command. Times are seconds from the start of the case; a request is as JSON."""

    sent_s: float = 0.0
    requests: list[Any] = field(default_factory=list)
    answers: list[tuple[float, OnexEnvelope]] = field(default_factory=list)
    letters: list[Mapping[str, Any]] = field(default_factory=list)
    """The facts of its dead letters: `code` and `attempts`."""
    handler_failed: bool = False


@dataclass(slots=True)
class Record:
    """What happened to the commands of a case, in their order, and how the node and its breaker were afterwards."""

    sent: list[SentRecord]
    order: list[int] = field(default_factory=list)
    """The commands as they were answered."""
    rules: set[tuple[str, int, bool]] = field(default_factory=set)
    """Which error rules were asked, by operation and place in `errors`, and what each of them said."""
    state: str = "ok"
    breaker: str = "closed"
    crash: str | None = None
    """Why the runtime itself ended, if it did."""


class ScriptedHandler:
    """Plays the calls of each command in their order, and notes what it was asked. A Handler.

    What it gives is what the real one would: a result is completed by its model, judged as the handler judges it, and
    never comes after the call's time is over.
    """

    def __init__(
        self,
        operations: Mapping[str, OperationDescription],
        scripts: Mapping[UUID, Sequence[ScriptedCall]],
        records: Mapping[UUID, SentRecord],
    ) -> None:
        """Take what the handler offers and, by the id of each command, its script and its record."""
        self._operations = operations
        self._scripts = scripts
        self._records = records

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Record the request, and do what the script says of this call."""
        record, script = self._records[call.call_id], self._scripts[call.call_id]
        record.requests.append(call.request.model_dump(mode="json", by_alias=True))
        if len(record.requests) > len(script):
            raise HandlerError("not_scripted", "the test has no result for this call of the handler")
        try:
            return await _played(script[len(record.requests) - 1], call, self._operations[call.operation])
        except (HandlerError, asyncio.CancelledError):
            record.handler_failed = True
            raise


class RealHandler:
    """A pure handler as it is.

    An InlineHandler, and a Handler for isolated nodes: where a function runs changes nothing of what it gives, and in
    virtual time nobody can wait for a worker.
    """

    def __init__(self, handler: InlineHandler) -> None:
        """Take the handler."""
        self._handler = handler

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the call. Raises what the handler raises."""
        return self._handler.execute_inline(call)

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the call here, where a host would let a worker do it."""
        return self.execute_inline(call)


async def _played(scripted: ScriptedCall, call: HandlerCall, operation: OperationDescription) -> Mapping[str, Any]:
    if operation.late is not None and (scripted.hangs or scripted.after_s > call.timeout_s):
        await asyncio.sleep(call.timeout_s)
        raise operation.late(call.request, call.timeout_s)
    if scripted.hangs:
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(scripted.after_s)
    if scripted.error is not None:
        raise _failure(scripted.error)
    result = operation.result.model_validate(scripted.result)
    if operation.refusal is not None and (refusal := operation.refusal(call.request, result)) is not None:
        raise refusal
    return result.model_dump(mode="json", by_alias=True)


def _failure(error: ScriptedError) -> HandlerError:
    return HandlerError(
        error.code,
        error.message,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s,
        details=error.details,
    )
