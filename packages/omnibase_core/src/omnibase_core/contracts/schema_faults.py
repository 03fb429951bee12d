"""What a JSON Schema of a contract says that no validator would tell: words that mean nothing, bounds that cross. Pure.

A validator ignores a keyword or a format that it does not know, so that `requred` would require nothing. Source: the
keywords of https://json-schema.org/draft/2020-12/schema and its formats, as the validator of payloads checks them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from omnibase_core.contracts.document import Path, suggestion
from omnibase_core.contracts.fitting import Misfit
from omnibase_core.schemas import Schema, shortened

FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4", "ipv6", "iri"}
    | {"iri-reference", "json-pointer", "regex", "relative-json-pointer", "time", "uri", "uri-reference"}
    | {"uri-template", "uuid"}
)
_ONE = frozenset(
    {"additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPPINGS = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_PLAIN = frozenset(
    {"$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$ref", "$schema", "const", "contentEncoding"}
    | {"contentMediaType", "default", "dependentRequired", "deprecated", "description", "enum", "examples"}
    | {"exclusiveMaximum", "exclusiveMinimum", "format", "maxContains", "maxItems", "maxLength", "maxProperties"}
    | {"maximum", "minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern"}
    | {"readOnly", "required", "title", "type", "uniqueItems", "writeOnly"}
)
_KEYWORDS = _ONE | _LISTS | _MAPPINGS | _PLAIN
_OF_OPENAPI = {"nullable": "write type: [string, 'null'] to allow null"}
_BOUNDS = (
    *(("minimum", "maximum"), ("minItems", "maxItems"), ("minLength", "maxLength")),
    *(("minProperties", "maxProperties"), ("minContains", "maxContains")),
)


def faults_of_schema(schema: Mapping[str, Any], compiled: Schema, at: Path) -> Iterator[Misfit]:
    """Find what a valid schema, written at a path of its contract, says in vain, and examples that it refuses."""
    kinds = schema.get("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        told = "a payload and an answer are objects; write type: object, and what you mean under a key of it"
        yield _fault((*at, "type"), told)
    yield from _faults(schema, at)
    for index, example in enumerate(schema.get("examples", ())):
        for fault in compiled.found(example):
            said = shortened(fault.message)
            yield _fault((*at, "examples", index, *fault.path), f"the example does not fit its schema: {said}")


def _fault(at: Path, message: str, *, nearest: str | None = None) -> Misfit:
    return Misfit(at=at, message=message, code="bad-schema", nearest=nearest)


def _faults(schema: Any, at: Path) -> Iterator[Misfit]:
    if not isinstance(schema, Mapping):
        return
    yield from _faults_of_keywords(schema, at)
    for keyword, value in schema.items():
        here = (*at, keyword)
        if keyword in _ONE:
            yield from _faults(value, here)
        elif keyword in _LISTS:
            for index, part in enumerate(value):
                yield from _faults(part, (*here, index))
        elif keyword in _MAPPINGS:
            for name, part in value.items():
                yield from _faults(part, (*here, name))


def _faults_of_keywords(schema: Mapping[str, Any], at: Path) -> Iterator[Misfit]:
    for keyword in schema:
        if keyword not in _KEYWORDS and not keyword.startswith("x-"):
            otherwise = _OF_OPENAPI.get(keyword, "JSON Schema has none of that name; remove it")
            hint, near = suggestion(keyword, sorted(_KEYWORDS), otherwise=otherwise)
            told = f"unknown keyword {keyword!r}; {hint}"
            yield Misfit(at=(*at, keyword), message=told, code="unknown-key", key=True, nearest=near)
    written = schema.get("format")
    if written is not None and written not in FORMATS:
        hint, near = suggestion(written, sorted(FORMATS), otherwise="remove it, or write a pattern")
        yield _fault((*at, "format"), f"no check knows the format {written!r}; {hint}", nearest=near)
    for least, most in _BOUNDS:
        if least in schema and most in schema and schema[least] > schema[most]:
            told = f"nothing fits: {least} {schema[least]:g} is above {most} {schema[most]:g}"
            yield _fault((*at, least), told)
    yield from _faults_of_required(schema, at)


def _faults_of_required(schema: Mapping[str, Any], at: Path) -> Iterator[Misfit]:
    """Where no other properties may be, those that have to be there are among those that may."""
    if schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return
    properties = schema.get("properties", {})
    for index, name in enumerate(schema.get("required", ())):
        if name not in properties:
            hint, near = suggestion(name, properties)
            told = f"nothing fits: {name!r} is required, but is none of the properties, and others may not be; {hint}"
            yield _fault((*at, "required", index), told, nearest=near)
