"""JSON Schema of payloads: what is no schema, what is wrong with a value, and that nothing is fetched."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.contracts.json_schema import InvalidSchema, Schema

USER = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
        "born": {"type": "string", "format": "date"},
    },
    "additionalProperties": False,
    "$defs": {"tag": {"enum": ["a", "b"]}},
}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "objet"}, ("type",)),
        ({"properties": {"a": {"minimum": "x"}}}, ("properties", "a", "minimum")),
        ({"anyOf": [{}, {"required": "name"}]}, ("anyOf", 1, "required")),
        ({"enum": 1}, ("enum",)),
        ({"pattern": "("}, ("pattern",)),
        ({"$ref": "#/$defs/nothing"}, ()),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema: dict[str, Any], path: tuple[str | int, ...]) -> None:
    """The path leads to the fault within the schema."""
    with pytest.raises(InvalidSchema) as raised:
        Schema(schema)
    assert raised.value.path == path
    assert raised.value.code == "invalid_schema"
    assert str(raised.value)


@pytest.mark.parametrize("reference", ["http://localhost:9/schema.json", "https://example.com/x", "file:///etc/hosts"])
def test_nothing_is_fetched(reference: str) -> None:
    """A reference that leads out of the schema is refused when the schema is compiled."""
    with pytest.raises(InvalidSchema, match="not present in a registry"):
        Schema({"$ref": reference})


def test_a_valid_value_has_no_faults() -> None:
    """Nothing is said of a value that is as it should be."""
    assert Schema(USER).faults({"name": "Ada", "age": 36, "tags": ["a"], "born": "1815-12-10"}) == ()


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        ({}, ('$: "name" is a required property',)),
        ([], ('$: [] is not of type "object"',)),
        ({"name": ""}, ('$.name: "" is shorter than 1 character',)),
        ({"name": "Ada", "age": "old"}, ('$.age: "old" is not of type "integer"',)),
        ({"name": "Ada", "tags": ["a", "z"]}, ('$.tags[1]: "z" is not one of "a" or "b"',)),
        ({"name": "Ada", "born": "long ago"}, ('$.born: "long ago" is not a "date"',)),
        ({"name": "Ada", "agee": 1}, ("$: Additional properties are not allowed ('agee' was unexpected)",)),
        ({"name": 1, "age": "x"}, ('$.name: 1 is not of type "string"', '$.age: "x" is not of type "integer"')),
    ],
)
def test_each_fault_is_told_at_its_path(value: Any, faults: tuple[str, ...]) -> None:
    """Every fault starts with the JSON path of what is wrong; formats are checked too."""
    assert sorted(Schema(USER).faults(value)) == sorted(faults)


def test_only_some_faults_are_told_and_each_is_short() -> None:
    """A value that is wrong throughout does not give an answer without end."""
    faults = Schema({"items": {"type": "integer"}}).faults(["x" * 10_000] * 100)
    assert len(faults) == 5
    assert all(len(fault) < 330 and fault.endswith("...") for fault in faults)


def test_the_draft_is_2020_12() -> None:
    """`prefixItems` and `unevaluatedProperties` are known."""
    assert Schema({"prefixItems": [{"type": "integer"}]}).faults(["x"]) == ('$[0]: "x" is not of type "integer"',)
    assert Schema({"properties": {"a": {}}, "unevaluatedProperties": False}).faults({"b": 1})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_value_is_judged(value: Any) -> None:
    """The empty schema takes everything, its opposite nothing, and a value that is its own constant is valid."""
    assert Schema({}).faults(value) == ()
    assert len(Schema({"not": {}}).faults(value)) == 1
    assert Schema({"const": value}).faults(value) == ()
    assert all(fault.startswith("$") for fault in Schema(USER).faults(value))


KEYWORDS = st.sampled_from(
    [
        "type",
        "enum",
        "const",
        "not",
        "anyOf",
        "items",
        "pattern",
        "properties",
        "required",
        "minimum",
        "$ref",
        "$id",
        "$schema",
    ]
)


@given(st.dictionaries(KEYWORDS | st.text(st.characters(codec="utf-8"), max_size=12), JSON, max_size=5))
def test_any_object_is_a_schema_or_an_invalid_one(schema: dict[str, Any]) -> None:
    """Compiling ends in a schema, which then judges values, or in InvalidSchema, and in nothing else."""
    with suppress(InvalidSchema):
        Schema(schema).faults({"a": 1})
