"""Failures of a handler for which a contract declares an error: answered by its code, and no outage."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from omnibase_core.engine.logic import declared, plan
from omnibase_core.errors import CommandFailed, CommandRejected, HandlerError, InvalidContracts
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import ErrorDescription, HandlerDescription, OperationDescription
from omnibase_core.testing import MemoryStore
from omnibase_core.testing.virtual_time import VirtualClock
from tests.support.commands import AnyModel, envelope, loaded_host, node, registry
from tests.support.stage import Behaviour, Stage, on_stage, play

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAKEN = "{on: unique_violation, code: name_taken, message: somebody has this name}"
FAILING = HandlerDescription(
    handler_type="scripted",
    operations={
        "do": OperationDescription(request=AnyModel, result=AnyModel, errors=("unique_violation", "down", "timeout")),
        "ask": OperationDescription(request=AnyModel, result=AnyModel),
    },
    settings=AnyModel,
    transactional=True,
    errors={
        "unique_violation": ErrorDescription("It is there already."),
        "down": ErrorDescription("It is away.", retryable=True),
        "timeout": ErrorDescription("It takes too long.", retryable=True),
        "no_answer": ErrorDescription("Nobody answers.", retryable=True),
    },
)


class Models(AnyModel):
    """A request with a number."""

    n: int


def contract(rules: str, *, delivery: str = "{}", more: str = "", call: str = "do") -> str:
    """Write a node `a` with these error rules."""
    operation = f'{{do: {{input: {{type: object}}, call: {call}, request: "${{ payload }}", errors: [{rules}]}}}}'
    return node("a", operations=operation, delivery=delivery) + more


def failing(code: str, *, retryable: bool = False, takes_s: float = 0.0, **details: Any) -> Behaviour:
    """Fail each time, after so many seconds."""

    async def behave(_: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(takes_s)
        raise HandlerError(code, "as told", retryable=retryable, details=details)

    return behave


def served(behaviour: Behaviour, text: str, *, guarantee: str = "at_least_once") -> Stage:
    """Serve one command, and give the stage afterwards."""
    stages: list[Stage] = []

    async def scenario() -> None:
        stage = Stage(behaviour)
        async with on_stage(stage, loaded_host({"a": text}, FAILING, guarantee=guarantee)):
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() >= 1)
        stages.append(stage)

    play(scenario)
    return stages[0]


def outcome(stage: Stage) -> tuple[str | None, str, bool, int]:
    """Return code, message and whether it may be sent again of the one answer, and how many dead letters there are."""
    [answer] = stage.answers("a")
    assert answer.error is not None
    return answer.error.code, answer.error.message, answer.error.retryable, len(stage.letters)


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_declared_failure_is_answered_as_the_contract_says_without_a_dead_letter(guarantee: str) -> None:
    """The handler is asked once, its details are the operator's, and the node is as well as before."""
    stage = served(failing("unique_violation", constraint="users_name"), contract(TAKEN), guarantee=guarantee)
    assert outcome(stage) == ("name_taken", "somebody has this name", False, 0)
    [answer] = stage.answers("a")
    assert answer.error is not None
    assert answer.error.details == {}
    assert len(stage.asked) == 1
    figures = stage.runtime.figures["a"]
    assert (figures.error_answers, figures.dead_letters, figures.retries, figures.degraded) == (1, 0, 0, None)


def test_the_log_tells_of_which_failure_it_was() -> None:
    """An operator who looks for the database's word finds the refusal."""
    stage = served(failing("unique_violation"), contract(TAKEN))
    [event] = [fields for _, name, fields in stage.observer.events if name == "command_rejected"]
    assert (event["code"], event["cause"]) == ("name_taken", "unique_violation")


def test_what_no_rule_names_is_a_failure_as_before() -> None:
    """With its own code, and a dead letter."""
    assert outcome(served(failing("no_answer"), contract(TAKEN))) == ("no_answer", "as told", False, 1)


@pytest.mark.parametrize(
    ("delivery", "retryable", "attempts"),
    [
        ("{retry: {attempts: 3}}", True, 3),
        ("{retry: {attempts: 4, initial_s: 1, max_s: 1, jitter: 0}, timeout_s: 1, deadline_s: 3.5}", True, 2),
        ("{retry: {attempts: 3, codes: [down]}}", False, 3),
        ("{retry: {attempts: 3, codes: [timeout]}}", True, 1),
    ],
)
def test_a_failure_that_is_tried_again_is_declared_once_no_attempt_follows(
    delivery: str,
    retryable: bool,  # noqa: FBT001 - a case
    attempts: int,
) -> None:
    """A rule does not keep a command from the attempt that would have succeeded."""
    stage = served(
        failing("down", retryable=retryable, takes_s=0.9), contract("{on: down, code: try_later}", delivery=delivery)
    )
    assert outcome(stage) == ("try_later", "try later", False, 0)
    assert len(stage.asked) == attempts


