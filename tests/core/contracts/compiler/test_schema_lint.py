"""What is wrong with schemas: all of it at once, each fault at its place and in the words of a contract."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omnibase_core.contracts.compiler.schema_keywords import FORMATS
from omnibase_core.contracts.compiler.schema_lint import compiled_schema
from omnibase_core.contracts.json_schema import InvalidSchema, Schema

OBJECT = {"type": "object"}
DEEP = {
    "a subschema": ({"additionalProperties": {"minimun": 1}}, ("additionalProperties", "minimun")),
    "a list of them": ({"allOf": [{}, {"anyOf": [{"enumm": [1]}]}]}, ("allOf", 1, "anyOf", 0, "enumm")),
    "a property": ({"properties": {"enumm": {"items": {"typ": "x"}}}}, ("properties", "enumm", "items", "typ")),
    "a definition": ({"$defs": {"a": {"titel": "x"}}}, ("$defs", "a", "titel")),
}


def faults(schema: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what is wrong in a schema, and where."""
    return [(it.at, it.message) for it in compiled_schema(schema, (), written=True)[1]]


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


OLD = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "id": "http://example.org/order",
    "type": "object",
    "properties": {
        "price": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "cost": {"maximum": 9, "exclusiveMaximum": False},
        "point": {"type": "array", "items": [{"type": "number"}], "additionalItems": False},
        "name": {"required": True, "divisibleBy": 2},
    },
    "dependencies": {"card": ["address"]},
}


def test_each_word_of_an_older_draft_is_told_with_what_is_written_now() -> None:
    """All at once. That a schema says which draft it is of is no fault where all its words have stayed."""
    now = "in draft 2020-12 it is"
    assert faults(OLD) == [
        (("id",), "draft 2020-12 has no 'id'; write $id"),
        (("dependencies",), "draft 2020-12 has no 'dependencies'; write dependentRequired"),
        (
            ("properties", "price", "exclusiveMinimum"),
            f"found true, but {now} the bound itself; write exclusiveMinimum: 0 in place of minimum: 0",
        ),
        (
            ("properties", "cost", "exclusiveMaximum"),
            f"found false, but {now} a number; remove it, since maximum takes the bound in",
        ),
        (
            ("properties", "point", "items"),
            "found a list, which draft 2020-12 writes under prefixItems; write prefixItems: [...], and items: false",
        ),
        (
            ("properties", "point", "additionalItems"),
            "draft 2020-12 has no 'additionalItems'; write items in its place, beside prefixItems",
        ),
        (
            ("properties", "name", "required"),
            "found true, expected a list of names, beside properties: required: [name]",
        ),
        (("properties", "name", "divisibleBy"), "draft 2020-12 has no 'divisibleBy'; write multipleOf"),
    ]
    assert faults({"$schema": OLD["$schema"], "type": "object"}) == []


def test_each_reference_that_leads_out_is_told_at_its_place() -> None:
    """With where to put what it leads to; one that a `$defs` has is found there."""
    out = "leads out of the schema, and may only point into it"
    schema = {
        "$id": "push$event",
        "properties": {
            "a": {"items": {"$ref": "common/commit.schema.json"}},
            "b": {"$ref": "links/all"},
            "c": {"$ref": "https://example.org/person.json#/x"},
            "d": {"$ref": "#/definitions/person"},
            "e": {"$ref": "#/$defs/persn"},
            "f": {"$ref": "#/$defs/person"},
            "g": {"$ref": "#part"},
        },
        "$defs": {"person": {"type": "object"}, "q": {"$anchor": "part", "$id": "https://example.org/q"}},
    }
    put = "put that schema under $defs and write"
    assert faults(schema) == [
        (("properties", "a", "items", "$ref"), f"'common/commit.schema.json' {out}; {put} '#/$defs/commit'"),
        (("properties", "b", "$ref"), f"'links/all' {out}; {put} '#/$defs/all'"),
        (("properties", "c", "$ref"), f"'https://example.org/person.json#/x' {out}; {put} '#/$defs/x'"),
        (("properties", "d", "$ref"), "'#/definitions/person' leads nowhere; write '#/$defs/person'"),
        (("properties", "e", "$ref"), "'#/$defs/persn' leads nowhere; did you mean '#/$defs/person'?"),
        (("properties", "g", "$ref"), f"'#part' leads nowhere; {put} '#/$defs/part'"),
    ]


