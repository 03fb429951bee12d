"""Cases on the real runtime: what each expectation lets pass, and what it does not."""

from collections.abc import Mapping, Sequence

import pytest

from omnibase_core.contract_tests import Coverage, Record, Stage, judge
from omnibase_core.contract_tests.coverage import percentage
from omnibase_core.contract_tests.scripted_handler import SentRecord
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.tests import Case
from omnibase_core.handlers.local import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import HandlerCall
from tests.support.commands import catalog
from tests.support.oracle import NODE, ORACLE, registry_with_oracle

ECHO = """
contract: node/v1
name: seer
kind: effect
version: 1.0.0
description: Says it again.
handler: local
operations: {echo: {input: {type: object}, request: {message: "${ payload }"}, answer: "${ result.message }"}}
"""


def cast(cases: str, node: str = NODE) -> tuple[Stage, Sequence[Case], CompiledNode]:
    """Set a stage for the cases of a node."""
    texts = {"seer.yaml": node, "seer.test.yaml": f"contract: test/v1\nnode: seer\ncases:\n{cases}"}
    found = registry_with_oracle(texts)
    [(tests, _)] = found.tests
    pure = {LOCAL_DESCRIPTION.handler_type: LocalHandler()}
    stage = Stage(found.nodes["seer"], handlers=catalog(ORACLE).handlers, pure=pure)
    return stage, tests.cases, found.nodes["seer"]


def told(case: Case, record: Record) -> list[str]:
    """Judge a case; give each failure as its path, its message and its lines."""
    found = judge(case, record)
    return ["\n".join([f"{'.'.join(map(str, it.path))}: {it.message}", *it.lines]) for it in found]


def failures(case: str, node: str = NODE) -> list[str]:
    """Play one case; give what is not as expected."""
    stage, [played], _ = cast(case, node)
    return told(played, stage.rehearse(played))


def one(*, handler: str = "[{result: {mood: glad}}]", expect: str = "{answer: {mood: glad, words: []}}") -> str:
    """Write a case of one command."""
    return f"  - {{name: it, given: {{payload: {{about: rain}}}}, handler: {handler}, expect: {expect}}}"


GLAD = "{answer: {mood: glad, words: []}}"
BUSY = "{result: {mood: busy}}"