def test_declared_failures_open_no_breaker_and_outages_do() -> None:
    """What is refused for good says that the target is well; what is declared of an outage does not mend it."""

    async def scenario(code: str, expected: str, *, retryable: bool) -> None:
        stage = Stage(failing(code, retryable=retryable))
        rules = f"{TAKEN}, {{on: down, code: try_later}}"
        host = loaded_host(
            {"a": contract(rules, delivery="{retry: {attempts: 1}}")},
            FAILING,
            more="handlers: {scripted: {breaker: {failures: 3, open_s: 3000, open_max_s: 3000}}}\n",
        )
        async with on_stage(stage, host):
            for n in range(3):
                stage.send("a", n)
            await stage.until(lambda: stage.committed() == 3)
            assert next(iter(stage.runtime.breakers.values())) == expected

    play(lambda: scenario("unique_violation", "closed", retryable=False))
    play(lambda: scenario("down", "open", retryable=True))


def test_a_call_that_takes_too_long_is_a_failure_that_can_be_declared() -> None:
    """Though the engine ends it, and not its handler."""

    async def behave(_: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(1000)
        return {}

    text = contract("{on: timeout, code: too_slow}", delivery="{timeout_s: 1, retry: {attempts: 2}}")
    assert outcome(served(behave, text)) == ("too_slow", "too slow", False, 0)


CONDITIONS = (
    "{on: unique_violation, when: \"${ error.details.constraint == 'users_name' }\", code: name_taken}, "
    "{on: unique_violation, code: mail_taken, "
    "when: \"${ error.details.constraint == 'users_mail' && payload.n == 1 }\"}"
)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("users_name", ("name_taken", "name taken", False, 0)),
        ("users_mail", ("mail_taken", "mail taken", False, 0)),
        ("users_pkey", ("unique_violation", "as told", False, 1)),
    ],
)
def test_a_condition_tells_failures_of_one_code_apart(
    constraint: str, expected: tuple[str | None, str, bool, int]
) -> None:
    """By what the handler says of them, and by the command. Where none holds, the failure is one as before."""
    assert outcome(served(failing("unique_violation", constraint=constraint), contract(CONDITIONS))) == expected


def test_a_condition_that_cannot_be_evaluated_does_not_hide_the_failure() -> None:
    """The dead letter tells both."""
    code, message, _, letters = outcome(served(failing("unique_violation", table="users"), contract(CONDITIONS)))
    assert (code, letters) == ("expression_failed", 1)
    assert message == (
        "operations.do.errors.0.when: there is no key 'constraint' here; ask with has(...) first, "
        "or write .?constraint.orValue(...); the handler failed with unique_violation: as told"
    )


def test_details_that_are_no_json_are_not_read() -> None:
    """A handler may say anything."""
    loaded = loaded_host({"a": contract('{on: down, when: "${ size(error.details) == 0 }", code: b}')}, FAILING)
    planned = plan(loaded.nodes[0], envelope("a", {}), now=NOW)
    found = declared(planned, HandlerError("down", "as told", details={"at": object()}))
    assert isinstance(found, CommandRejected)
    assert (found.code, found.cause) == ("b", "down")


def test_what_the_engine_says_is_no_failure_of_the_handler() -> None:
    """Though it had the same code."""
    planned = plan(loaded_host({"a": contract(TAKEN)}, FAILING).nodes[0], envelope("a", {}), now=NOW)
    error = CommandFailed("unique_violation", "of the engine")
    assert declared(planned, error) is error


def test_a_handler_that_is_served_at_once_can_fail_as_declared() -> None:
    """Its failures end in the same answers."""

    async def scenario() -> None:
        operation = (
            "{do: {input: {type: object}, call: fail, request: {}, errors: [{on: told_to_fail, code: as_told}]}}"
        )
        stage = Stage(failing("down"))
        async with on_stage(
            stage, loaded_host({"a": node("a", operations=operation, handler="local")}), local=LocalHandler()
        ):
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
        assert outcome(stage) == ("as_told", "as told", False, 0)

    play(scenario)


