"""The language of tests: what may be written, and what is refused, where and with which words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.errors import InvalidContracts
from tests.support.oracle import NODE, registry_with_oracle

GOOD = """\
contract: test/v1
node: seer
cases:
  - name: glad
    given: {payload: {about: rain}, key: a, metadata: {who: Ada}, after_s: 1, expires_in_s: 60}
    handler:
      - request: {about: rain}
        result: {mood: glad}
    expect: {answer: {mood: glad, words: []}, dead_letter: false, took_s: 0, state: ok, breaker: closed}
  - name: several
    commands:
      - name: first
        given: {payload: {about: rain}}
        handler: [{error: {code: away, retryable: false}, after_s: 2}]
        expect: {error: {code: away}, dead_letter: {code: away, attempts: 1}, took_s: {at_least: 2}}
      - name: second
        given: {payload: {}}
        expect: {error: payload_invalid}
    expect: {order: [second, first], state: degraded}
"""

ECHO = """
contract: node/v1
name: echo
kind: effect
version: 1.0.0
description: Says it again.
handler: local
operations:
  echo: {input: {type: object}, request: {message: "${ payload }"}, answer: "${ result.message }"}
  twice:
    input: {type: object}
    request: {message: "${ payload }"}
    answer: {text: "${ result.message.text }"}
    output: {type: object, required: [text], properties: {text: {type: string}}}
