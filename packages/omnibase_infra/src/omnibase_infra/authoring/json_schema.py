"""JSON Schema as a tree of values: where a reference leads, and a value that fits. Pure."""

from collections.abc import Mapping
from typing import Any

_TEXT_OF_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "ada@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "time": "12:00:00Z",
    "uri": "https://example.org/",
    "uuid": "6f2d5c1e-3f0b-4d0e-9a55-0c6f4f1f2a77",
}
_DEPTH_MAX = 8


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference into its own document, and put what stands beside it on top; what leads nowhere is empty."""
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str) and reference.startswith("#") and reference not in seen:
        seen.add(reference)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**_at(root, reference), **beside}
    return schema


def _at(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    part: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        part = part.get(name) if isinstance(part, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def sample(schema: Any, root: Mapping[str, Any] | None = None) -> Any:
    """Return the first example, or a value with every required part and no other.

    Patterns are beyond it: text that has to match one is given as `text`, and may not fit.
    """
    return _sample(schema, schema if root is None else root, _DEPTH_MAX)


def _sample(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    schema = resolved(schema, root)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _sample(_first(schema[key]), root, depth - 1)
    kind = schema.get("type", "object" if "properties" in schema else None)
    return _of_type(kind[0] if isinstance(kind, list) else kind, schema, root, depth)


def _of_type(kind: str | None, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    match kind:
        case "object":
            properties = schema.get("properties", {})
            return {it: _sample(properties.get(it, {}), root, depth - 1) for it in schema.get("required", ())}
        case "array":
            return [_sample(schema.get("items", {}), root, depth - 1) for _ in range(schema.get("minItems", 0))]
        case "string":
            return _text(schema)
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
    return None


def _first(choices: list[Any]) -> Any:
    return next((it for it in choices if not isinstance(it, Mapping) or it.get("type") != "null"), {})


def _text(schema: Mapping[str, Any]) -> str:
    text: str = _TEXT_OF_FORMAT.get(schema.get("format", ""), "text")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        return step if step != 1 else 1
    if low is not None and (high is None or low <= 1 <= high) and low < 1:
        return 1 if step == 1 else step
    near: float = low if low is not None else high
    if "minimum" not in schema and low is not None:
        near = near + step if high is None or near + step < high else (near + high) / 2
    elif low is None and "maximum" not in schema:
        near -= step
    return int(near) if whole or float(near).is_integer() else near
