"""What is told of an expression before there is a command: fields, types, guards, costs, each at the exact word."""

import re
from math import isclose
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omnibase_core.errors import ExpressionFailed, InvalidExpression
from omnibase_core.expressions import (
    ANSWER_NAMES,
    DYNAMIC,
    Coercions,
    Expression,
    Scope,
    coercion_to,
    request_types,
    type_of_object,
    type_of_schema,
)
from omnibase_core.expressions.functions import FUNCTIONS, signatures_of
from omnibase_core.expressions.types import KINDS
from tests.support.commands import envelope

ITEM = {
    "type": "object",
    "required": ["q"],
    "properties": {"q": {"type": "integer"}, "o": {"type": "number"}},
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "required": ["name", "total", "n", "user", "items", "mail"],
    "properties": {
        "name": {"type": "string"},
        "total": {"type": "number"},
        "n": {"type": "integer"},
        "nick": {"type": "string"},
        "mail": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "user": {"$ref": "#/$defs/user"},
        "items": {"type": "array", "items": ITEM},
        "free": {},
    },
    "additionalProperties": False,
    "$defs": {"user": {"type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": False}},
}
TYPES = request_types(type_of_object(SCHEMA))
GUARD = "may be absent, the schema does not require it; write"
HAS = "it has: name, total, n, nick, mail, user, items, free"


def _type(text: str) -> str:
    return str(Expression(text, types=TYPES, where="w").type)


def _refused(text: str) -> tuple[str, str]:
    """Return the words that are meant, and what is said of them."""
    with pytest.raises(InvalidExpression) as raised:
        _type(text)
    error = raised.value
    line = text.split("\n")[error.line - 1]
    return line[error.column - 1 : error.column - 1 + error.width], str(error)


@pytest.mark.parametrize(
    ("text", "word", "told"),
    [
        ("payload.naem", "naem", "'payload' has no 'naem'; did you mean 'name'?"),
        ("payload.xyz", "xyz", f"'payload' has no 'xyz'; {HAS}"),
        ("'ä' + payload['naem']", "'naem'", "'payload' has no 'naem'; did you mean 'name'?"),
        ("payload .\n  user.idd", "idd", "'payload.user' has no 'idd'; did you mean 'id'?"),
        ("payload.?nikc.orValue('')", "nikc", "'payload' has no 'nikc'; did you mean 'nick'?"),
        ("has(payload.nikc)", "nikc", "'payload' has no 'nikc'; did you mean 'nick'?"),
        ("payload.items.map(i, i.w)", "w", "'i' has no 'w'; it has: q, o"),
        ("payload.items[0].qq", "qq", "this value has no 'qq'; did you mean 'q'?"),
        ("envelope.node", "node", "'envelope' has no 'node'; did you mean 'node_slug'?"),
        ("payload.name.x", "x", "'payload.name' is a string and has no 'x'"),
        (
            "1 + payload.nick.size()",
            "nick",
            f"'nick' {GUARD} has(payload.nick) ? payload.nick : ..., or payload.?nick.orValue(...)",
        ),
        ("payload.items[0].o", "o", f"'o' {GUARD} .?o.orValue(...)"),
        ("payload.name * 2", "*", "string * integer has no meaning"),
        ("payload.total * 2", "*", "number * integer has no meaning; write 2.0"),
        ("payload.total * 2 > 3.0", "*", "number * integer has no meaning; write 2.0"),
        (
            "payload.total + payload.n",
            "+",
            "number + integer has no meaning; write double(...) around the integer",
        ),
        ("payload.name == 3", "==", "string == integer is always false; write string(...) around the number"),
        ("payload.n > 'a'", ">", "integer > string has no meaning"),
        ("payload.n in payload.items", "in", "integer in array has no meaning"),
        ("!payload.name", "!", "!string has no meaning"),
        ("payload.name ? 1 : 2", "?", "the condition is a string, expected a boolean"),
        ("payload.items.exists(i, i.q)", "exists", "the condition of exists is an integer, expected a boolean"),
        ("payload.name.map(c, c)", "map", "'payload.name' is a string, expected an array or an object"),
        ("payload.name.startsWith(1)", "startsWith", "string.startsWith(integer) has no meaning"),
        ("size(payload.n)", "size", "size(integer) has no meaning"),
        ("payload.?nick + 'a'", "+", "optional + string has no meaning; end the optional with .orValue(...)"),
        ("payload.?nick", "payload.?nick", "it gives optional, which JSON has no form for; end it with .orValue(...)"),
        ("[b'a']", "[b'a']", "it gives bytes, which JSON has no form for"),
        ("sise(payload.items)", "sise", "'sise' is not known here; did you mean 'size'?"),
        ("payload.name.upperAsci()", "upperAsci", "'upperAsci' is not known here; did you mean 'upperAscii'?"),
        ("payload.n = 2", "=", "found '=', which cannot stand here; write == to compare"),
    ],
)
def test_what_is_certain_to_fail_is_told_at_its_word(text: str, word: str, told: str) -> None:
    """The place is that of exactly the word, and the message says what to write instead."""
    assert _refused(text) == (word, told)


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("payload.name", "string"),
        ("payload.total * 1.5", "number"),
        ("payload.n * 2 + payload.n", "integer"),
        ("payload.n > 1.5", "boolean"),
        ("payload.mail == null", "boolean"),
        ("payload.mail + '!'", "string"),
        ("has(payload.nick) ? payload.nick : ''", "string"),
        ("!has(payload.nick) || payload.nick == ''", "boolean"),
        ("payload.nick == '' && has(payload.nick)", "boolean"),
        ("'nick' in payload && payload.nick == ''", "boolean"),
        ("payload.?nick.orValue('')", "string"),
        ("payload.?nick.optMap(n, n.size()).orValue(0)", "integer"),
        ("payload.items.all(i, has(i.o) && i.o > 1.0)", "boolean"),
        ("payload.items.filter(i, i.q > 2)[0].q", "integer"),
        ("payload.items.map(i, i.q)[0]", "integer"),
        ("{'a': payload.n}.a", "integer"),
        ("timestamp(payload.name)", "string"),
        ("metadata.anything.at.all", "anything"),
        ("payload.?free.orValue(1)", "anything"),
        ("payload.n == 1 ? payload.n : payload.total", "integer or number"),
    ],
)
def test_what_may_be_right_has_a_type(text: str, gives: str) -> None:
    """Guards are understood, on either side of an operator; what nothing is known of may be anything."""
    assert _type(text) == gives


