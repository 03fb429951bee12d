"""What is refused when a node is compiled: whatever its handler does not offer, and whatever would fail later."""

from pathlib import PurePath

import pytest
from pydantic import BaseModel, ConfigDict, Field

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.errors import InvalidContracts
from omnibase_core.ports import ContractDocument, HandlerDescription, OperationDescription
from tests.support.commands import catalog


class Get(BaseModel):
    """A request with a key that is required, one that is not, and one of another name."""

    model_config = ConfigDict(extra="forbid")

    url: str
    retries: int = 0
    class_: str = Field(default="", alias="class")


class Place(BaseModel):
    """A target."""

    address: str


REMOTE = HandlerDescription(
    handler_type="remote",
    operations={
        "get": OperationDescription(request=Get, result=Place),
        "look": OperationDescription(request=Place, result=Place),
    },
    settings=Place,
    target=Place,
)
PATH = PurePath("n.yaml")
HEAD = "contract: node/v1\nname: tried\nversion: 1.0.0\ndescription: A node of a test.\n"


def _compiled(text: str) -> CompiledNode:
    return FileRegistry(PATH, lambda path: [ContractDocument(path, text)], catalog(REMOTE)).nodes["tried"]


def _problems(text: str) -> list[str]:
    with pytest.raises(InvalidContracts) as raised:
        _compiled(text)
    return [str(problem).removeprefix("n.yaml:") for problem in raised.value.problems]


def _effect(operation: str, head: str = "handler: remote\ntarget: main") -> str:
    return f"{HEAD}kind: effect\n{head}\noperations:\n  do:\n    input: {{}}\n{operation}"


def _local(operation: str) -> str:
    return _effect(operation, "handler: local\n")


def _compute(operation: str, head: str = "") -> str:
    return f"{HEAD}kind: compute\n{head}\n\noperations:\n  do:\n    input: {{}}\n{operation}"


GET = "    request: {url: a}\n"
LATER = "the result is there only after the handler has answered"

