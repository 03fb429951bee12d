"""Objects that may be null, keys that are no identifiers, and texts that no command can mend: told at load."""

import re
from typing import Any

import pytest

from omnibase_core.errors import ExpressionFailed, InvalidExpression
from omnibase_core.expressions import DYNAMIC, Expression, Scope, request_types, type_of_object
from tests.support.commands import envelope

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {
            "type": ["object", "null"],
            "properties": {"b": {"type": ["string", "null"]}, "x-y": {"type": "string"}},
        },
        "list": {"type": ["array", "null"], "items": {"type": "string"}},
        "content-type": {"type": "string"},
        "it's": {"type": "string"},
        "in": {"type": "string"},
    },
}
TYPES = request_types(type_of_object(SCHEMA))
ANYTHING = request_types(DYNAMIC)
PAYLOADS: list[dict[str, Any]] = [
    {},
    {"a": None, "list": None},
    {"a": {}, "list": []},
    {"a": {"b": None}},
    {"a": {"b": "x", "x-y": "y"}, "list": ["x"], "content-type": "z", "it's": "w", "in": "v"},
]
IS_A = "has(payload.a) && payload.a != null"
CONTENT_TYPE, OR_ELSE = "'content-type' in payload", "payload[?'content-type'].orValue(...)"
NULL = "may be null, the schema allows it; write"
ABSENT = "may be absent, the schema does not require it; write"


def value(text: str, payload: dict[str, Any], types: Any = TYPES) -> Any:
    """Compile an expression, and evaluate it on a payload."""
    return Expression(text, types=types, where="w").evaluate(Scope(envelope("n", payload)))


def refused(text: str) -> tuple[str, str]:
    """Return the words that are meant, and what is said of them."""
    with pytest.raises(InvalidExpression) as raised:
        Expression(text, types=TYPES, where="w")
    error = raised.value
    return text[error.column - 1 :][: error.width], str(error)


NULLS = [
    ("payload.?a.?b.orValue('d')", "b", f"{IS_A} && has(payload.a.b) ? payload.a.b : ..."),
    ("payload.?a[?'x-y'].orValue('d')", "'x-y'", f"{IS_A} && 'x-y' in payload.a ? payload.a['x-y'] : ..."),
    ("has(payload.a) && has(payload.a.b) ? payload.a.b : 'd'", "b", "payload.a != null && has(payload.a.b)"),
    ("has(payload.a) ? payload.a.b : 'd'", "b", "payload.a != null && has(payload.a.b) ? payload.a.b : ..."),
    ("has(payload.a) ? payload.a[envelope.node_slug] : 'd'", "[", "payload.a != null ? ... : ..."),
    ("has(payload.a) && 'b' in payload.a", "in", "payload.a != null && ..."),
    ("has(payload.list) ? payload.list.map(it, it) : []", "map", "payload.list != null ? ... : ..."),
    ("has(payload.list) ? payload.list[0] : ''", "[", "payload.list != null ? ... : ..."),
]


@pytest.mark.parametrize(("text", "word", "instead"), NULLS)
def test_what_may_be_null_is_not_looked_into(text: str, word: str, instead: str) -> None:
    """The first command with a null there would fail: neither an optional nor `has` looks into one."""
    owner = "'payload.list'" if "list" in text else "'payload.a'"
    assert refused(text) == (word, f"{owner} {NULL} {instead}")


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    "text",
    [
        f"{IS_A} && has(payload.a.b) ? payload.a.b : 'd'",
        f"{IS_A} && 'x-y' in payload.a ? payload.a['x-y'] : 'd'",
        "!has(payload.a) || payload.a == null || !has(payload.a.b) ? 'd' : payload.a.b",
        "has(payload.a) && null != payload.a && 'b' in payload.a ? payload.a.b : 'd'",
        "has(payload.a) && payload.a != null ? payload.a.?b.orValue('d') : 'd'",
        "has(payload.list) && payload.list != null ? payload.list.map(it, it) : []",
        "'content-type' in payload ? payload['content-type'] : 'd'",
        "payload[?'content-type'].orValue('d')",
        "payload[?'it\\'s'].orValue('d')",
        "'in' in payload ? payload['in'] : 'd'",
    ],
)
def test_what_is_advised_holds_for_every_command(text: str, payload: dict[str, Any]) -> None:
    """It compiles, and fails for nothing that the schema allows."""
    value(text, payload)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("payload['content-type']", f"{CONTENT_TYPE} ? payload['content-type'] : ..., or {OR_ELSE}"),
        ("payload['it\\'s']", "'it\\'s' in payload ? payload['it\\'s'] : ..., or payload[?'it\\'s'].orValue(...)"),
        ("payload['in']", "'in' in payload ? payload['in'] : ..., or payload[?'in'].orValue(...)"),
        ("payload.a", "has(payload.a) ? payload.a : ..., or payload.?a.orValue(...)"),
    ],
)  # fmt: skip  # what is told stands beside the text
def test_the_code_to_write_for_an_absent_key_is_code(text: str, told: str) -> None:
    """A key that cannot stand after a point is told as it has to be written."""
    assert refused(text)[1].partition(f"{ABSENT} ")[2] == told