def test_what_is_bundled_is_found() -> None:
    """Schemas under `$defs` with an `$id` of their own may be referred to by it, from within each other too."""
    a, b = "https://example.org/common/a.json", "https://example.org/common/b.json"
    schema = {
        "$id": "https://example.org/push",
        "properties": {"a": {"$ref": "common/a.json"}, "b": {"$ref": "common/b.json#here"}, "c": {"$ref": "c.json"}},
        "$defs": {"a": {"$id": a, "items": {"$ref": "b.json"}}, "b": {"$id": b, "$anchor": "here"}},
    }
    assert [at for at, _ in faults(schema)] == [("properties", "c", "$ref")]


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"datatype": "acme.v1.Thing"}, "unknown keyword 'datatype'; JSON Schema has none of that name; remove it"),
        ({"datatype": "string"}, "unknown keyword 'datatype'; did you mean 'type'?"),
        ({"requred": ["a"]}, "unknown keyword 'requred'; did you mean 'required'?"),
        ({"example": "EUR"}, "unknown keyword 'example'; it is OpenAPI's; write examples: ['EUR']"),
        ({"xml": {"name": "a"}}, "unknown keyword 'xml'; it is OpenAPI's; remove it"),
        (
            {"$ref": "#/components/schemas/sentAt"},
            "'#/components/schemas/sentAt' is OpenAPI's and AsyncAPI's; put that schema under $defs and write"
            " '#/$defs/sentAt'",
        ),
        ({"format": "int64"}, "no check knows the format 'int64'; it is OpenAPI's; remove it, type: integer says so"),
        (
            {"type": "date-time"},
            "not a JSON Schema: date-time is not a type but a format; write {type: string, format: date-time}",
        ),
    ],
)
def test_a_word_of_others_is_told_with_what_it_becomes(schema: dict[str, Any], told: str) -> None:
    """What is advised for a keyword could stand there with the value that it has."""
    assert [it for _, it in faults({"properties": {"a": schema}})] == [told]


def test_all_that_makes_it_no_schema_is_told_at_once() -> None:
    """In words of the contract, and none of the validator's."""
    schema = {
        "minProperties": "one",
        "required": ["a", "a"],
        "properties": {"a": {"type": ["strin"]}, "b": 7, "c": {"pattern": "(", "enum": 1, "multipleOf": 0}},
        "allOf": {},
    }
    none = "not a JSON Schema: "
    types = "array, boolean, integer, null, number, object, string"
    assert faults(schema) == [
        (("minProperties",), f"{none}found 'one', expected an integer, 0 or more"),
        (("required",), f"{none}found a list with something twice, or no name, expected a list of different names"),
        (("allOf",), f"{none}found {{}}, expected a list of schemas"),
        (
            ("properties", "a", "type", 0),
            f"{none}found the type 'strin', expected one of: {types}; did you mean 'string'?",
        ),
        (("properties", "b"), f"{none}found 7, expected a schema: a mapping, or true or false"),
        (
            ("properties", "c", "pattern"),
            f"{none}'(' is not a regular expression that the check of payloads knows",
        ),
        (("properties", "c", "enum"), f"{none}found 1, expected a list of values"),
        (("properties", "c", "multipleOf"), f"{none}found 0, expected a number above 0"),
    ]


_WORDS = st.sampled_from(
    (
        "type", "properties", "items", "required", "allOf", "pattern", "minLength", "minimum", "$ref", "$id", "$anchor",
        "enum", "const", "format", "dependentRequired", "$defs", "$comment", "uniqueItems", "not", "multipleOf",
    )
)  # fmt: skip  # a table of one line for each would be a page
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "string", "a", "#/a", "("]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.sampled_from(["a", "b"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(_WORDS, _VALUES, max_size=5))
@example({"$id": "http://[bad"})
@example({"$id": None})
@example({"$anchor": "1 2"})
@example({"properties": {"a": {"$id": "#x"}}})
def test_a_schema_compiles_or_is_told_why_not(schema: dict[str, Any]) -> None:
    """Whatever stands in it: looking for faults raises nothing, and overlooks none that the validator refuses."""
    compiled, told = compiled_schema(schema, (), written=True)
    assert (compiled is None) == _is_refused(schema)
    assert compiled is not None or told


def _is_refused(schema: dict[str, Any]) -> bool:
    try:
        Schema(schema)
    except InvalidSchema:
        return True
    return False
