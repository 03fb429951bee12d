"""JSON Schema as a tree of values: a pydantic model's, how one is walked, and a value that fits. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel

from omnibase_core.contracts.patterns import expected

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


JsonSchema = dict[str, Any]

_OF_ONE = (
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
)
_OF_MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
_OF_NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")


def schema_of(model: type[BaseModel], *, prefix: str = "") -> tuple[JsonSchema, dict[str, JsonSchema]]:
    """Return a model's schema, and those that it refers to as `#/$defs/<prefix><name>`, by these names.

    What a docstring says of a field is the field's description. Titles are left out: they only repeat names.
    """
    whole = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    definitions = {f"{prefix}{name}": tidy(it) for name, it in whole.pop("$defs", {}).items()}
    return tidy(whole), definitions


def tidy(schema: JsonSchema) -> JsonSchema:
    """Describe in a model's schema what pydantic knows and leaves out, and leave out what tells nobody anything."""
    result: JsonSchema = mapped(schema, _tidied)
    return result


def mapped(schema: Any, change: Callable[[JsonSchema], JsonSchema]) -> Any:
    """Return a schema with each schema within it changed, the innermost first."""
    if not isinstance(schema, Mapping):
        return schema
    result = dict(schema)
    for key in _OF_ONE:
        if key in result:
            result[key] = mapped(result[key], change)
    for key in _OF_MANY:
        if key in result:
            result[key] = [mapped(it, change) for it in result[key]]
    for key in _OF_NAMED:
        if key in result:
            result[key] = {name: mapped(it, change) for name, it in result[key].items()}
    return change(result)


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference into its own document, and put what stands beside it on top; what leads nowhere is empty."""
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str) and reference.startswith("#") and reference not in seen:
        seen.add(reference)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**_at(root, reference), **beside}
    return schema


def told_of_fields(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield what a docstring says of each `field`: its item of the list, or the sentences that name it."""
    headed: set[str] = set()
    sentences: list[str] = []
    for part in _paragraphs(docstring):
        heading = re.match(r"- ((?:`\w+`(?:, )?)+): (.*)", part)
        names, text = (re.findall(r"`(\w+)`", heading[1]), heading[2]) if heading else ([], part)
        headed.update(names)
        yield from ((name, _sentence(text)) for name in names)
        sentences += re.split(r"(?<=\.) ", text)
    for sentence in sentences:
        for name in dict.fromkeys(re.findall(r"`(\w+)`", sentence)):
            if name not in headed:
                yield name, _sentence(sentence)


def _tidied(schema: JsonSchema) -> JsonSchema:
    result = {key: value for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    if result.get("default", 0) is None:
        del result["default"]
    if (form := expected(result.get("pattern", ""))) is not None:
        result.setdefault("description", _sentence(form))
        result["patternErrorMessage"] = f"expected {form}"
    if "patternProperties" in result:
        result.setdefault("additionalProperties", False)
    if "properties" in result and "description" in result:
        result["properties"] = _described(result["properties"], result["description"])
        result["description"] = _unwrapped(result["description"])
    return result


def _described(properties: Mapping[str, JsonSchema], docstring: str) -> dict[str, JsonSchema]:
    told: dict[str, list[str]] = {}
    for name, sentence in told_of_fields(docstring):
        told.setdefault(name, []).append(sentence)
    return {
        name: {**it, "description": " ".join([*told[name], *_form(it)])} if name in told else it
        for name, it in properties.items()
    }


def _form(schema: Mapping[str, Any]) -> list[str]:
    """Return what the form of a name is, where that is all that was said so far."""
    return [str(schema["description"])] if "description" in schema else []


def _unwrapped(docstring: str) -> str:
    """Return a docstring with a line for each paragraph and item, as an editor shows it."""
    return "\n".join(_paragraphs(docstring))


def _paragraphs(docstring: str) -> list[str]:
    return [" ".join(it.split()) for it in re.split(r"\n\n|\n(?=- )", cleandoc(docstring))]


def _sentence(text: str) -> str:
    text = text.strip().rstrip(";.")
    return f"{text[:1].upper()}{text[1:]}."


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