HANDLERS = {
    "no handler": (_effect(GET, "\n"), ["1:1: missing key 'handler'; expected one of: local, scripted, remote"]),
    "misspelled": (
        _effect(GET, "handler: remot\ntarget: main"),
        ["6:10: handler 'remot' is not registered; did you mean 'remote'?"],
    ),
    "nothing like it": (
        _effect(GET, "handler: xyz\n"),
        ["6:10: handler 'xyz' is not registered; expected one of: local, scripted, remote"],
    ),
    "no target": (
        _effect(GET, "handler: remote\n"),
        ["6:10: missing key 'target': handler 'remote' needs one, bound in the host contract"],
    ),
    "a target for nothing": (
        _effect("    request: {message: 1}\n", "handler: local\ntarget: main"),
        ["7:1: handler 'local' takes no target; remove it"],
    ),
    "unknown call": (
        _effect(f"    call: lok\n{GET}"),
        ["11:11: handler 'remote' has no operation 'lok'; did you mean 'look'?"],
    ),
    "call of nobody": (
        _effect("    call: xyz\n"),
        ["11:11: handler 'remote' has no operation 'xyz'; expected one of: get, look"],
    ),
    "logic": (
        _effect(f"    logic: pkg:f\n{GET}"),
        ["11:5: only a compute node has logic; write kind: compute"],
    ),
}
REQUESTS = {
    "no request": (_effect(""), ["9:3: missing key 'url' in the request of Get"]),
    "misspelled": (
        _effect("    request: {ulr: a}\n"),
        ["11:15: unknown key 'ulr'; did you mean 'url'?"],
    ),
    "nothing like it": (
        _effect("    request:\n      url: a\n      xyz: 1\n"),
        ["13:7: unknown key 'xyz'; expected one of: url, retries, class"],
    ),
    "of another call": (
        _effect(f"    call: look\n{GET}"),
        ["12:14: missing key 'address' in the request of Place", "12:15: unknown key 'url'; expected one of: address"],
    ),
}
REQUESTS |= {
    "no mapping": (_effect("    request: hello\n"), ["11:14: found 'hello', expected a mapping or an expression"]),
    "an empty list": (_effect("    request: []\n"), ["11:14: found [], expected a mapping or an expression"]),
}
EXPRESSIONS = {
    "unknown name": ('"${ payloat }"', "'payloat' is not known here; did you mean 'payload'?"),
    "result too early": ('"${ result }"', f"'result' is not known here; {LATER}"),
    "types that do not fit": (
        "\"${ 'a' + 1 }\"",
        "string + integer has no meaning; write string(...) around the number",
    ),
    "not the whole": (
        '"Hi ${ payload.a }"',
        "an expression must be the whole value, found 'Hi ${ payload.a }'; "
        "write it as one: ${ 'text ' + payload.field }",
    ),
}
SCHEMAS = {
    "type": (
        "    output: {type: objet}\n",
        [
            "12:20: not a JSON Schema: found the type 'objet', expected one of: "
            "array, boolean, integer, null, number, object, string; did you mean 'object'?"
        ],
    ),
    "deep": (
        "    output:\n      properties:\n        a: {minimum: x}\n",
        ["14:22: not a JSON Schema: found 'x', expected a number"],
    ),
    "reference": (
        "    output: {$ref: '#/x'}\n",
        ["12:20: '#/x' leads nowhere; put that schema under $defs and write '#/$defs/x'"],
    ),
}
COMPUTE = {
    "handler and target": (
        _compute("    logic: pkg:f\n", "handler: local\ntarget: main"),
        [
            "6:1: a compute node has no handler; remove it, or write kind: effect",
            "7:1: a compute node has no target; remove it, or write kind: effect",
        ],
    ),
    "call": (
        _compute("    logic: pkg:f\n    call: echo\n"),
        ["12:5: a compute node calls no handler; name a function in 'logic'"],
    ),
    "nothing to do": (_compute(""), ["9:3: an operation of a compute node needs 'logic', 'answer' or both"]),
    "request for nothing": (
        _compute("    request: 1\n    answer: {a: 1}\n"),
        ["11:5: nothing reads a request without 'logic'"],
    ),
    "isolation for nothing": (
        _compute("    answer: {a: 1}\n", "delivery: {isolation: process}"),
        ["6:12: nothing is isolated without 'logic': expressions run on the loop; remove it"],
    ),
    "isolation of a handler": (
        _effect(GET, "handler: remote\ntarget: main\ndelivery: {isolation: inline}"),
        ["8:12: only a compute node's functions can be isolated; remove it"],
    ),
    "unknown isolation": (
        _compute("    logic: pkg:f\n", "delivery: {isolation: thread}"),
        ["6:23: found 'thread', expected 'inline' or 'process'"],
    ),
    "no time for the function": (
        _compute("    logic: pkg:f\n", "delivery: {isolation: process, budget_s: 10, timeout_s: 5}"),
        [
            "6:23: timeout_s 5 is less than budget_s 10; with isolation: process it bounds the wait for a worker and"
            " the function"
        ],
    ),
}
CASES = {
    f"{group}: {name}": case
    for group, cases in (("handler", HANDLERS), ("request", REQUESTS), ("compute", COMPUTE))
    for name, case in cases.items()
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_what_the_handler_does_not_offer_is_refused(text: str, expected: list[str]) -> None:
    """Handler, target, call and request are held to what the handler describes, with what to write instead."""
    assert _problems(text) == expected


@pytest.mark.parametrize(("leaf", "message"), EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_an_expression_that_does_not_compile_is_refused_at_its_leaf(leaf: str, message: str) -> None:
    """The line is that of the leaf, however deep; the column is within the leaf."""
    [problem] = _problems(_local(f"    request:\n      message:\n        - 1\n        - a: {leaf}\n"))
    line, column, told = problem.split(":", 2)
    assert (line, told) == ("14", f" expression: {message}")
    assert 14 <= int(column) < 14 + len(leaf)


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS.values(), ids=SCHEMAS.keys())
def test_what_is_no_schema_is_refused_at_the_fault_within_it(schema: str, expected: list[str]) -> None:
    """A reference that leads nowhere is told at the schema, everything else at the very word."""
    assert _problems(_effect(GET + schema)) == expected


def test_every_fault_of_a_node_is_told_in_one_go() -> None:
    """A request, the rules, the answer and both schemas, all of them faulty."""
    rest = '    errors: [{when: result.a, code: a}]\n    answer: ["${ nope }"]\n    output: {enum: 1}\n'
    told = _problems(_effect(f"    request: {{utl: 1}}\n{rest}").replace("input: {}", "input: {type: 1}"))
    assert [problem.split(":")[0] for problem in told] == ["10", "11", "12", "13", "14"]
    assert told[2] == "12:21: expression: found 'result.a', expected an expression: write ${ result.a }"


def test_what_fits_is_compiled() -> None:
    """The first operation of the handler is meant where none is named; an alias is the key that is written."""
    effect = _compiled(_effect("    request: {url: '${ payload.at }', class: a, retries: 2}\n"))
    assert effect.handler_type == "remote"
    call = effect.operations["do"].call
    assert call is not None
    assert (call.operation, call.model) == ("get", Get)
    assert _compiled(_effect("    request: ${ payload }\n")).operations["do"].call is not None
    assert _compiled(_compute("    logic: pkg:f\n")).handler_type == "compute"
    assert _compiled(_compute("    answer: {a: 1}\n")).operations["do"].call is None
