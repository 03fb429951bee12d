"""What a contract makes of a command: a handler call, and of its result an answer. Pure functions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from omnibase_core.codec import is_json
from omnibase_core.contracts.compiled import CompiledNode, CompiledOperation
from omnibase_core.envelope import EnvelopeError, OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, sendable
from omnibase_core.explanations import Fault
from omnibase_core.expressions import Scope
from omnibase_core.ports import HandlerCall
from omnibase_core.schemas import ruled, told

AnyError = TypeVar("AnyError", CommandRejected, CommandFailed)


class Plan(NamedTuple):
    """What a command asks for. `call` is None where expressions alone give the answer."""

    operation: CompiledOperation
    scope: Scope
    call: HandlerCall | None


def plan(node: CompiledNode, envelope: OnexEnvelope, *, now: datetime) -> Plan:
    """Turn a command into the call that its contract describes.

    Raises CommandRejected for what the sender did wrong, CommandFailed for what the contract did.
    """
    if (
        envelope.node_slug != node.name
        or envelope.handler_type not in node.addressees
        or (envelope.expires_at is not None and envelope.expires_at <= now)
    ):
        raise _misdirected(node, envelope)
    operation = node.operations.get(envelope.operation or "") or _operation(node, envelope)
    if faults := operation.input.found(envelope.payload):
        raise _unfit(CommandRejected, "payload_invalid", faults)
    scope = Scope(envelope, coercions=operation.coercions)
    # Named tuples at a third of what calling their classes takes: this is done for each command.
    return tuple.__new__(Plan, (operation, scope, _call(node, operation, scope, envelope)))


def conclude(plan: Plan, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Turn the handler's result into the answer's payload.

    Raises CommandRejected where an error rule of the contract holds, CommandFailed where the answer is none.
    """
    operation = plan.operation
    scope = plan.scope.with_result(result)
    for compiled in operation.rules:
        holds = compiled.when(scope)
        if holds is True:
            raise _declared(compiled.rule.code, compiled.rule.message, retryable=compiled.rule.retryable)
        if holds is not False:
            raise CommandFailed("expression_failed", f"the condition of {compiled.rule.code!r} gave no boolean")
    payload = result if operation.answer is None else operation.answer(scope)
    if type(payload) is not dict and not isinstance(payload, Mapping):
        raise CommandFailed("answer_invalid", f"the answer is {type(payload).__name__}, expected an object")
    if operation.output is not None and (faults := operation.output.found(payload)):
        raise _unfit(CommandFailed, "answer_invalid", faults)
    return payload


def error_of(error: CommandRejected | CommandFailed) -> EnvelopeError:
    """Give the error as an answer carries it; details that are no JSON are left out."""
    return EnvelopeError(
        code=sendable(error.code),
        message=sendable(error),
        retryable=bool(error.retryable),
        details=error.details if is_json(error.details) else {},
    )


def _unfit(kind: type[AnyError], code: str, faults: Sequence[Fault]) -> AnyError:
    """Make the error of a value that does not fit its schema. Its values are for whoever sent the command."""
    said = [told(it) for it in faults]
    error = kind(code, "; ".join(said), details={"faults": said})
    error.quiet = "; ".join(map(ruled, faults))
    return error


def _misdirected(node: CompiledNode, envelope: OnexEnvelope) -> CommandRejected:
    """Say why a command is not for this node now."""
    if envelope.node_slug != node.name:
        return CommandRejected(
            "node_mismatch", f"the command is for node {envelope.node_slug!r}, this topic is {node.name!r}'s"
        )
    if envelope.handler_type not in node.addressees:
        return CommandRejected(
            "handler_mismatch",
            f"handler_type {envelope.handler_type!r} is not that of the contract, {node.handler_type!r}; leave it out",
        )
    assert envelope.expires_at is not None  # noqa: S101 - narrows the type: there is no other reason
    return CommandRejected("expired", f"the command expired at {envelope.expires_at.isoformat()}")


def _operation(node: CompiledNode, envelope: OnexEnvelope) -> CompiledOperation:
    operations = node.operations
    if envelope.operation is None:
        if len(operations) > 1:
            raise CommandRejected("operation_missing", f"name an operation, one of: {', '.join(operations)}")
        return next(iter(operations.values()))
    if envelope.operation not in operations:
        raise CommandRejected(
            "unknown_operation", f"there is no operation {envelope.operation!r}; one of: {', '.join(operations)}"
        )
    return operations[envelope.operation]


def _call(node: CompiledNode, operation: CompiledOperation, scope: Scope, envelope: OnexEnvelope) -> HandlerCall | None:
    if operation.call is None:
        return None
    try:
        # As `model_validate` does, which costs as much again: it is done for each command.
        request = operation.call.model.__pydantic_validator__.validate_python(operation.call.request(scope))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(step) for step in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise CommandFailed("request_invalid", f"the contract's request is off: {faults}") from error
    called, identity = operation.call.operation, envelope.envelope_id
    facts = (node.handler_type, called, request, node.target, node.timeout_s, identity, node.name, None)
    return tuple.__new__(HandlerCall, facts)


def _declared(code: str, message: str | None, *, retryable: bool) -> CommandRejected | CommandFailed:
    text = message or code.replace("_", " ")
    return CommandFailed(code, text, retryable=True) if retryable else CommandRejected(code, text)
