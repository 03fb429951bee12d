"""Types across a contract: places in any form of YAML, answers, requests, and the models of functions."""

from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.contracts.yaml.positions import spot_in_scalar
from omnibase_core.errors import CommandRejected, HandlerError, InvalidContracts
from omnibase_core.handlers.signatures import NodeFunction
from omnibase_core.ports import ContractDocument, PureFunction
from tests.support.commands import catalog, host, registry

HEAD = (
    "contract: node/v1\nname: tried\nversion: 1.0.0\ndescription: A node of a test.\n"
    "kind: compute\noperations:\n  do:\n"
)
INPUT = (
    "    input: {type: object, required: [name], additionalProperties: false,\n"
    "      properties: {name: {type: string}, nick: {type: string}}}\n"
)


def _problems(operation: str) -> list[str]:
    document = ContractDocument(PurePath("n.yaml"), f"{HEAD}{operation}")
    with pytest.raises(InvalidContracts) as raised:
        FileRegistry(PurePath(), lambda _: [document], catalog())
    return [str(problem).removeprefix("n.yaml:") for problem in raised.value.problems]


@pytest.mark.parametrize(
    "leaf",
    [
        "${ payload.naem }",
        '"${ payload.naem }"',
        "'${ ''it'' + payload.naem }'",
        '"${ \\"\\u00e4\\" + payload.naem }"',
        "${ 'a' +\n        payload.naem }",
        "\"${ 'a' +\n\n        payload.naem }\"",
        "\"${ 'a' + \\\n        payload.naem }\"",
        "|\n        ${ 'a' +\n          payload.naem }\n",
        ">-\n        ${ 'a' +\n        payload.naem }\n",
        ">\n        ${ 'a' +\n\n\n        payload.naem }\n",
    ],
)
def test_the_place_is_exact_however_the_text_is_written(leaf: str) -> None:
    """Plain, quoted, escaped, folded or literal: line, column and width are those of the very word."""
    text = f"{HEAD}{INPUT}    answer:\n      text: {leaf}"
    with pytest.raises(InvalidContracts) as raised:
        registry({"n.yaml": text})
    [problem] = raised.value.problems
    line = text.split("\n")[problem.line - 1]
    assert line[problem.column - 1 :][: problem.width] == "naem"
    assert problem.message == "expression: 'payload' has no 'naem'; did you mean 'name'?"


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=12))
def test_every_character_of_a_quoted_text_is_found(text: str) -> None:
    """The place of a character holds that character."""
    quoted = "a: '" + text.replace("'", "''") + "'"
    document = parse_document("f", quoted)
    if not document.problems:
        for offset, character in enumerate(text):
            spot = spot_in_scalar(document.lines, 1, 4, document.tree["a"], offset)
            assert spot is not None
            assert quoted[spot[1] - 1] == character


OUTPUT = "    output: {type: object, required: [a], properties: {a: {type: integer}}, additionalProperties: false}\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("{b: 1}", ["missing key 'a'", "unknown key 'b'; expected one of: a"]),
        ("{a: x}", ["found 'x', expected integer"]),
        ('{a: "${ payload.name }"}', ["the expression gives string, expected integer"]),
        ('{a: "${ 1.5 * 2.0 }"}', ["the expression gives number, expected integer; write int(...) around it"]),
        ("\"${ {'b': 1} }\"", ["the expression gives an object without 'a', which is required"]),
        ("\"${ {'a': 'x'} }\"", ["the expression gives an object whose 'a' gives string, expected integer"]),
        ("text", ["found 'text', expected object"]),
    ],
)
def test_an_answer_off_the_output_is_told(answer: str, told: list[str]) -> None:
    """What is known before there is a command: keys, and the types of leaves."""
    assert [it.split(": ", 1)[1] for it in _problems(f"{INPUT}    answer: {answer}\n{OUTPUT}")] == told


@pytest.mark.parametrize("key", ["input", "output"])
@pytest.mark.parametrize("schema", ["{type: object, properties: 7}", "{type: 7}", "{required: a}", "{$ref: 7}"])
def test_what_is_no_schema_says_nothing_of_expressions(key: str, schema: str) -> None:
    """That it is none is the one thing that is told."""
    other = INPUT if key == "output" else ""
    [told] = _problems(f"{other}    {key}: {schema}\n    answer: {{a: '${{ payload.name }}'}}\n")
    assert "not a JSON Schema" in told