AS_EXPECTED = {
    "an answer": one(),
    "a part of an answer": one(expect="{answer_includes: {mood: glad}}"),
    "an error by its code": one(handler="[{result: {mood: bored}}]", expect="{error: bored}"),
    "an error by its parts": one(
        handler="[{result: {mood: bored}}]",
        expect="{error: {code: bored, message: bored, retryable: false, details: {}}}",
    ),
    "a part of the request": one(handler="[{request: {about: rain}, result: {mood: glad}}]"),
    "what the request has by default": one(handler="[{request: {politely: true}, result: {mood: glad}}]"),
    "retries until it is well": one(
        handler=f"[{BUSY}, {{error: {{code: away, retryable: true}}}}, {{result: {{mood: glad}}}}]",
        expect="{answer: {mood: glad, words: []}, took_s: 1.5, state: ok, breaker: closed}",
    ),
    "a wait that the other side asks for": one(
        handler="[{error: {code: away, retryable: true, retry_after_s: 7}}, {result: {mood: glad}}]",
        expect="{answer: {mood: glad, words: []}, took_s: 7}",
    ),
    "the end of the attempts": one(
        handler=f"[{BUSY}, {BUSY}, {BUSY}]",
        expect="{error: {code: busy, retryable: true}, dead_letter: {code: busy, attempts: 3}, state: degraded}",
    ),
    "a failure that is not retryable": one(
        handler="[{error: {code: broken, retryable: false, message: for good, details: {why: age}}}]",
        expect="{error: {code: broken, message: for good, details: {why: age}}, dead_letter: true}",
    ),
    "a result that the handler refuses": one(
        handler="[{result: {mood: angry}}, {result: {mood: glad}}]",
        expect="{answer_includes: {mood: glad}, took_s: 0.5}",
    ),
    "a handler that is late by its own rules": one(
        handler="[{hangs: true}]", expect="{error: asleep, dead_letter: true, took_s: 4}"
    ),
    "a result that comes too late": one(
        handler="[{after_s: 4.5, result: {mood: glad}}]", expect="{error: asleep, dead_letter: true, took_s: 4}"
    ),
    "a result that takes its time": one(
        handler="[{after_s: 3.5, result: {mood: glad}}]",
        expect="{answer: {mood: glad, words: []}, took_s: {at_least: 3, at_most: 4}}",
    ),
    "a payload off its schema": "  - {name: it, given: {payload: {}}, expect: {error: payload_invalid}}",
    "an operation that is not there": (
        "  - {name: it, given: {operation: tell, payload: {about: rain}}, expect: {error: unknown_operation}}"
    ),
    "keys do not wait for each other, and each is in order": """
  - name: three
    commands:
      - name: slow
        given: {key: a, payload: {about: rain}}
        handler: [{after_s: 3, result: {mood: glad}}]
        expect: {answer: {mood: glad, words: []}, took_s: 3}
      - name: behind it
        given: {key: a, payload: {about: rain}}
        handler: [{result: {mood: glad}}]
        expect: {answer: {mood: glad, words: []}, took_s: 3}
      - name: beside it
        given: {key: b, after_s: 1, payload: {about: rain}}
        handler: [{result: {mood: glad}}]
        expect: {answer: {mood: glad, words: []}, took_s: 0}
    expect: {order: [beside it, slow, behind it], state: ok}""",
    "a command that expires while it waits": """
  - name: two
    commands:
      - name: slow
        given: {key: a, payload: {about: rain}}
        handler: [{after_s: 3, result: {mood: glad}}]
        expect: {answer_includes: {}}
      - name: impatient
        given: {key: a, payload: {about: rain}, expires_in_s: 2}
        expect: {error: expired, took_s: 3}""",
}


@pytest.mark.parametrize("case", AS_EXPECTED.values(), ids=AS_EXPECTED.keys())
def test_what_is_as_expected_passes(case: str) -> None:
    """Each kind of expectation can be met."""
    assert failures(case) == []


