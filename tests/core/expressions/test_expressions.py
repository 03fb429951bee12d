"""Expressions: what they read, what they give as JSON, and that each failure names its place."""

import string
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.errors import ExpressionFailed, InvalidExpression
from omnibase_core.expressions import (
    ANSWER_NAMES,
    DYNAMIC,
    REQUEST_NAMES,
    Compiler,
    Expression,
    Path,
    Scope,
    Template,
)
from tests.support.commands import envelope

PAYLOAD = {"name": "Ada", "n": 3, "none": None, "tags": ["a", "b"], "in_it": {"deep": {"x": 1.5}}}
RESULT = {"rows": [1], "endless": inf}
WHERE = "operations.do.answer"
ASK = "ask with has(...) first, or write .?nothing.orValue(...)"


def _scope(payload: dict[str, Any] | None = None, result: dict[str, Any] | None = None) -> Scope:
    scope = Scope(envelope("greeter", PAYLOAD if payload is None else payload, metadata={"who": "me"}))
    return scope if result is None else scope.with_result(result)


def _expression(text: str, names: tuple[str, ...] = ANSWER_NAMES) -> Expression:
    return Expression(text, types=dict.fromkeys(names, DYNAMIC), where=WHERE)


def _value(text: str, scope: Scope | None = None) -> Any:
    return _expression(text).evaluate(scope or _scope(result=RESULT))


def _template(tree: Any, names: tuple[str, ...] = ANSWER_NAMES) -> tuple[Template, list[tuple[Path, str]]]:
    refused: list[tuple[Path, str]] = []
    compiler = Compiler(dict.fromkeys(names, DYNAMIC), lambda at, error: refused.append((at, str(error))))
    return compiler.template(tree, ("answer",)), refused


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("payload.name", "Ada"),
        ("  payload.name  ", "Ada"),
        ("payload", PAYLOAD),
        ("payload.none", None),
        ("payload.tags", ["a", "b"]),
        ("payload.in_it.deep.x", 1.5),
        ("payload['name']", "Ada"),
        ("payload.tags[1]", "b"),
        ("metadata.who", "me"),
        ("envelope.node_slug", "greeter"),
        ("envelope.causation_id", None),
        ("envelope.timestamp", "2026-01-01T00:00:00Z"),
        ("result.rows", [1]),
        ("'Hello ' + payload.name", "Hello Ada"),
        ("payload.n + 1", 4),
        ("payload.n > 2 && payload.none == null", True),
        ("has(payload.nothing)", False),
        ("size(result.rows) == 0 ? 'none' : 'some'", "some"),
        ("payload.tags.map(tag, tag + '!')", ["a!", "b!"]),
        ("{'a': [null, {'b': payload.n}]}", {"a": [None, {"b": 3}]}),
        ("timestamp('2026-01-01T02:00:00.5+02:00')", "2026-01-01T00:00:00.500000Z"),
        ("[timestamp('2026-01-01T00:00:00Z')]", ["2026-01-01T00:00:00Z"]),
        ("duration('1m30s')", "90s"),
        ("duration('1234567s')", "1234567s"),
        ("[duration('-0.000001s')]", ["-0.000001s"]),
        ("envelope.node_slug + '/' + envelope.timestamp", "greeter/2026-01-01T00:00:00Z"),
        ("timestamp(envelope.timestamp) < timestamp('2026-01-01T00:00:01Z')", True),
        ("null", None),
    ],
)
def test_an_expression_gives_a_json_value(text: str, value: Any) -> None:
    """Fields, literals and computed values come as what JSON has for them; times are RFC 3339 in UTC."""
    assert _value(text) == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("payload.nothing", "'payload' has no key 'nothing'"),
        ("payload.in_it.deep.y", "'deep' has no key 'y'"),
        ("payload.name.first", "'name' is not an object, it has no 'first'"),
        ("payload.none.x", "'none' is not an object, it has no 'x'"),
        ("[payload.nothing]", f"there is no key 'nothing' here; {ASK}"),
        ("payload.n / 0", "divide by zero"),
        ("payload.name + 1", "string + integer has no meaning; write string(...) around values that are not text"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("1.0 / 0.0", "inf is not a JSON number"),
        ("result.endless", "inf is not a JSON number"),
        ("[0.0 / 0.0]", "nan is not a JSON number"),
        ("{1: 2}", "the keys of an object must be text"),
        ("dyn(b'abc')", "a value of type bytearray has no JSON form"),
        ("dyn(type(1))", "a value of type Type has no JSON form"),
        ("payload.n ? 1 : 2", "the condition is not a boolean"),
    ],
)
def test_a_failure_names_the_place_of_the_expression(text: str, fault: str) -> None:
    """What the engine gives as an error, and what JSON has no form for, is raised and never taken for a value."""
    with pytest.raises(ExpressionFailed) as raised:
        _value(text)
    assert str(raised.value) == f"{WHERE}: {fault}"
    assert (raised.value.code, raised.value.details) == ("expression_failed", {"where": WHERE})


