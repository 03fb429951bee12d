"""What is wrong with a JSON Schema of a contract, all of it at once: what is none, and what one says in vain. Pure.

A validator ignores a keyword or a format that it does not know, so that `requred` would require nothing, tells the
first fault alone, and knows no places of references. It is asked for what is not found here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from omnibase_core.contracts.compiler.schema_keywords import FORMATS, faults_of_words, subschemas
from omnibase_core.contracts.compiler.schema_references import faults_of_references
from omnibase_core.contracts.compiler.types import TypeProblem
from omnibase_core.contracts.json_schema import InvalidSchema, Schema, shortened
from omnibase_core.contracts.yaml.document import Path, suggestion

_BOUNDS = (
    *(("minimum", "maximum"), ("minItems", "maxItems"), ("minLength", "maxLength")),
    *(("minProperties", "maxProperties"), ("minContains", "maxContains")),
)


def compiled_schema(schema: Mapping[str, Any], at: Path, *, written: bool) -> tuple[Schema | None, list[TypeProblem]]:
    """Compile a schema, None where it is none, and give what is wrong with it.

    One that is not `written` by hand is a model's, and may say more than JSON Schema knows.
    """
    told = list(faults_of_words(schema, at)) if written else []
    try:
        compiled = Schema(schema)
    except InvalidSchema as error:
        places = {it.at for it in told}
        told += (it for it in faults_of_references(schema, at) if it.at not in places)
        here = (*at, *error.path)
        if not any(it.at[: len(here)] == here or here[: len(it.at)] == it.at for it in told):
            told.append(_fault(here, f"not a JSON Schema: {error}"))
        return None, told
    return compiled, [*told, *(faults_of_schema(schema, compiled, at) if written else ())]


def faults_of_schema(schema: Mapping[str, Any], compiled: Schema, at: Path) -> Iterator[TypeProblem]:
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


def _fault(at: Path, message: str, *, nearest: str | None = None) -> TypeProblem:
    return TypeProblem(at=at, message=message, code="bad-schema", nearest=nearest)


def _faults(schema: Any, at: Path) -> Iterator[TypeProblem]:
    if not isinstance(schema, Mapping):
        return
    yield from _faults_of_keywords(schema, at)
    for part, here in subschemas(schema, at):
        yield from _faults(part, here)


_FORMATS_OF_OPENAPI = {
    **dict.fromkeys(("int32", "int64"), "it is OpenAPI's; remove it, type: integer says so"),
    **dict.fromkeys(("float", "double"), "it is OpenAPI's; remove it, type: number says so"),
    "byte": "it is OpenAPI's; write contentEncoding: base64 in its place",
    **dict.fromkeys(("binary", "password"), "it is OpenAPI's; remove it"),
}


def _faults_of_keywords(schema: Mapping[str, Any], at: Path) -> Iterator[TypeProblem]:
    written = schema.get("format")
    if written is not None and written not in FORMATS:
        otherwise = _FORMATS_OF_OPENAPI.get(written)
        hint, near = (otherwise, None) if otherwise else suggestion(written, sorted(FORMATS), otherwise=_NO_FORMAT)
        yield _fault((*at, "format"), f"no check knows the format {written!r}; {hint}", nearest=near)
    for least, most in _BOUNDS:
        if least in schema and most in schema and schema[least] > schema[most]:
            told = f"nothing fits: {least} {schema[least]:g} is above {most} {schema[most]:g}"
            yield _fault((*at, least), told)
    yield from _faults_of_required(schema, at)


_NO_FORMAT = "remove it, or write a pattern"


def _faults_of_required(schema: Mapping[str, Any], at: Path) -> Iterator[TypeProblem]:
    """Where no other properties may be, those that have to be there are among those that may."""
    if schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return
    properties = schema.get("properties", {})
    for index, name in enumerate(schema.get("required", ())):
        if name not in properties:
            hint, near = suggestion(name, properties)
            told = f"nothing fits: {name!r} is required, but is none of the properties, and others may not be; {hint}"
            yield _fault((*at, "required", index), told, nearest=near)