NOT_AS_EXPECTED = {
    "another answer": (
        one(expect="{answer: {mood: sad, words: []}}"),
        ["expect.answer: the answer differs\n- mood: sad\n+ mood: glad\n  words: []"],
    ),
    "more than the answer": (
        one(expect="{answer: {mood: glad}}"),
        ["expect.answer: the answer differs\n  mood: glad\n+ words: []"],
    ),
    "another part of the answer": (
        one(expect="{answer_includes: {mood: sad}}"),
        ["expect.answer_includes: the answer lacks something\n- mood: sad\n+ mood: glad"],
    ),
    "an error in place of an answer": (
        one(handler="[{result: {mood: bored}}]"),
        [
            "expect.answer: an error came in place of an answer\n"
            "- answer:\n-   mood: glad\n-   words: []\n+ error:\n+   code: bored\n+   message: bored"
        ],
    ),
    "an answer in place of an error": (
        one(expect="{error: bored}"),
        [
            "expect: an answer came in place of an error\n"
            "- error:\n-   code: bored\n+ answer:\n+   mood: glad\n+   words: []"
        ],
    ),
    "another error": (
        one(handler="[{result: {mood: bored}}]", expect="{error: busy}"),
        ["expect.error: the error differs\n- code: busy\n+ code: bored\n+ message: bored"],
    ),
    "another message of the error": (
        one(handler="[{result: {mood: bored}}]", expect="{error: {code: bored, message: yawn}}"),
        ["expect.error: the error differs\n  code: bored\n- message: yawn\n+ message: bored"],
    ),
    "another request": (
        one(handler="[{request: {about: snow, politely: true}, result: {mood: glad}}]"),
        [
            "handler.0.request: call 1 of the handler has another request\n"
            "- about: snow\n+ about: rain\n  politely: true"
        ],
    ),
    "a call that was not made": (
        one(handler="[{result: {mood: glad}}, {result: {mood: glad}}]"),
        ["handler.1: call 2 of the handler is scripted and was not made"],
    ),
    "a call that is not scripted": (
        one(handler=f"[{BUSY}]"),
        ["handler: call 2 of the handler is not scripted; its request is\n+ about: rain\n+ politely: true"],
    ),
    "a dead letter that is not expected": (
        one(handler="[{error: {code: broken, retryable: false}}]", expect="{error: broken}"),
        [
            "expect.dead_letter: a dead letter came that is not expected\n"
            "- dead_letter: false\n+ dead_letter:\n+   code: broken\n+   attempts: 1"
        ],
    ),
    "a dead letter that is missing": (
        one(handler="[{result: {mood: bored}}]", expect="{error: bored, dead_letter: {attempts: 1}}"),
        ["expect.dead_letter: a dead letter is missing\n- dead_letter:\n-   attempts: 1\n+ dead_letter: false"],
    ),
    "another dead letter": (
        one(
            handler="[{error: {code: broken, retryable: false}}]", expect="{error: broken, dead_letter: {attempts: 2}}"
        ),
        ["expect.dead_letter: the dead letter differs\n- attempts: 2\n+ attempts: 1"],
    ),
    "another time": (
        one(handler=f"[{BUSY}, {{result: {{mood: glad}}}}]", expect="{answer_includes: {}, took_s: 3}"),
        ["expect.took_s: it took another time\n- took_s: 3\n+ took_s: 0.5"],
    ),
    "too short a time": (
        one(expect="{answer_includes: {}, took_s: {at_least: 1}}"),
        ["expect.took_s: it took another time\n- took_s:\n-   at_least: 1.0\n+ took_s: 0"],
    ),
    "another state": (
        one(expect="{answer_includes: {}, state: degraded}"),
        ["expect.state: the state afterwards differs\n- state: degraded\n+ state: ok"],
    ),
    "another breaker": (
        one(expect="{answer_includes: {}, breaker: open}"),
        ["expect.breaker: the breaker afterwards differs\n- breaker: open\n+ breaker: closed"],
    ),
    "another order": (
        """
  - name: two
    commands:
      - name: first
        given: {key: a, payload: {about: rain}}
        handler: [{after_s: 1, result: {mood: glad}}]
        expect: {answer_includes: {}}
      - name: second
        given: {key: b, payload: {about: rain}}
        handler: [{result: {mood: glad}}]
        expect: {answer_includes: {}}
    expect: {order: [first, second]}""",
        ["expect.order: the order of the answers differs\n- order: first, second\n+ order: second, first"],
    ),
}


@pytest.mark.parametrize(("case", "expected"), NOT_AS_EXPECTED.values(), ids=NOT_AS_EXPECTED.keys())
def test_what_is_not_as_expected_is_told_with_its_difference(case: str, expected: list[str]) -> None:
    """Each kind of expectation can fail, and says so once."""
    assert failures(case) == expected


MUTANTS = {
    "the wrong mood": ("result.mood == 'bored'", "result.mood == 'bores'", "an error by its code"),
    "another code": ("code: bored", "code: boring", "an error by its code"),
    "a rule that is not retried": ("retryable: true", "retryable: false", "retries until it is well"),
    "another field asked": ('about: "${ payload.about }"', "about: sun", "a part of the request"),
    "no patience": ("attempts: 3", "attempts: 2", "the end of the attempts"),
    "more patience": ("timeout_s: 4", "timeout_s: 5", "a result that comes too late"),
    "a longer wait": ("initial_s: 1", "initial_s: 2", "retries until it is well"),
    "half an answer": (', words: "${ result.words }"', "", "an answer"),
    "one line for all": (
        "delivery: {",
        "delivery: {ordering: partition, ",
        "keys do not wait for each other, and each is in order",
    ),
    "no line at all": (
        "delivery: {",
        "delivery: {ordering: none, ",
        "keys do not wait for each other, and each is in order",
    ),
    "one at a time": (
        "delivery: {",
        "delivery: {max_in_flight: 1, ",
        "keys do not wait for each other, and each is in order",
    ),
}


