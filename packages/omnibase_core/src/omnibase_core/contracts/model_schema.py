"""The JSON Schema of a pydantic model, with what its docstring says of each field. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel

from omnibase_core.contracts.patterns import expected

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
