"""What a JSON Schema says of each field, as rows that a person reads. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omnibase_infra.authoring.json_schema import resolved

_DEPTH_MAX = 6
_NAMES = {"string": "text", "boolean": "true or false", "array": "list", "null": "null"}
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
    ("multipleOf", "a multiple of {}"),
    ("minLength", "at least {} long"),
    ("maxLength", "at most {} long"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("pattern", "matches `{}`"),
)


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field: where it is (`lines[].sku`), what it holds, whether it has to be there, and what is said of it."""

    path: str
    type: str
    required: bool
    meaning: str


def fields_of(schema: Mapping[str, Any]) -> list[FieldRow]:
    """Return the fields of an object and of the objects within it, in the order of the schema."""
    return list(_fields(schema, schema, "", _DEPTH_MAX))


def type_of(schema: Any, root: Mapping[str, Any]) -> str:
    """Describe in a few words what a value may be."""
    if not isinstance(schema, Mapping):
        return "anything" if schema else "nothing"
    schema = resolved(schema, root)
    if "const" in schema:
        return _shown(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(_shown(it) for it in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_of(it, root) for it in schema[key]))
    kinds = schema.get("type", "object" if "properties" in schema else None)
    if kinds is None:
        return "anything"
    named = " or ".join(_name_of(kind, schema, root) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    return ", ".join([named, *_bounds(schema)])


def _fields(schema: Any, root: Mapping[str, Any], path: str, depth: int) -> Iterator[FieldRow]:
    if not isinstance(schema, Mapping) or depth == 0:
        return
    schema = resolved(schema, root)
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        here = f"{path}{name}"
        inner = resolved(part, root) if isinstance(part, Mapping) else {}
        yield FieldRow(here, type_of(part, root), name in required, _meaning(inner))
        yield from _fields(inner, root, f"{here}.", depth - 1)
        if isinstance(inner.get("items"), Mapping):
            yield from _fields(inner["items"], root, f"{here}[].", depth - 1)


def _meaning(schema: Mapping[str, Any]) -> str:
    said = [str(schema[key]) for key in ("title", "description") if key in schema]
    if "default" in schema:
        said.append(f"Default: {_shown(schema['default'])}.")
    return " ".join(said)


def _name_of(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return f"list of {type_of(schema['items'], root)}"
    if kind == "string" and "format" in schema:
        return f"text ({schema['format']})"
    return _NAMES.get(kind, kind)


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "minimum" in schema and "maximum" in schema:
        yield f"{_number(schema['minimum'])} to {_number(schema['maximum'])}"
        schema = {key: value for key, value in schema.items() if key not in ("minimum", "maximum")}
    for key, wording in _BOUNDS:
        if key in schema:
            yield wording.format(_number(schema[key]))


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shown(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) else f"`{value}`"