"""


def problems(tests: str) -> list[str]:
    """Return what is wrong with a test file beside good contracts."""
    try:
        registry_with_oracle({"seer.yaml": NODE, "echo.yaml": ECHO, "t.test.yaml": tests})
    except InvalidContracts as error:
        return [str(problem) for problem in error.problems]
    return []


def test_the_whole_language_is_accepted() -> None:
    """Every key of it stands in this file."""
    assert problems(GOOD) == []


def test_tests_are_found_with_their_document() -> None:
    """Whoever runs them tells where they stand."""
    [(tests, document)] = registry_with_oracle({"seer.yaml": NODE, "t.test.yaml": GOOD}).tests
    assert (tests.node, [case.name for case in tests.cases]) == ("seer", ["glad", "several"])
    assert document.place(("cases", 1, "commands", 1, "name")).line == 16


WRONG = {
    "a misspelt key of the file": (
        "node: seer",
        "nod: seer",
        ["2:1: unknown key 'nod'; did you mean 'node'?"],
    ),
    "a misspelt key of a case": (
        "    handler:\n",
        "    handlers:\n",
        ["6:5: unknown key 'handlers'; did you mean 'handler'?"],
    ),
    "a misspelt key of an expectation": (
        "dead_letter: false",
        "dead_leter: false",
        ["9:47: unknown key 'dead_leter'; did you mean 'dead_letter'?"],
    ),
    "a node that is not there": ("node: seer", "node: sear", ["2:7: there is no node 'sear'; did you mean 'seer'?"]),
    "two cases of one name": ("name: several", "name: glad", ["10:11: the name 'glad' is taken in line 4"]),
    "two commands of one name": (
        "- name: second",
        "- name: first",
        [
            "16:15: the name 'first' is taken in line 12",
            "19:22: no command 'second'; expected one of: first, first",
        ],
    ),
    "no command and no commands": (
        "    given: {payload: {about: rain}, key: a, metadata: {who: Ada}, after_s: 1, expires_in_s: 60}\n",
        "",
        ["4:5: a case sends one command, as given, or several, as commands; write one of the two"],
    ),
    "a handler beside commands": (
        "    commands:\n",
        "    handler: [{hangs: true}]\n    commands:\n",
        ["10:5: with commands, each of them has a handler of its own; move it there"],
    ),
    "a call that does nothing": (
        "        result: {mood: glad}\n",
        "",
        ["7:9: a call of the handler does one thing; write one of result, error and hangs"],
    ),
    "a call that does two things": (
        "        result: {mood: glad}\n",
        "        result: {mood: glad}\n        hangs: true\n",
        ["7:9: a call of the handler does one thing; write one of result, error and hangs"],
    ),
    "hanging for a while": (
        "[{error: {code: away, retryable: false}, after_s: 2}]",
        "[{hangs: true, after_s: 2}]",
        ["14:19: a call that hangs never ends; remove after_s"],
    ),
    "an error that may or may not be retryable": (
        "{code: away, retryable: false}",
        "{code: away}",
        ["14:27: missing key 'retryable'"],
    ),
    "a payload off its schema": (
        "{payload: {about: rain}, key",
        "{payload: {about: 7}, key",
        [
            '5:22: the payload does not match the input schema: $.about: 7 is not of type "string"; '
            "if intended, expect error: payload_invalid"
        ],
    ),
    "an operation that is not there": (
        "{payload: {about: rain}, key",
        "{operation: asc, payload: {about: rain}, key",
        [
            "5:24: node 'seer' has no operation 'asc'; did you mean 'ask'? "
            "or, if intended, expect error: unknown_operation"
        ],
    ),
    "a request of nobody's": (
        "request: {about: rain}",
        "request: {abut: rain}",
        ["7:19: no request has the key 'abut'; did you mean 'about'?"],
    ),
    "a result that the handler never gives": (
        "        result: {mood: glad}",
        "        result: {mod: glad, words: [1]}",
        [
            "8:18: unknown key 'mod'; did you mean 'mood'?",
            "8:37: found 1, expected text",
        ],
    ),
    "no outcome": (
        "expect: {answer: {mood: glad, words: []}, dead_letter: false,",
        "expect: {dead_letter: false,",
        ["9:5: a command always gets an answer; write answer, answer_includes or error"],
    ),
    "two outcomes": (
        "{error: payload_invalid}",
        "{error: payload_invalid, answer: {}}",
        ["18:18: an answer is a result or an error; remove one of them"],
    ),
    "an order of one": (
        "state: ok, breaker: closed",
        "order: [glad]",
        ["9:78: 'order' belongs to the expect of a case with commands"],
    ),
    "a state of a command": (
        "{error: payload_invalid}",
        "{error: payload_invalid, state: ok}",
        ["18:42: 'state' belongs to the expect of the case"],
    ),
    "an answer of several": (
        "expect: {order: [second, first], state: degraded}",
        "expect: {answer: {}, order: [second, first]}",
        ["19:14: with commands, 'answer' belongs to one of them"],
    ),
    "an order of others": (
        "order: [second, first]",
        "order: [secund, first]",
        ["19:22: no command 'secund'; did you mean 'second'?"],
    ),
    "a state that is none": (
        "state: ok,",
        "state: fine,",
        ["9:85: found 'fine', expected 'ok' or 'degraded'"],
    ),
    "a negative time": ("took_s: 0,", "took_s: -1,", ["9:75: found -1, expected 0 or more or a mapping"]),
    "a letter that is neither": (
        "dead_letter: false",
        "dead_letter: 7",
        ["9:60: found 7, expected true or false or a mapping"],
    ),
    "no contract": ("contract: test/v1\n", "", ["1:1: missing key 'contract': write contract: test/v1"]),
    "another contract": (
        "contract: test/v1",
        "contract: test/v2",
        ["1:11: contract 'test/v2' is not known; did you mean 'test/v1'?"],
    ),
    "no contract of ours": ("contract: test/v1", "contract: 7", ["1:11: contract 7 is not known; expected 'test/v1'"]),
}


@pytest.mark.parametrize(("old", "new", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_at_its_place(old: str, new: str, expected: list[str]) -> None:
    """A test is as strict as a contract: before it is run, and with what to write instead."""
    assert GOOD.count(old) == 1
    assert problems(GOOD.replace(old, new)) == [f"t.test.yaml:{it}" for it in expected]


def test_all_faults_are_told_at_once() -> None:
    """A misspelt key does not hide that an operation is not there, or that a payload is off its schema."""
    faulty = (
        GOOD.replace("after_s: 2}]", "after: 2}]")
        .replace("{payload: {about: rain}, key", "{payload: {about: 7}, key")
        .replace("order: [second", "order: [secund")
    )
    assert [problem.partition(": ")[0] for problem in problems(faulty)] == [
        "t.test.yaml:5:22",
        "t.test.yaml:14:59",
        "t.test.yaml:19:22",
    ]


@given(data=st.data())
def test_a_file_that_is_changed_anywhere_has_problems_or_runs(data: st.DataObject) -> None:
    """Whatever is dropped, repeated or replaced: every fault is a problem of that file, and none is an exception."""
    words = re.split(r"(\W+)", GOOD)
    index = data.draw(st.integers(0, len(words) - 1))
    other = data.draw(st.sampled_from(["", words[index] * 2, "7", "x", "{}", "[]", "null", *words[:40]]))
    found = problems("".join([*words[:index], other, *words[index + 1 :]]))
    assert all(problem.startswith("t.test.yaml:") for problem in found)


def of_echo(case: str) -> list[str]:
    """Return what is wrong with a case of a node with two operations and no I/O."""
    return problems(f"contract: test/v1\nnode: echo\ncases:\n  - {case}\n")


def test_a_node_with_two_operations_needs_one_to_be_named() -> None:
    """Unless its being missing is what is tested."""
    assert of_echo("{name: it, given: {payload: {}}, expect: {answer: {}}}") == [
        "t.test.yaml:4:23: missing key 'operation'; expected one of: echo, twice; "
        "or, if intended, expect error: operation_missing"
    ]
    assert of_echo("{name: it, given: {payload: {}}, expect: {error: operation_missing}}") == []


def test_what_is_pure_is_not_played() -> None:
    """It runs as it does in production."""
    assert of_echo("{name: it, given: {operation: echo}, handler: [{result: {}}], expect: {answer: {}}}") == [
        "t.test.yaml:4:42: nothing is to be played for this operation: 'local' is pure and runs as it is; remove it"
    ]


def test_an_answer_that_the_output_refuses_can_never_come() -> None:
    """The contract says so already."""
    [problem] = of_echo("{name: it, given: {operation: twice, payload: {}}, expect: {answer: {text: 1}}}")
    assert problem == 't.test.yaml:4:73: the node\'s output can never be this: $.text: 1 is not of type "string"'


def test_tests_of_a_faulty_node_are_not_told_twice() -> None:
    """What is wrong is the contract; whether its tests fit, it will tell when it is mended."""
    files = {"seer.yaml": NODE.replace("kind: effect", "kind: efect"), "t.test.yaml": GOOD}
    with pytest.raises(InvalidContracts) as caught:
        registry_with_oracle(files)
    assert [problem.path for problem in caught.value.problems] == ["seer.yaml"]


def test_tests_of_a_node_without_a_handler_are_looked_at_as_far_as_possible() -> None:
    """The one fault is that of the contract."""
    files = {"seer.yaml": NODE.replace("handler: oracle", "handler: orakel"), "t.test.yaml": GOOD}
    with pytest.raises(InvalidContracts) as caught:
        registry_with_oracle(files)
    assert [problem.path for problem in caught.value.problems] == ["seer.yaml"]