def test_a_request_off_the_model_can_be_declared() -> None:
    """It is refused before the handler is asked, with the code that the handler has for it."""
    described = HandlerDescription(
        handler_type="scripted",
        operations={"do": OperationDescription(request=Models, result=AnyModel)},
        settings=AnyModel,
        errors={"request_invalid": ErrorDescription("It has no form.")},
    )
    loaded = loaded_host({"a": contract("{on: request_invalid, code: bad_name}")}, described)
    with pytest.raises(CommandRejected) as caught:
        plan(loaded.nodes[0], envelope("a", {"n": "x"}), now=NOW)
    assert (caught.value.code, caught.value.cause) == ("bad_name", "request_invalid")


def test_a_declared_failure_is_the_recorded_answer_of_its_key() -> None:
    """A duplicate gets it again, and the handler is not asked."""

    async def scenario() -> None:
        stage = Stage(failing("unique_violation"), store=MemoryStore(VirtualClock().monotonic_s))
        text = contract(TAKEN, more='idempotency: {key: "${ payload.n }"}\n')
        async with on_stage(stage, loaded_host({"a": text}, FAILING, more="idempotency: {store: memory}\n")):
            for _ in range(2):
                stage.publish("a", {"n": 1}, envelope_id=uuid4())
            await stage.until(lambda: stage.committed() == 2)
        assert [it.error and it.error.code for it in stage.answers("a")] == ["name_taken", "name_taken"]
        assert (len(stage.asked), stage.letters) == (1, [])

    play(scenario)


@pytest.mark.parametrize(
    ("rules", "call", "told", "code"),
    [
        (
            "{on: unique_violatoin, code: taken}",
            "do",
            "'do' of the handler 'scripted' does not fail with 'unique_violatoin'; did you mean 'unique_violation'?",
            "unknown-failure",
        ),
        (
            "{on: no_answer, code: a}",
            "do",
            "'do' of the handler 'scripted' does not fail with 'no_answer'; "
            "expected one of: unique_violation, down, timeout",
            "unknown-failure",
        ),
        (
            f"{TAKEN}, {{on: unique_violation, when: '${{ payload.n == 1 }}', code: a}}",
            "ask",
            "rule 1 comes first and takes this 'unique_violation' already; remove one of them",
            "unused-key",
        ),
        (
            "{on: down, code: a, retryable: true}",
            "do",
            "'retryable' is for results: delivery.retry says which failures are retried; remove it",
            "unused-key",
        ),
        (
            "{code: a}",
            "do",
            "missing key 'when', a condition on the result, or 'on', the code of a failure of the handler",
            "missing-key",
        ),
        (
            '{on: down, when: "${ result.n == 1 }", code: a}',
            "do",
            "expression: 'result' is not known here; the result is there only after the handler has answered",
            "bad-expression",
        ),
        (
            "{when: \"${ error.code == 'down' }\", code: a}",
            "do",
            "expression: 'error' is not known here; the error is there only in a rule with 'on'",
            "bad-expression",
        ),
        (
            '{on: down, when: "${ error.cde }", code: a}',
            "do",
            "expression: 'error' has no 'cde'; did you mean 'code'?",
            "unknown-field",
        ),
        (
            '{on: down, when: "${ error.message }", code: a}',
            "do",
            "expression: the condition gives string, expected boolean",
            "expression-type",
        ),
    ],
)
def test_a_rule_that_could_never_hold_is_refused(rules: str, call: str, told: str, code: str) -> None:
    """With what was found, and what to write."""
    with pytest.raises(InvalidContracts) as caught:
        registry({"a.yaml": contract(rules, call=call)}, FAILING)
    assert [(it.message, it.code) for it in caught.value.problems] == [(told, code)]


def test_a_compute_node_has_no_failures_of_a_handler() -> None:
    """Its function says itself what the sender did wrong."""
    text = contract(TAKEN).replace("kind: effect", "kind: compute").replace("handler: scripted\n", "")
    text = text.replace(" call: do,", "").replace(' request: "${ payload }",', " answer: {},")
    with pytest.raises(InvalidContracts) as caught:
        registry({"a.yaml": text})
    [problem] = caught.value.problems
    assert problem.code == "unused-key"
    assert "its function raises CommandRejected instead" in problem.message


def test_on_is_a_key_of_a_rule_and_an_ambiguous_word_elsewhere() -> None:
    """YAML 1.1 reads it as a boolean, which nobody can mean there."""
    with pytest.raises(InvalidContracts) as caught:
        registry({"a.yaml": contract(TAKEN).replace('"${ payload }"', "{on: 1}")}, FAILING)
    assert [it.code for it in caught.value.problems] == ["ambiguous-word"]
