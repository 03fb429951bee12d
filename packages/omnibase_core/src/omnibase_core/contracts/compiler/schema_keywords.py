"""The words of JSON Schema (draft 2020-12): which there are, and what may stand under each. Pure.

Whatever else stands in a schema is told at its place, all of it at once: words of older drafts, of OpenAPI and of
nobody, and values that a word cannot have. Source: https://json-schema.org/draft/2020-12/schema and its formats, as the
validator of payloads checks them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from omnibase_core.contracts.compiler.types import TypeProblem
from omnibase_core.contracts.json_schema import TYPES, InvalidSchema, Schema
from omnibase_core.contracts.yaml.document import Path, suggestion
from omnibase_core.contracts.yaml.scalars import shown

FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4", "ipv6", "iri"}
    | {"iri-reference", "json-pointer", "regex", "relative-json-pointer", "time", "uri", "uri-reference"}
    | {"uri-template", "uuid"}
)


class _Value(NamedTuple):
    """What may stand under a word: how a message says it, and what tells it."""

    said: str
    fits: Callable[[Any], bool]


def _is_number(it: Any) -> bool:
    return isinstance(it, int | float) and not isinstance(it, bool)


def _is_count(it: Any) -> bool:
    return _is_number(it) and it >= 0 and float(it).is_integer()


def _is_schema(it: Any) -> bool:
    return isinstance(it, Mapping | bool)


def _are_names(it: Any) -> bool:
    return isinstance(it, list) and all(isinstance(name, str) for name in it) and len(set(it)) == len(it)


def _is_type(it: Any) -> bool:
    return it in TYPES if isinstance(it, str) else _are_names(it) and bool(it) and set(it) <= set(TYPES)


def _is_mapping_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda it: isinstance(it, Mapping) and all(map(fits, it.values()))


_NUMBER = _Value("a number", _is_number)
_COUNT = _Value("an integer, 0 or more", _is_count)
_TEXT = _Value("text", lambda it: isinstance(it, str))
_FLAG = _Value("true or false", lambda it: isinstance(it, bool))
_NAMES = _Value("a list of different names", _are_names)
_ANY = _Value("any value", lambda _it: True)
_SCHEMA = _Value("a schema: a mapping, or true or false", _is_schema)
_SCHEMAS = _Value("a list of schemas", lambda it: isinstance(it, list) and bool(it))
_NAMED_SCHEMAS = _Value("a mapping of names to schemas", lambda it: isinstance(it, Mapping))

_WORDS: Mapping[str, _Value] = {
    **dict.fromkeys(("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"), _SCHEMA),
    **dict.fromkeys(("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"), _SCHEMA),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _SCHEMAS),
    **dict.fromkeys(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"), _NAMED_SCHEMAS),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), _NUMBER),
    "multipleOf": _Value("a number above 0", lambda it: _is_number(it) and it > 0),
    **dict.fromkeys(("maxContains", "maxItems", "maxLength", "maxProperties"), _COUNT),
    **dict.fromkeys(("minContains", "minItems", "minLength", "minProperties"), _COUNT),
    **dict.fromkeys(("$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$ref", "$schema"), _TEXT),
    **dict.fromkeys(("contentEncoding", "contentMediaType", "description", "format", "pattern", "title"), _TEXT),
    **dict.fromkeys(("deprecated", "readOnly", "uniqueItems", "writeOnly"), _FLAG),
    "required": _NAMES,
    "dependentRequired": _Value("a mapping of names to lists of names", _is_mapping_of(_are_names)),
    "enum": _Value("a list of values", lambda it: isinstance(it, list)),
    "examples": _Value("a list of values", lambda it: isinstance(it, list)),
    "type": _Value(f"one of: {', '.join(TYPES)}; or a list of them", _is_type),
    "const": _ANY,
    "default": _ANY,
}


def subschemas(schema: Mapping[str, Any], at: Path) -> Iterator[tuple[Any, Path]]:
    """Yield the schemas that stand directly in one, each with its path, whatever is wrong with them."""
    for keyword, value in schema.items():
        here = (*at, keyword)
        kind = _WORDS.get(keyword)
        if kind is _SCHEMA and not isinstance(value, list):
            yield value, here
        elif (kind is _SCHEMA or kind is _SCHEMAS) and isinstance(value, list):
            yield from ((part, (*here, index)) for index, part in enumerate(value))
        elif kind is _NAMED_SCHEMAS and isinstance(value, Mapping):
            yield from ((part, (*here, name)) for name, part in value.items())


def faults_of_words(schema: Any, at: Path) -> Iterator[TypeProblem]:
    """Yield what is wrong with the words of a schema, and of all below it. It may be any value."""
    if not isinstance(schema, Mapping):
        if not isinstance(schema, bool):
            yield _fault(at, f"{_NONE}found {shown(schema)}, expected {_SCHEMA.said}")
        return
    for word, value in schema.items():
        here = (*at, word)
        if (older := _older(word, value, schema)) is not None:
            known = word in _WORDS
            yield TypeProblem(at=here, message=older, code="bad-schema" if known else "unknown-key", key=not known)
        elif word not in _WORDS:
            if not word.startswith("x-"):
                yield _unknown(word, value, schema, here)
        elif not _WORDS[word].fits(value):
            yield _of_value(word, value, here)
        else:
            yield from _of_pattern(word, value, here)
    for part, here in subschemas(schema, at):
        yield from faults_of_words(part, here)


_NONE = "not a JSON Schema: "


def _fault(at: Path, message: str, *, key: bool = False, nearest: str | None = None) -> TypeProblem:
    return TypeProblem(at=at, message=message, code="bad-schema", key=key, nearest=nearest)


def _unknown(word: str, value: Any, schema: Mapping[str, Any], at: Path) -> TypeProblem:
    """Report a word that there is not. What was meant is a word that is not there yet, and can have this value."""
    told = f"unknown keyword {word!r}; "
    if (foreign := _FOREIGN.get(word)) is not None:
        example = f"examples: [{shown(value)}]" if not isinstance(value, Mapping | list) else "examples: [...]"
        return TypeProblem(at=at, message=told + foreign.format(example), code="unknown-key", key=True)
    possible = [it for it, kind in _WORDS.items() if it not in schema and kind.fits(value)]
    hint, near = suggestion(word, possible, otherwise="JSON Schema has none of that name; remove it")
    return TypeProblem(at=at, message=told + hint, code="unknown-key", key=True, nearest=near)


_FOREIGN = {
    "nullable": "write type: [string, 'null'] to allow null",
    "example": "it is OpenAPI's; write {0}",
    "components": "it is OpenAPI's and AsyncAPI's; write the schemas under $defs, and #/$defs/... to refer to one",
    **dict.fromkeys(("discriminator", "externalDocs", "xml"), "it is OpenAPI's; remove it"),
}


def _of_value(word: str, value: Any, at: Path) -> TypeProblem:
    if word == "type":
        written = value if isinstance(value, list) and value else [value]
        index, wrong = next(((n, it) for n, it in enumerate(written) if it not in TYPES), (0, value))
        here = (*at, index) if isinstance(value, list) and value else at
        if isinstance(wrong, str) and wrong in FORMATS:
            return _fault(here, f"{_NONE}{wrong} is not a type but a format; write {{type: string, format: {wrong}}}")
        if isinstance(wrong, str) and wrong not in TYPES:
            hint, near = suggestion(wrong, TYPES, otherwise="")
            told = (
                f"{_NONE}found the type {shown(wrong)}, expected one of: {', '.join(TYPES)}{'; ' if hint else ''}{hint}"
            )
            return _fault(here, told, nearest=near)
    if word == "required" and isinstance(value, list):
        return _fault(at, f"{_NONE}found a list with something twice, or no name, expected {_NAMES.said}")
    return _fault(at, f"{_NONE}found {shown(value)}, expected {_WORDS[word].said}")


def _of_pattern(word: str, value: Any, at: Path) -> Iterator[TypeProblem]:
    for pattern in [value] if word == "pattern" else value if word == "patternProperties" else ():
        try:
            Schema({"pattern": pattern})
        except InvalidSchema:
            told = f"{_NONE}{shown(pattern)} is not a regular expression that the check of payloads knows"
            yield _fault(at if word == "pattern" else (*at, pattern), told, key=word != "pattern")


# --- Older drafts ---------------------------------------------------------------------------------------------------


def _older(word: str, value: Any, schema: Mapping[str, Any]) -> str | None:
    """Describe what draft 2020-12 writes for a word of an older one; None where it has the word in this sense."""
    if word == "$schema" and isinstance(value, str) and not _DRAFTS.fullmatch(value):
        return f"found {shown(value)}, but schemas here are of draft 2020-12; remove $schema"
    if word == "$ref" and isinstance(value, str) and value.startswith("#/components/"):
        name = value.rpartition("/")[2]
        return f"{shown(value)} is OpenAPI's and AsyncAPI's; put that schema under $defs and write '#/$defs/{name}'"
    if word == "items" and isinstance(value, list):
        rest = schema.get("additionalItems")
        after = f", and items: {shown(rest)}" if isinstance(rest, bool) else ""
        return f"found a list, which draft 2020-12 writes under prefixItems; write prefixItems: [...]{after}"
    if word in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
        bound = word.removeprefix("exclusive").lower()
        number = schema.get(bound)
        if not value:
            return f"found false, but in draft 2020-12 it is a number; remove it, since {bound} takes the bound in"
        meant = f"write {word}: {number} in place of {bound}: {number}" if _is_number(number) else "write the number"
        return f"found true, but in draft 2020-12 it is the bound itself; {meant}"
    if word == "required" and isinstance(value, bool):
        return f"found {shown(value)}, expected a list of names, beside properties: required: [name]"
    if word == "dependencies":
        all_names = isinstance(value, Mapping) and all(isinstance(it, list) for it in value.values())
        instead = "dependentRequired" if all_names else "dependentSchemas, and dependentRequired for lists of names"
        return f"draft 2020-12 has no 'dependencies'; write {instead}"
    if word == "id" and not isinstance(value, str):
        return None
    return f"draft 2020-12 has no {word!r}; write {_OLDER[word]}" if word in _OLDER else None


_DRAFTS = re.compile(r"https?://json-schema\.org/(?:draft-0[3-7]|draft/20\d\d-\d\d)/schema#?")
"""Many schemas say that they are of an older draft, and hold no word that has changed since."""
_OLDER = {
    "id": "$id",
    "additionalItems": "items in its place, beside prefixItems",
    "divisibleBy": "multipleOf",
    "disallow": "not: {type: ...}",
    "extends": "allOf: [...]",
    "$recursiveRef": "$dynamicRef",
    "$recursiveAnchor": "$dynamicAnchor",
}
"""What other words of older drafts have become."""
