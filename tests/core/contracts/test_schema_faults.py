"""Schemas that are valid and say something in vain."""

from typing import Any

import pytest

from omnibase_core.contracts.schema_faults import FORMATS, faults_of_schema
from omnibase_core.schemas import Schema

OBJECT = {"type": "object"}
DEEP = {
    "a subschema": ({"additionalProperties": {"minimun": 1}}, ("additionalProperties", "minimun")),
    "a list of them": ({"allOf": [{}, {"anyOf": [{"enumm": [1]}]}]}, ("allOf", 1, "anyOf", 0, "enumm")),
    "a property": ({"properties": {"enumm": {"items": {"typ": "x"}}}}, ("properties", "enumm", "items", "typ")),
    "a definition": ({"$defs": {"a": {"titel": "x"}}}, ("$defs", "a", "titel")),
}


def faults(schema: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Give what is wrong in a schema, and where."""
    return [(it.at, it.message) for it in faults_of_schema(schema, Schema(schema), ())]


@pytest.mark.parametrize(("schema", "place"), DEEP.values(), ids=DEEP.keys())
def test_a_misspelt_keyword_is_found_however_deep(schema: dict[str, Any], place: tuple[str | int, ...]) -> None:
    """A name of a property is no keyword."""
    assert [at for at, _ in faults(schema)] == [place]


def test_a_value_is_no_schema() -> None:
    """What a constant, a default or an example holds may have any keys; so has what is marked as one's own."""
    value = {"typ": {"format": "nonsense"}}
    assert faults({"properties": {"a": {"const": value, "default": value, "enum": [value]}}, "x-note": value}) == []
    assert faults(OBJECT | {"examples": [value]}) == []


@pytest.mark.parametrize(
    ("name", "bad"),
    {
        "date": "x", "date-time": "x", "duration": "x", "email": "x", "hostname": "-", "idn-email": "x",
        "idn-hostname": "-", "ipv4": "x", "ipv6": "x", "iri": "x", "iri-reference": "\\", "json-pointer": "x",
        "regex": "(", "relative-json-pointer": "x", "time": "x", "uri": "x", "uri-reference": "\\",
        "uri-template": "{", "uuid": "x",
    }.items(),
)  # fmt: skip  # a table of one line for each would be a page
def test_each_format_that_is_offered_is_checked(name: str, bad: str) -> None:
    """A format that no check knows would be passed over."""
    assert name in FORMATS
    assert Schema({"format": name}).faults(bad) != ()
    assert Schema({"format": name}).faults("") != () or name in (
        "iri-reference",
        "json-pointer",
        "regex",
        "uri-reference",
        "uri-template",
    )


def test_all_formats_are_tried() -> None:
    """No format is offered that the test before leaves out."""
    [mark] = test_each_format_that_is_offered_is_checked.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in mark.args[1]} == FORMATS


@pytest.mark.parametrize(
    "schema",
    [
        {"required": ["a"], "additionalProperties": False, "patternProperties": {"^a$": {}}},
        {"required": ["a"], "properties": {"b": {}}},
        {"properties": {"a": {"minimum": 1, "maximum": 1}, "b": {"minLength": 0, "maxLength": 0}}},
        {"type": ["object", "null"], "required": ["a"], "examples": [{"a": 1}]},
    ],
)
def test_what_may_fit_is_left_alone(schema: dict[str, Any]) -> None:
    """A schema that something fits is no fault."""
    assert faults(schema) == []


@pytest.mark.parametrize("kinds", ["array", ["string", "null"]])
def test_what_is_no_object_is_no_payload(kinds: Any) -> None:
    """Nothing that is sent would ever fit."""
    assert [at for at, _ in faults({"type": kinds})] == [("type",)]