@pytest.mark.parametrize(("old", "new", "case"), MUTANTS.values(), ids=MUTANTS.keys())
def test_a_contract_that_is_changed_fails_its_tests(old: str, new: str, case: str) -> None:
    """Tests that pass whatever the contract says would be worth nothing."""
    assert NODE.count(old) == 1
    assert failures(AS_EXPECTED[case], NODE.replace(old, new)) != []


def test_others_overtake_a_command_that_was_put_aside() -> None:
    """With on_retry: overtake, the order of a key gives way; the command still gets its answer."""
    case = f"""
  - name: overtaken
    commands:
      - name: stuck
        given: {{key: a, payload: {{about: rain}}}}
        handler: [{BUSY}, {BUSY}, {{result: {{mood: glad}}}}]
        expect: {{answer_includes: {{mood: glad}}, took_s: {{at_least: 6}}}}
      - name: behind it
        given: {{key: a, payload: {{about: rain}}}}
        handler: [{{result: {{mood: glad}}}}]
        expect: {{answer_includes: {{mood: glad}}, took_s: {{at_most: 3}}}}
    expect: {{order: [behind it, stuck]}}"""
    patient = NODE.replace("initial_s: 1", "initial_s: 4")
    assert failures(case, patient.replace("delivery: {", "delivery: {on_retry: overtake, ")) == []
    assert failures(case, patient) != []


def test_an_open_breaker_lets_commands_wait() -> None:
    """After five failures in a row nothing is asked for a second; then the first that is well closes it again."""
    case = f"""
  - name: an outage
    commands:
      - name: fails
        given: {{payload: {{about: rain}}}}
        handler: [{", ".join([BUSY] * 5)}]
        expect: {{error: busy, dead_letter: true, took_s: 7.5}}
      - name: waits
        given: {{after_s: 7.6, payload: {{about: rain}}}}
        handler: [{{result: {{mood: glad}}}}]
        expect: {{answer: {{mood: glad, words: []}}, took_s: 0.9}}
    expect: {{state: ok, breaker: closed}}"""
    patient = NODE.replace("attempts: 3", "attempts: 5")
    assert failures(case, patient) == []
    assert failures(case.replace("7.6", "8.6"), patient) == [
        "commands.1.expect.took_s: it took another time\n- took_s: 0.9\n+ took_s: 0"
    ]


def test_pure_handlers_run_as_they_are() -> None:
    """What does no I/O needs no double."""
    case = "  - {name: it, given: {payload: {a: [1]}}, expect: {answer: {a: [1]}, took_s: 0}}"
    assert failures(case, ECHO) == []


def test_a_case_goes_the_same_way_every_time() -> None:
    """Ids and time start anew, so that a failure can be had again."""
    stage, [case], _ = cast(AS_EXPECTED["keys do not wait for each other, and each is in order"])
    first, second = stage.rehearse(case), stage.rehearse(case)
    assert first == second


def test_ids_and_times_of_commands_are_known_beforehand() -> None:
    """A request that carries them can be expected."""
    node = NODE.replace("payload.about }", "envelope.envelope_id + ' ' + envelope.timestamp }")
    about = "00000000-0000-0000-0000-000000000001 2026-01-01T00:00:00Z"
    assert failures(one(handler=f'[{{request: {{about: "{about}"}}, result: {{mood: glad}}}}]'), node) == []


def test_a_command_without_an_answer_is_told() -> None:
    """The runtime never leaves one; should it, a test must not pass."""
    _, [case], _ = cast(one(handler="[]"))
    assert told(case, Record([SentRecord()])) == [": the command got no answer within 7 days of the test's own time"]


def test_a_runtime_that_ends_is_told() -> None:
    """Whatever else was expected: that is the news."""
    _, [case], _ = cast(one())
    record = Record([SentRecord()], crash="RuntimeError: no")
    assert told(case, record) == [": the runtime itself came to its end: RuntimeError: no"]


class Leaving:
    """A pure handler that wants to end the process."""

    def execute_inline(self, _call: HandlerCall, /) -> Mapping[str, object]:
        """End it."""
        raise SystemExit(0)