@pytest.mark.parametrize(
    "text",
    [
        "payload.name" + ".replace('a', 'aa')" * 5,
        "[payload.name]" + "".join(f".map(a{i}, a{i} + a{i})" for i in range(5)) + "[0]",
        "optional.of(payload.name)" + "".join(f".optMap(a{i}, a{i} + a{i})" for i in range(5)) + ".value()",
        "(" * 100 + "1" + ")" * 100,
        "1" + " + 1" * 100,
        "1 + " * 2_000 + "1",
    ],
)
def test_a_bomb_is_refused_when_it_is_loaded(text: str) -> None:
    """What multiplies text, nests too deeply or is too long never gets to a command."""
    assert _refused(text)[1].endswith("write a function instead")


def test_a_bomb_of_rounds_is_stopped_when_it_goes_off() -> None:
    """Nested macros share one budget: a large payload ends them quickly, with an error that says so."""
    bomb = Expression("payload.l.all(a, payload.l.all(b, a + b >= 0))", types={"payload": DYNAMIC}, where="w")
    with pytest.raises(ExpressionFailed, match=r"^w: its macros go more than 10,000 rounds; filter first"):
        bomb.evaluate(Scope(envelope("n", {"l": list(range(1_000))})))


@example("'\x00")
@given(st.text(st.characters(codec="utf-8"), max_size=30) | st.from_regex(r"[a-z.()+?'\[\]{}: 0-9]{0,24}"))
def test_any_text_compiles_or_is_refused_within_itself(text: str) -> None:
    """No other exception, and the place is one of the text, or its end."""
    refused: list[InvalidExpression] = []
    try:
        Expression(text, types=TYPES, where="w")
    except InvalidExpression as error:
        refused.append(error)
    lines = text.split("\n")
    assert all(1 <= error.line <= len(lines) for error in refused)
    assert all(1 <= error.column <= len(lines[error.line - 1]) + 2 for error in refused)


NUMBER = st.integers(-(2**31), 2**31) | st.floats(-1e9, 1e9)


@given(NUMBER, NUMBER.filter(lambda b: abs(b) > 1e-6), st.sampled_from("+-*/"))
def test_numbers_of_the_schema_are_reckoned_as_python_does(a: float, b: float, sign: str) -> None:
    """However a sender writes a number, 3 or 3.0, a `number` is one with a point."""
    schema = type_of_object({"required": ["a", "b"], "properties": {"a": {"type": "number"}, "b": {"type": "number"}}})
    scope = Scope(envelope("n", {"a": a, "b": b}), coercions=Coercions(coercion_to(schema)))
    value = Expression(f"payload.a {sign} payload.b", types=request_types(schema), where="w").evaluate(scope)
    python = {"+": float.__add__, "-": float.__sub__, "*": float.__mul__, "/": float.__truediv__}[sign]
    assert isclose(value, python(float(a), float(b)))


