"""What a contract makes of a command: a handler call, and of its result an answer. Pure functions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from omnibase_core.codec import is_json
from omnibase_core.contracts.compiler.compiled import CompiledNode, CompiledOperation, CompiledRule
from omnibase_core.contracts.json_schema import ruled, told
from omnibase_core.contracts.node import ErrorRule
from omnibase_core.contracts.schema_errors import SchemaProblem
from omnibase_core.envelope import EnvelopeError, OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, HandlerError, sendable
from omnibase_core.expressions import Scope, is_expression, without_braces
from omnibase_core.model_errors import Path, refusals_of
from omnibase_core.ports import HandlerCall

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
        if _holds(compiled, scope):
            rule = compiled.rule
            if rule.retryable:
                raise CommandFailed(rule.code, _told(rule), retryable=True)
            raise CommandRejected(rule.code, _told(rule))
    payload = result if operation.answer is None else operation.answer(scope)
    if type(payload) is not dict and not isinstance(payload, Mapping):
        raise CommandFailed("answer_invalid", f"the answer is {type(payload).__name__}, expected an object")
    if operation.output is not None and (faults := operation.output.found(payload)):
        raise _unfit(CommandFailed, "answer_invalid", faults)
    return payload


def declared(plan: Plan, error: CommandFailed | CommandRejected) -> CommandFailed | CommandRejected:
    """Return the error that the contract declares for a failure of its handler; any other error as it is.

    To be asked once no further attempt follows: what is declared for a failure is told to the sender, and is no outage.
    """
    return _declared_for(error, plan.operation, plan.scope) if isinstance(error, HandlerError) else error


def error_of(error: CommandRejected | CommandFailed) -> EnvelopeError:
    """Return the error as an answer carries it; details that are no JSON are left out."""
    return EnvelopeError(
        code=sendable(error.code),
        message=sendable(error),
        retryable=bool(error.retryable),
        details=error.details if is_json(error.details) else {},
    )


def _unfit(kind: type[AnyError], code: str, faults: Sequence[SchemaProblem]) -> AnyError:
    """Make the error of a value that does not fit its schema. Its values are for whoever sent the command."""
    said = [told(it) for it in faults]
    error = kind(code, "; ".join(said), details={"faults": said})
    error.quiet = "; ".join(map(ruled, faults))
    return error


def _misdirected(node: CompiledNode, envelope: OnexEnvelope) -> CommandRejected:
    """Describe why a command is not for this node now."""
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
    asked = operation.call.request(scope)
    try:
        # As `model_validate` does, which costs as much again: it is done for each command.
        request = operation.call.model.__pydantic_validator__.validate_python(asked)
    except ValidationError as error:
        written = node.contract.operations[operation.name].request
        faults = "; ".join(f"{_named(path, written)}: {told}" for path, told in refusals_of(error, asked))
        failure = CommandFailed("request_invalid", f"the contract's request is invalid: {faults}")
        raise _declared_for(failure, operation, scope) from error
    called, identity = operation.call.operation, envelope.envelope_id
    facts = (node.handler_type, called, request, node.target, node.timeout_s, identity, node.name, None)
    return tuple.__new__(HandlerCall, facts)


def _declared_for(
    failure: CommandFailed, operation: CompiledOperation, scope: Scope
) -> CommandFailed | CommandRejected:
    """Return what the first rule that holds declares for a failure, which goes along as its cause."""
    rules = [it for it in operation.failure_rules if it.rule.on == failure.code]
    if not rules:
        return failure
    said = error_of(failure)
    failed = scope.with_failure({"code": said.code, "message": said.message, "details": said.details})
    try:
        rule = next((it.rule for it in rules if _holds(it, failed)), None)
    except CommandFailed as fault:
        # What the handler met is what an operator has to see; the rule's own fault alone would hide it.
        return CommandFailed(fault.code, f"{fault}; the handler failed with {failure.code}: {failure}")
    return failure if rule is None else CommandRejected(rule.code, _told(rule), cause=failure.code)


def _holds(compiled: CompiledRule, scope: Scope) -> bool:
    """Check whether a rule holds. Raises CommandFailed where its condition cannot be evaluated, or is none."""
    holds = compiled.when(scope)
    if holds is True or holds is False:
        return bool(holds)
    raise CommandFailed("expression_failed", f"the condition of {compiled.rule.code!r} gave no boolean")


def _told(rule: ErrorRule) -> str:
    return rule.message or rule.code.replace("_", " ")


def _named(path: Path, written: Any) -> str:
    """Name a place of a request by its keys, and by the expression that is written there."""
    for step in path:
        is_there = (
            step in written
            if isinstance(written, Mapping)
            else isinstance(written, list) and step in range(len(written))
        )
        if not is_there:
            break
        written = written[step]
    said = ".".join(map(str, path)) or "the request"
    return f"{said} ({without_braces(written)})" if is_expression(written) else said