def test_a_function_that_ends_the_process_ends_its_case_alone() -> None:
    """Tests that leave with status 0 before they are done would be taken for good."""
    _, [case], node = cast("  - {name: it, given: {payload: {a: 1}}, expect: {answer: {a: 1}}}", ECHO)
    record = Stage(node, handlers=catalog().handlers, pure={"local": Leaving()}).rehearse(case)
    [failure] = told(case, record)
    assert "internal_error" in failure
    assert "SystemExit: 0" in failure


def covered(*names: str) -> Coverage:
    """Play some of the cases that are as expected, and give what they have shown."""
    shown: Coverage | None = None
    for name in names:
        stage, [case], node = cast(AS_EXPECTED[name])
        shown = shown or Coverage.of(node)
        shown.add(node, case, stage.rehearse(case))
    assert shown is not None
    return shown


def test_coverage_tells_what_is_not_shown() -> None:
    """Each operation, both ways of each rule, each code, a failure of the handler."""
    shown = covered("an answer")
    assert [shown.count(kind) for kind in ("operations", "rules", "errors")] == [(1, 1), (2, 4), (0, 4)]
    assert [goal.what for goal in shown.missing] == [
        "rule 1, bored, holds",
        "rule 2, busy, holds",
        "bored",
        "busy",
        "payload_invalid",
        "a failure of the handler",
    ]
    assert percentage([shown]) == pytest.approx(100 * 3 / 9)


DECLARED = NODE.replace("    errors:\n", "    errors:\n      - {on: refused, code: unwilling}\n")


def test_a_failure_that_the_contract_declares_is_expected_by_its_code() -> None:
    """It has no dead letter, and the handler's own code is not what comes."""
    refused = "[{error: {code: refused, retryable: false}}]"
    assert failures(one(handler=refused, expect="{error: {code: unwilling, retryable: false}}"), DECLARED) == []
    [code, *_] = failures(one(handler=refused, expect="{error: refused, dead_letter: true}"), DECLARED)
    assert "- code: refused" in code
    assert "+ code: unwilling" in code


def test_coverage_asks_of_a_rule_for_each_failure_that_it_holds_and_no_more() -> None:
    """That another failure is another one need not be shown."""
    stage, [case], seer = cast(
        one(handler="[{error: {code: refused, retryable: false}}]", expect="{error: unwilling}"), DECLARED
    )
    shown = Coverage.of(seer)
    assert shown.count("rules") == (0, 5)
    shown.add(seer, case, stage.rehearse(case))
    assert shown.count("rules") == (1, 5)
    assert "rule 1, unwilling, holds" not in [goal.what for goal in shown.missing]
    assert "unwilling" not in [goal.what for goal in shown.missing]


def test_coverage_is_complete_when_all_is_shown() -> None:
    """Nothing that nobody can reach is asked for."""
    shown = covered("an answer", "an error by its code", "the end of the attempts", "a payload off its schema")
    assert [goal.what for goal in shown.missing] == ["a failure of the handler"]
    shown = covered(
        "an error by its code",
        "the end of the attempts",
        "a payload off its schema",
        "a handler that is late by its own rules",
        "a wait that the other side asks for",
    )
    assert (list(shown.missing), percentage([shown])) == ([], 100)


def test_a_node_with_idempotency_asks_its_handler_once_a_key_and_each_case_starts_anew() -> None:
    """The second command of a key gets the recorded answer; the next case finds nothing recorded."""
    node = NODE + 'idempotency: {key: "${ payload.about }"}\n'
    case = """
  - name: twice
    commands:
      - name: first
        given: {key: a, payload: {about: rain}}
        handler: [{result: {mood: glad}}]
        expect: {answer: {mood: glad, words: []}}
      - name: again
        given: {key: a, payload: {about: rain}}
        expect: {answer: {mood: glad, words: []}}"""
    stage, cases, _ = cast(case, node)
    for _ in range(2):
        assert told(cases[0], stage.rehearse(cases[0])) == []