def test_an_error_rule_is_a_guard_of_the_answer() -> None:
    """What a rule refuses, the answer need not ask for again; without the rule it must."""
    answer = '    answer: {text: "${ payload.nick }"}\n'
    rule = '    errors: [{when: "${ !has(payload.nick) }", code: no_nick}]\n'
    registry({"n.yaml": f"{HEAD}{INPUT}{rule}{answer}"})
    assert "'nick' may be absent" in _problems(f"{INPUT}{answer}")[0]


def test_a_condition_that_is_no_boolean_is_told() -> None:
    """It would fail with every command."""
    [told] = _problems(f"{INPUT}    errors: [{{when: '${{ payload.name }}', code: a}}]\n    answer: {{}}\n")
    assert told.endswith("expression: the condition gives string, expected boolean")


class Lead(BaseModel):
    """What a function takes."""

    visits: int
    industry: str = "other"


class Score(BaseModel):
    """What a function gives."""

    score: int


def _score(lead: Lead) -> Score:
    return Score(score=lead.visits * 5)


def _lies(lead: Lead) -> Score:
    return {"score": lead.visits}  # type: ignore[return-value]


def _untyped(lead):  # type: ignore[no-untyped-def]
    return lead


def _two(a: int, b: int) -> dict[str, int]:
    return {"a": a + b}


def _import(name: str) -> PureFunction:
    functions: dict[str, Any] = {"score": _score, "untyped": _untyped, "two": _two}
    function: PureFunction = functions[name.partition(":")[2]]
    return function


def _hosted(operation: str) -> FileRegistry:
    text = host("tried") + "logic_packages: [m]\n"
    return registry({"n.yaml": f"{HEAD}{operation}", "h.yaml": text}, import_function=_import)


def _hosted_problem(operation: str) -> str:
    with pytest.raises(InvalidContracts) as raised:
        _hosted(operation)
    [problem] = raised.value.problems
    return problem.message


def test_the_models_of_a_function_are_the_contracts_schemas() -> None:
    """A contract that writes no schema has those of the function; a wrong payload is refused by them."""
    operation = _hosted("    logic: m:score\n").hosts["test-host"].nodes[0].operations["do"]
    assert operation.input_schema["required"] == ["visits"]
    assert operation.output_schema is not None
    assert list(operation.output_schema["properties"]) == ["score"]
    assert operation.input.faults({"visits": "x"})


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (
            "    logic: m:score\n    answer: {a: '${ result.scor }'}\n",
            "expression: 'result' has no 'scor'; did you mean 'score'?",
        ),
        ("    input: {}\n    logic: m:score\n    request: {visits: many}\n", "found 'many', expected integer"),
        ("    input: {}\n    logic: m:score\n    request: {}\n", "missing key 'visits'"),
        (
            "    logic: m:untyped\n",
            "missing key 'input': the parameter of m:untyped is not a model that could take its place",
        ),
        ("    input: {}\n    logic: m:two\n", "m:two is called with one argument, but it takes: a: int, b: int"),
    ],
)
def test_a_contract_is_held_to_its_function(operation: str, told: str) -> None:
    """Once a host has imported it, what the function takes and gives is checked too."""
    assert _hosted_problem(operation) == told


def test_a_function_takes_and_gives_its_models() -> None:
    """The argument is validated, the result dumped; what does not fit is the sender's fault, or the function's."""
    function = NodeFunction.of("m:score", _score)
    assert function.call({"visits": 2}) == {"score": 10}
    with pytest.raises(CommandRejected, match=r"\$\.visits: Field required"):
        function.call({})
    with pytest.raises(HandlerError, match="m:lies: found dict, expected Score"):
        NodeFunction.of("m:lies", _lies).call({"visits": 1})
    assert NodeFunction.of("m:untyped", _untyped).call({"a": 1}) == {"a": 1}


def test_an_input_is_needed_where_no_function_tells_it() -> None:
    """An operation of expressions, or one whose function gets something else than the payload, writes its own."""
    missing = "missing key 'input'"
    assert [it.split(": ", 1)[1] for it in _problems("    answer: {a: 1}\n")] == [missing]
    assert [it.split(": ", 1)[1] for it in _problems("    logic: m:f\n    request: {a: 1}\n")] == [missing]