@pytest.mark.parametrize(
    ("declared", "sent", "read"),
    [
        ("integer", 3.0, 3),
        ("integer", 1e2, 100),
        ("integer", 3, 3),
        ("integer", 2**70, 2**70),
        (["integer", "null"], -4.0, -4),
        (["integer", "null"], None, None),
        (["integer", "string"], 3.0, 3),
        (["integer", "string"], "3.0", "3.0"),
        ("number", 3.0, 3.0),
        ("number", 3, 3),
        ({}, 3.0, 3.0),
    ],
)
def test_a_field_that_is_only_read_is_an_integer_where_the_schema_says_so(declared: Any, sent: Any, read: Any) -> None:
    """JSON Schema takes 3.0 for an integer; a path, a query and a bigint do not."""
    schema = type_of_object({"required": ["n"], "properties": {"n": {"type": declared} if declared else {}}})
    value = Expression("payload.n", types=request_types(schema), where="w").evaluate(Scope(envelope("n", {"n": sent})))
    assert (value, type(value)) == (read, type(read))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
TYPE_NAME = st.sampled_from(["number", "integer", "string", "object", "array", "null", "boolean"])
JSON_SCHEMA = st.recursive(
    st.fixed_dictionaries({"type": TYPE_NAME | st.lists(TYPE_NAME, min_size=1, max_size=3)}),
    lambda inner: st.fixed_dictionaries(
        {"type": st.just(["object", "array"])},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "items": inner,
            "additionalProperties": inner | st.booleans(),
        },
    ),
    max_leaves=5,
)


@given(JSON, JSON_SCHEMA)
def test_bringing_to_types_is_total_idempotent_and_loses_nothing(value: Any, schema: dict[str, Any]) -> None:
    """Any value, fitting or not, stays equal to itself as a number, and a second time nothing changes."""
    coerced = coercion_to(type_of_schema(schema)) or (lambda it: it)
    once = coerced(value)
    assert repr(coerced(once)) == repr(once)
    assert _close(once, value)


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_close, a, b))
    return isclose(a, b) if isinstance(a, float) and a == a else bool(a == b)


def test_a_schema_without_numbers_costs_nothing() -> None:
    """There is nothing to bring anywhere."""
    assert coercion_to(type_of_object({"properties": {"a": {"type": "string"}, "b": {"items": {}}}})) is None


def test_a_schema_that_refers_to_itself_ends() -> None:
    """Within itself it is dynamic."""
    schema = {"properties": {"next": {"$ref": "#"}, "n": {"type": "number"}}, "type": "object"}
    assert not type_of_schema(schema).dynamic


BIG = 10**30


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("payload.big", BIG),
        ("[payload.big, payload.n]", [BIG, 3]),
        ("payload.n + 1", 4),
        ("payload.big == payload.big", True),
        ("payload.big == 1", False),
    ],
)
def test_an_integer_beyond_64_bits_harms_no_other_expression(text: str, value: Any) -> None:
    """It is passed on whole, and compared."""
    types = dict.fromkeys(ANSWER_NAMES, DYNAMIC)
    scope = Scope(envelope("n", {"big": BIG, "n": 3}))
    assert Expression(text, types=types, where="w").evaluate(scope) == value


def test_reckoning_with_an_integer_beyond_64_bits_fails_with_its_name() -> None:
    """The error says what it is."""
    with pytest.raises(ExpressionFailed, match=r"^w: integer beyond 64 bits \+ integer has no meaning"):
        Expression("payload.big + 1", types={"payload": DYNAMIC}, where="w").evaluate(
            Scope(envelope("n", {"big": BIG}))
        )


def test_every_signature_is_of_kinds_that_there_are() -> None:
    """A slip in the table of functions would be a check that never holds."""
    for name in FUNCTIONS:
        for way in signatures_of(name.lstrip("."), method=name.startswith(".")):
            assert all(kinds is None or kinds <= set(KINDS) for kinds in way.takes), name
            assert way.gives.kinds <= set(KINDS), name
    assert not [name for name in FUNCTIONS if re.search(r"\s", name)]
