"""Where a value does not fit: every unfit value has a place, found in a bounded number of steps."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.contracts.json_schema import Schema, ruled, told

NAMES = st.sampled_from(["a", "b", "c/d", "~e", "%f", "g h"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "xyz"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
LEAVES = st.sampled_from(
    [
        True,
        False,
        {},
        {"type": "integer"},
        {"type": ["object", "null"]},
        {"enum": ["a", 1, None]},
        {"const": {"a": 1}},
        {"minLength": 2, "maximum": 1},
        {"required": ["a"], "maxProperties": 2},
        {"minItems": 1, "uniqueItems": True},
        {"$ref": "#/$defs/again"},
        {"$ref": "#"},
        {"title": "no rule", "description": "at all"},
    ]
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    keywords = {
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "properties": st.dictionaries(NAMES, inner, max_size=3),
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "[~%]", "d$"]), inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "dependentSchemas": st.dictionaries(NAMES, inner, max_size=2),
        "prefixItems": several,
        "items": inner,
        "contains": inner,
        "minContains": st.integers(0, 2),
        "unevaluatedProperties": st.sampled_from([False]),
        "unevaluatedItems": st.sampled_from([False]),
        "type": st.sampled_from(["object", "array", "string"]),
    }
    return st.lists(st.sampled_from(sorted(keywords)), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: keywords[name] for name in chosen})
    )


SCHEMAS = st.recursive(LEAVES, _objects, max_leaves=8)


def member(value: Any, path: tuple[str | int, ...]) -> Any:
    """Go down into a value."""
    for step in path:
        value = value[step]
    return value


@given(_objects(SCHEMAS), SCHEMAS, VALUES)
def test_whatever_does_not_fit_has_a_fault_at_a_place_of_it(schema: dict[str, Any], again: Any, value: Any) -> None:
    """And whatever fits has none: the validator alone decides that."""
    whole = {**schema, "$defs": {"again": again}}
    try:
        validator = jsonschema_rs.Draft202012Validator(whole, offline=True)
        fits = validator.is_valid(value)
    except (jsonschema_rs.ValidationError, ValueError, RecursionError):
        return  # It refers to itself without end.
    faults = Schema(whole).found(value)
    assert bool(faults) is not fits
    assert len(faults) <= 5
    for fault in faults:
        member(value, fault.path)
        assert fault.message
        assert fault.rule


BOTH = [{"properties": {"next": {"$ref": "#/$defs/node"}}, "required": [n]} for n in ("a", "next")]
RECURSIVE = {"$ref": "#/$defs/node", "$defs": {"node": {"oneOf": [*BOTH, {"$ref": "#/$defs/node/oneOf/0"}]}}}


@pytest.mark.parametrize("depth", [16, 500])
def test_branches_of_branches_are_not_all_gone_through(depth: int) -> None:
    """Collected, the faults of 600 bytes would take gigabytes."""
    value: Any = 0
    for _ in range(depth):
        value = {"next": value}
    [fault] = Schema(RECURSIVE).faults(value)
    within = "next: it fits none of the schemas under 'oneOf'"
    assert fault == f"$: it fits none of the schemas under 'oneOf': {within}"


def test_a_long_list_is_looked_through_up_to_a_bound() -> None:
    """The first five of many wrong items; of one wrong item behind very many, that it is somewhere."""
    schema = Schema({"properties": {"items": {"items": {"type": "integer"}}}})
    assert len(schema.faults({"items": ["x"] * 300_000})) == 5
    assert schema.faults({"items": [1] * 1000 + ["x"]}) == ('$.items[1000]: "x" is not of type "integer"',)
    [far] = schema.faults({"items": [1] * 300_000 + ["x"]})
    assert far == "$: does not fit its schema; it is too large to say where"


def test_a_rule_quotes_no_value() -> None:
    """It goes into the log, where a payload has no place."""
    word = "s3cret"
    parts = {"type": {"type": "integer"}, "enum": {"enum": [1]}, "pattern": {"pattern": "^a"}, "not": {"not": {}}}
    branches = [{"required": ["a"]}, {"properties": {"type": {"const": 1}}}]
    schema = Schema({"properties": parts, "maxProperties": 1, "oneOf": branches})
    faults = schema.found(dict.fromkeys(parts, word))
    assert len(faults) == 5
    assert any(word in told(it) for it in faults)
    assert not any(word in ruled(it) for it in faults)


BUNDLE = {
    "$id": "https://example.org/whole",
    "properties": {
        "number": {"$ref": "number.json"},
        "inline": {
            "$id": "https://example.org/inline",
            "properties": {"text": {"$ref": "#/$defs/text"}},
            "$defs": {"text": {"type": "string"}},
        },
    },
    "$defs": {
        "number": {
            "$id": "https://example.org/number.json",
            "properties": {"whole": {"$ref": "#/$defs/whole"}},
            "$defs": {"whole": {"type": "integer"}},
        },
    },
}


def test_references_of_a_bundle_are_read_where_they_stand() -> None:
    """An id within changes what a reference is relative to, and where `#` begins."""
    schema = Schema(BUNDLE)
    assert schema.faults({"number": {"whole": 1}, "inline": {"text": "a"}}) == ()
    named = "it does not fit the schema that '$ref' names"
    assert schema.faults({"number": {"whole": "a"}, "inline": {"text": 1}}) == (
        f"$.number: {named}",
        f"$.inline.text: {named}",
    )


def test_of_many_branches_the_first_few_are_told() -> None:
    """Each by its first fault, with the place within the value; the same reason once."""
    branches = [{"properties": {"kind": {"const": number}}, "required": ["kind"]} for number in range(20)]
    [fault] = Schema({"anyOf": branches}).faults({"kind": "x"})
    assert fault == "$: it fits none of the schemas under 'anyOf': " + "; ".join(
        f"kind: {number} was expected" for number in range(4)
    )
    [same] = Schema({"anyOf": [{"type": "string"}] * 3}).faults({})
    assert same == "$: it fits none of the schemas under 'anyOf': {} is not of type \"string\""
