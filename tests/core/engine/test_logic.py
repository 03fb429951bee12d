"""From a command to a call, and from a result to an answer: who is at fault, and with which code."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.engine.logic import conclude, error_of, plan
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, ExpressionFailed
from omnibase_core.handlers.local import Echo
from tests.support.commands import ECHO, envelope, node, registry

MISMATCH = "handler_type 'h' is not that of the contract, 'local'; leave it out"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

GREETER = node(
    "greeter",
    handler="local",
    operations="""
  greet:
    input: {type: object, required: [name], properties: {name: {type: string}, age: {type: integer}}}
    request: {message: {text: "${ 'Hello ' + payload.name }", by: "${ metadata.by }"}}
    errors:
      - {when: "${ result.message.status == 404 }", code: not_found, message: nobody is there}
      - {when: "${ result.message.status >= 500 }", code: try_later, retryable: true}
    answer: {said: "${ result.message.text }", to: "${ payload.name }"}
    output: {type: object, properties: {said: {type: string}}}
  fail:
    input: {type: object}
    call: fail
    request: {code: "${ payload.code }"}
""",
)
COMPUTE = """
contract: node/v1
name: adder
kind: compute
version: 1.0.0
description: A node of a test.
operations: {add: {input: {type: object}, OPERATION}}
"""


def _node(text: str = GREETER) -> CompiledNode:
    return next(iter(registry({"node.yaml": text}).nodes.values()))


def _doing(operation: str) -> CompiledNode:
    return _node(node("greeter", operations=f"{{do: {{input: {{}}, {operation}}}}}"))


def _greet(payload: dict[str, Any] | None = None, **changes: Any) -> OnexEnvelope:
    described: dict[str, Any] = {"operation": "greet", "metadata": {"by": "me"}, **changes}
    return envelope("greeter", {"name": "Ada"} if payload is None else payload, **described)


def _conclude(result: dict[str, Any], **options: Any) -> dict[str, Any]:
    return conclude(plan(_node(), _greet(**options), now=NOW), result)


def test_a_plan_is_the_call_that_the_contract_describes() -> None:
    """Operation, request, time and id come from the contract and the command."""
    command = _greet(handler_type="local", expires_at=NOW + timedelta(seconds=1))
    call = plan(_node(), command, now=NOW).call
    assert call is not None
    assert (call.handler_type, call.operation, call.target) == ("local", "echo", None)
    assert call.request == Echo(message={"text": "Hello Ada", "by": "me"})
    assert (call.timeout_s, call.call_id) == (30.0, command.envelope_id)


def test_an_operation_need_not_be_named_where_there_is_one() -> None:
    """The only operation is the one that is meant."""
    call = plan(_node(node("echo", handler="local", operations=ECHO)), envelope("echo", {"a": 1}), now=NOW).call
    assert call is not None
    assert call.request == Echo(message={"a": 1})


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"node_slug": "other"}, "node_mismatch", "the command is for node 'other', this topic is 'greeter''s"),
        ({"handler_type": "h"}, "handler_mismatch", MISMATCH),
        ({"expires_at": NOW}, "expired", "the command expired at 2026-01-01T12:00:00+00:00"),
        ({"operation": None}, "operation_missing", "name an operation, one of: greet, fail"),
        ({"operation": "sing"}, "unknown_operation", "there is no operation 'sing'; one of: greet, fail"),
        ({"payload": {}}, "payload_invalid", '$: "name" is a required property'),
        ({"payload": {"name": "A", "age": "old"}}, "payload_invalid", '$.age: "old" is not of type "integer"'),
    ],
)
def test_a_command_is_rejected_for_what_its_sender_did(changes: dict[str, Any], code: str, message: str) -> None:
    """The code is stable, the message says what to change, and trying again is no use."""
    with pytest.raises(CommandRejected) as raised:
        plan(_node(), replace(_greet(), **changes), now=NOW)
    assert (raised.value.code, str(raised.value), raised.value.retryable) == (code, message, False)


def test_the_faults_of_a_payload_are_listed() -> None:
    """A sender finds every fault in the details."""
    with pytest.raises(CommandRejected) as raised:
        plan(_node(), _greet({"name": 1, "age": "x"}), now=NOW)
    told = error_of(raised.value)
    assert sorted(raised.value.details["faults"]) == [
        '$.age: "x" is not of type "integer"',
        '$.name: 1 is not of type "string"',
    ]
    assert (told.code, told.retryable, told.details) == ("payload_invalid", False, raised.value.details)
    assert told.message == "; ".join(raised.value.details["faults"])


def test_a_request_off_the_model_of_the_handler_is_the_contracts_fault() -> None:
    """The schema let the payload pass, the handler's model did not: the command failed, and the field is named."""
    command = envelope("greeter", {"code": 7}, operation="fail")
    with pytest.raises(CommandFailed) as raised:
        plan(_node(), command, now=NOW)
    assert raised.value.code == "request_invalid"
    assert str(raised.value) == "the contract's request is invalid: code (payload.code): expected text"