@pytest.mark.parametrize(
    ("text", "names", "fault"),
    [
        ("payloat", ANSWER_NAMES, (1, 1, "'payloat' is not known here; did you mean 'payload'?")),
        ("1 + zzz", REQUEST_NAMES, (1, 5, "'zzz' is not known here; an expression reads payload, metadata, envelope")),
        (
            "result",
            REQUEST_NAMES,
            (1, 1, "'result' is not known here; the result is there only after the handler has answered"),
        ),
        ("payload.a +\n  zzz", REQUEST_NAMES, (2, 3, None)),
        ("'a' + 1", ANSWER_NAMES, (1, 5, "string + integer has no meaning; write string(...) around the number")),
        ("payload.", ANSWER_NAMES, (1, 9, None)),
        ("", ANSWER_NAMES, (1, 1, "it ends too early")),
    ],
)
def test_text_that_does_not_compile_is_refused_with_its_place(
    text: str, names: tuple[str, ...], fault: tuple[int, int, str | None]
) -> None:
    """The error counts lines and columns within the expression, in one line of words."""
    with pytest.raises(InvalidExpression) as raised:
        _expression(text, names)
    line, column, message = fault
    assert (raised.value.line, raised.value.column) == (line, column)
    assert message is None or str(raised.value) == message
    assert "\n" not in str(raised.value)


def test_text_that_the_engine_would_cut_is_refused() -> None:
    """The character U+0000 ends a text for the engine: better no value than another one."""
    for payload in ({"a": "x\x00y"}, {"a": [{"\x00": 1}]}):
        with pytest.raises(ExpressionFailed, match="cannot read text with the character U\\+0000"):
            _value("[payload.a]", _scope(payload))
    assert _value("payload.a", _scope({"a": "x\x00y"})) == "x\x00y"
    assert _value("[payload.a]", _scope({"a": "x\\u0000y"})) == ["x\\u0000y"]


def test_nulls_are_survived_many_thousand_times() -> None:
    """The engine's own conversion of null would end the process after a while: ours does not."""
    expression = _expression("[payload.none, null, {'a': payload.none}]", REQUEST_NAMES)
    for _ in range(5_000):
        assert expression.evaluate(_scope()) == [None, None, {"a": None}]
    assert _expression("null", REQUEST_NAMES).evaluate(_scope()) is None


def test_a_template_keeps_its_structure() -> None:
    """Only a leaf that is wholly an expression is replaced; keys, lists and every other leaf stay."""
    tree = {
        "a": "${ payload.name }",
        "b": ["${payload.n}", 7, None, True, "text $", {"c": " ${ {'x': 1} }\n"}],
        "${": {},
    }
    template, refused = _template(tree)
    assert not refused
    assert template(_scope()) == {"a": "Ada", "b": [3, 7, None, True, "text $", {"c": {"x": 1}}], "${": {}}


def test_a_template_collects_every_fault_at_its_path() -> None:
    """Each leaf that does not compile is told with the path to it."""
    _, refused = _template(
        {"a": "${ nope. }", "b": [1, "Hello ${ payload.name }"], "c": {"d": "${ result }"}}, REQUEST_NAMES
    )
    assert [at for at, _ in refused] == [("answer", "a"), ("answer", "b", 1), ("answer", "c", "d")]
    assert refused[1][1].startswith("an expression must be the whole value, found 'Hello ${ payload.name }'; ")


def test_a_failing_leaf_names_its_own_place() -> None:
    """The place is that of the leaf, not of the whole template."""
    template, _ = _template({"a": [{"b": "${ payload.nothing }"}]})
    with pytest.raises(ExpressionFailed, match=r"^answer\.a\.0\.b: 'payload' has no key 'nothing'$"):
        template(_scope())


def test_a_condition_has_to_be_an_expression() -> None:
    """Bare text would always be true: it is refused, with what to write."""
    refused: list[str] = []
    compiler = Compiler(dict.fromkeys(ANSWER_NAMES, DYNAMIC), lambda _, error: refused.append(str(error)))
    compiler.refusal("result.ok", ())
    assert refused == ["found 'result.ok', expected an expression: write ${ result.ok }"]


KEY = st.text(string.ascii_letters + "_", min_size=1, max_size=8).map(lambda word: f"k_{word}")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(KEY, JSON, min_size=1, max_size=4), st.data())
def test_a_field_path_gives_the_very_value(payload: dict[str, Any], data: st.DataObject) -> None:
    """For any payload, any path of fields gives what stands there, and the engine gives the same."""
    value: Any = payload
    path = "payload"
    while isinstance(value, dict) and value and (value is payload or data.draw(st.booleans())):
        key = data.draw(st.sampled_from(sorted(value)))
        path, value = f"{path}.{key}", value[key]
    assert _value(path, _scope(payload)) == value
    assert _value(f"[{path}][0]", _scope(payload)) == value