@pytest.mark.parametrize("text", ["has(payload['content-type'])", "1 > 0 && has( payload [ 'content-type' ] )"])
def test_has_takes_no_key_in_brackets(text: str) -> None:
    """What to write is told, at the words that are meant."""
    word, told = refused(text)
    assert re.sub(" ", "", word) == "payload['content-type']"
    assert told == f"has(...) takes a key after a point; write {CONTENT_TYPE}, or {OR_ELSE}"


@pytest.mark.parametrize(
    "text",
    ["payload.?a.?b.orValue(1)", "payload.?a[?'b'].orValue(1)", "'b' in payload.a", "payload['a']['b']",
     "has(payload.a.b)", "payload.a.map(it, it)", "[payload.a.b]"],
)  # fmt: skip  # a table of one line for each would be a page
def test_a_null_that_no_schema_tells_of_fails_in_plain_words(text: str) -> None:
    """Without a schema a command may bring one."""
    with pytest.raises(ExpressionFailed, match="test it first"):
        value(text, {"a": None}, ANYTHING)


def test_a_missing_key_is_told_with_code_that_reads_it() -> None:
    """At run time, too."""
    with pytest.raises(ExpressionFailed, match=r"ask with 'a-b' in ... first, or write \[\?'a-b'\].orValue\(...\)"):
        value("[payload['a-b']]", {}, ANYTHING)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("duration('7d')", "; write duration('168h')"),
        ("duration('2 weeks')", "; write duration('336h')"),
        ("duration('P1DT12H')", "; write duration('36h')"),
        ("duration('30')", "; write duration('30s')"),
        ("duration('soon')", ""),
        ("timestamp('2026-01-01')", "; write timestamp('2026-01-01T00:00:00Z')"),
        ("timestamp('2026-01-01 10:20')", "; write timestamp('2026-01-01T10:20:00Z')"),
        ("timestamp('2026-13-01')", ""),
        ("int('x')", ""),
        ("bool('yes')", ""),
        ("matches(payload.b, '(')", ""),
        ("payload.b.matches('(')", ""),
    ],
)
def test_a_text_that_always_fails_is_refused(text: str, instead: str) -> None:
    """No command could mend it. What was probably meant is told, and compiles."""
    with pytest.raises(InvalidExpression) as raised:
        Expression(f"[string({text})]", types=ANYTHING, where="w")
    error = raised.value
    word = error.text[error.column - 1 :][: error.width]
    assert word in text
    assert str(error).startswith(f"{word} always fails here: the ")
    assert str(error).partition(";")[2] == instead.removeprefix(";")
    if instead:
        Expression(f"string({instead.partition('write ')[2]})", types=ANYTHING, where="w")


@pytest.mark.parametrize("text", ["duration('1h30m')", "timestamp('2026-01-01T00:00:00Z')", "duration(payload.d)"])
def test_a_text_that_can_be_read_is_left_alone(text: str) -> None:
    """And so is one that a command brings."""
    Expression(f"string({text})", types=ANYTHING, where="w")