def test_an_expression_that_fails_is_the_contracts_fault() -> None:
    """The place of the expression is told."""
    with pytest.raises(
        ExpressionFailed, match=r"^operations\.greet\.request\.message\.by: 'metadata' has no key 'by'$"
    ):
        plan(_node(), _greet(metadata={}), now=NOW)


def test_the_answer_is_what_the_contract_makes_of_the_result() -> None:
    """The answer's mapping reads the result and the command."""
    assert _conclude({"message": {"status": 200, "text": "hi"}}) == {"said": "hi", "to": "Ada"}


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (404, CommandRejected, ("not_found", "nobody is there", False)),
        (503, CommandFailed, ("try_later", "try later", True)),
    ],
)
def test_an_error_rule_that_holds_ends_the_command(
    status: int, error: type[Exception], told: tuple[str, str, bool]
) -> None:
    """A lasting error is the sender's, a passing one is a failure; without words of its own the code speaks."""
    with pytest.raises(error) as raised:
        _conclude({"message": {"status": status}})
    assert isinstance(raised.value, CommandRejected | CommandFailed)
    found = error_of(raised.value)
    assert (found.code, found.message, found.retryable) == told


def test_the_first_rule_that_holds_wins() -> None:
    """Rules are read from the top, and no further than needed."""
    rules = '[{when: "${ true }", code: first}, {when: "${ result.nothing }", code: second}]'
    with pytest.raises(CommandRejected, match="first"):
        conclude(plan(_doing(f"errors: {rules}"), envelope("greeter"), now=NOW), {})


@pytest.mark.parametrize(
    ("operation", "result", "code", "message"),
    [
        ('errors: [{when: "${ result.n }", code: odd}]', {"n": 1}, "expression_failed", "gave no boolean"),
        ('errors: [{when: "${ result.m }", code: odd}]', {"n": 1}, "expression_failed", "errors.0.when: 'result' has"),
        ('answer: "${ result.n }"', {"n": 1}, "answer_invalid", "the answer is int, expected an object"),
        ('answer: "${ result.n }"', {"n": None}, "answer_invalid", "the answer is NoneType, expected an object"),
        ("output: {required: [m]}", {"n": 1}, "answer_invalid", '"m" is a required property'),
    ],
)
def test_an_answer_that_is_none_is_a_failure(operation: str, result: dict[str, Any], code: str, message: str) -> None:
    """A condition that is no boolean, an answer that is no object or off its schema: the command failed."""
    planned = plan(_doing(operation), envelope("greeter"), now=NOW)
    with pytest.raises(CommandFailed) as raised:
        conclude(planned, result)
    assert raised.value.code == code
    assert message in str(raised.value)


def test_a_compute_node_calls_its_function_with_the_payload_or_its_request() -> None:
    """Without a request, the function gets the payload; without a function, nothing is called at all."""
    command = envelope("adder", {"a": 1})
    for operation, argument in (("logic: 'm:f'", {"a": 1}), ("logic: 'm:f', request: '${ payload.a }'", 1)):
        call = plan(_node(COMPUTE.replace("OPERATION", operation)), command, now=NOW).call
        assert call is not None
        assert call.request.model_dump() == {"function": "m:f", "argument": argument, "budget_s": 0.1}
        assert call.timeout_s == 30
    planned = plan(_node(COMPUTE.replace("OPERATION", "answer: {b: '${ payload.a + 1 }'}")), command, now=NOW)
    assert planned.call is None
    assert conclude(planned, {}) == {"b": 2}


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=5))
def test_without_a_mapping_the_result_is_the_answer(result: dict[str, Any]) -> None:
    """Any object passes as it is."""
    assert conclude(plan(_PLAIN, envelope("greeter"), now=NOW), result) == result


_PLAIN = _node(node("greeter"))
