"""Where a value does not fit its schema: the first few places, found in a bounded number of steps.

A validator that collects every error builds those of all branches of a `oneOf`, and of their branches in turn: 600
bytes against a recursive schema took 16 seconds and 4 GB to show five. Here the schema is gone down beside the value,
and the validator is only asked whether a part fits, which it answers in a time that is linear in the part.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema_rs

from omnibase_core.value_size import parts_of

_STEPS_MAX = 10_000
"""Parts of the value that are looked at: some 30 ms of work."""
_NAMES_A_STEP = 20
_BRANCHES_MAX = 4
"""Branches of a `oneOf` of which it is said what they miss."""
_ROOT = "urn:onex:schema"
_SHALLOW = frozenset(
    {"type", "required", "minProperties", "maxProperties", "minItems", "maxItems", "dependentRequired"}
)
"""What can be said of an object or a list without looking into its members."""
_OF_ITS_WHOLE = ("unevaluatedProperties", "unevaluatedItems")
"""What depends on all its neighbours."""
_SILENT = frozenset(
    {"then", "else", "minContains", "maxContains", "$id", "$schema", "$vocabulary", "$anchor", "$dynamicAnchor"}
    | {"$defs", "definitions", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly"}
    | {"writeOnly", "contentEncoding", "contentMediaType", "contentSchema"}
)
"""What refuses nothing, or is looked at with another keyword."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
Steps = tuple[str | int, ...]
Validator = jsonschema_rs.Draft202012Validator


class SchemaProblem(NamedTuple):
    """What is wrong at a place of a value. `message` may quote the value; `rule` quotes nothing but the schema."""

    path: Steps
    message: str
    rule: str


class _Part(NamedTuple):
    """A part of the schema, with the pointer that leads to it, and the part of the value that is held to it."""

    schema: Any
    pointer: str
    value: Any
    path: Steps


class _Exhausted(Exception):
    """All steps are taken."""


class Explainer:
    """Finds faults by one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Take a schema that the validator takes."""
        self._schema = dict(schema)
        self._root = _base_of(schema)
        self._bundled = any(_ids_in(value) for value in schema.values())
        self._registry = jsonschema_rs.Registry([(self._root, self._schema)])
        self._validators: dict[tuple[str, str], Validator] = {}

    def places(self, value: Any) -> Iterator[SchemaProblem]:
        """Yield what is wrong with a value that does not fit, each fault with the steps that lead to it."""
        return _Search(self).places(_Part(self._schema, "", value, ()))

    def resolved(self, reference: str) -> tuple[Any, str] | None:
        """Return what a reference within the schema leads to, and its pointer; None for one of another form.

        In a bundle, `#` may be the start of one of the schemas within it: only the validator knows of which.
        """
        if (reference != "#" and not reference.startswith("#/")) or "%" in reference or self._bundled:
            return None
        found: Any = self._schema
        for step in reference[2:].split("/") if reference != "#" else ():
            name = step.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found, reference[1:]

    def reference_to(self, pointer: str) -> Mapping[str, str]:
        """Return the schema that refers to a part of this one."""
        return {"$ref": f"{self._root}#{pointer}"}

    def validator(self, pointer: str, keyword: str, schema: Callable[[], Mapping[str, Any]]) -> Validator:
        """Return the validator of a keyword at a place, which is compiled when it is first asked for."""
        known = self._validators.get((pointer, keyword))
        if known is None:
            known = self._validators[pointer, keyword] = Validator(
                dict(schema()), registry=self._registry, offline=True, validate_formats=True
            )
        return known


class _Search:
    """One look at one value."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer
        self._left = _STEPS_MAX
        self._in_branch = False

    def places(self, part: _Part) -> Iterator[SchemaProblem]:
        found = False
        try:
            for place in self._faults(part):
                found = True
                yield place
        except (_Exhausted, RecursionError):
            if not found:
                yield _said(part, "does not fit its schema; it is too large to say where")
            return
        if not found:
            yield _said(part, "does not fit its schema")

    def _faults(self, part: _Part) -> Iterator[SchemaProblem]:
        self._spend(1)
        schema = part.schema
        if not isinstance(schema, Mapping):
            if schema is False:
                yield _said(part, "nothing is allowed here")
            return
        found = False
        for keyword in schema:
            for place in self._of_keyword(part, keyword):
                found = True
                yield place
        if not found and any(keyword in schema for keyword in _OF_ITS_WHOLE) and not self._fits(part):
            yield _said(part, "it has members that are not in its schema")

    def _of_keyword(self, part: _Part, keyword: str) -> Iterator[SchemaProblem]:
        written, value = part.schema[keyword], part.value
        match keyword:
            case "$ref" | "$dynamicRef":
                yield from self._of_reference(part, keyword)
            case "allOf":
                for number in range(len(written)):
                    yield from self._faults(self._sub(part, keyword, number))
            case "anyOf" | "oneOf":
                yield from self._of_alternatives(part, keyword)
            case "not":
                if self._fits(self._sub(part, keyword)):
                    yield _said(part, "it fits the schema under 'not', which it must not")
            case "if":
                branch = "then" if self._fits(self._sub(part, keyword)) else "else"
                if branch in part.schema:
                    yield from self._faults(self._sub(part, branch))
            case "properties" | "patternProperties" | "propertyNames" | "dependentSchemas":
                if isinstance(value, dict):
                    yield from self._of_object(part, keyword, value)
            case "additionalProperties" if isinstance(written, Mapping):
                if isinstance(value, dict):
                    yield from self._of_others(part, value)
            case "prefixItems" | "items" if isinstance(written, Mapping | list):
                if isinstance(value, list):
                    yield from self._of_list(part, keyword, value)
            case _ if keyword not in _SILENT and keyword not in _OF_ITS_WHOLE:
                yield from self._by_itself(part, keyword)

    def _of_reference(self, part: _Part, keyword: str) -> Iterator[SchemaProblem]:
        target = self._explainer.resolved(part.schema[keyword]) if keyword == "$ref" else None
        if target is not None:
            yield from self._faults(_Part(*target, part.value, part.path))
        elif not self._fits(part):
            yield _said(part, f"it does not fit the schema that {keyword!r} names")

    def _of_object(self, part: _Part, keyword: str, value: Mapping[str, Any]) -> Iterator[SchemaProblem]:
        written = part.schema[keyword]
        match keyword:
            case "properties":
                for name in written:
                    if name in value:
                        yield from self._faults(self._member(part, keyword, name, name))
            case "patternProperties":
                for pattern in written:
                    for name in filter(self._matching(part, pattern), value):
                        yield from self._faults(self._member(part, keyword, pattern, name))
            case "propertyNames":
                for name in value:
                    yield from self._faults(self._sub(part, keyword)._replace(value=name))
            case "dependentSchemas":
                for name in written:
                    if name in value:
                        yield from self._faults(self._member(part, keyword, name, None))

    def _of_others(self, part: _Part, value: Mapping[str, Any]) -> Iterator[SchemaProblem]:
        """Look at what neither a name nor a pattern tells of."""
        named = part.schema.get("properties", {})
        patterns = [self._matching(part, it) for it in part.schema.get("patternProperties", ())]
        for name, it in value.items():
            if name not in named and not any(matches(name) for matches in patterns):
                other = self._sub(part, "additionalProperties")
                yield from self._faults(other._replace(value=it, path=(*part.path, name)))

    def _of_list(self, part: _Part, keyword: str, value: list[Any]) -> Iterator[SchemaProblem]:
        if keyword == "prefixItems":
            for number in range(min(len(part.schema[keyword]), len(value))):
                yield from self._faults(self._member(part, keyword, number, number))
            return
        for number in range(len(part.schema.get("prefixItems", ())), len(value)):
            item = self._sub(part, keyword)._replace(value=value[number], path=(*part.path, number))
            # To ask whether it fits is quicker than to look for a fault, and most do.
            if not self._fits(item):
                yield from self._faults(item)

    def _of_alternatives(self, part: _Part, keyword: str) -> Iterator[SchemaProblem]:
        fitting = sum(self._fits(self._sub(part, keyword, number)) for number in range(len(part.schema[keyword])))
        if not fitting:
            yield self._none_of(part, keyword)
        elif fitting > 1 and keyword == "oneOf":
            yield _said(part, "it fits more than one of the schemas under 'oneOf'")

    def _none_of(self, part: _Part, keyword: str) -> SchemaProblem:
        """Describe what the first branches miss, each by its first problem, and nothing of branches within these."""
        fault = _said(part, f"it fits none of the schemas under {keyword!r}")
        if self._in_branch:
            return fault
        self._in_branch = True
        try:
            branches = range(min(len(part.schema[keyword]), _BRANCHES_MAX))
            missed = [next(self._faults(self._sub(part, keyword, number)), None) for number in branches]
        except _Exhausted:
            return fault
        finally:
            self._in_branch = False
        reasons = [it._replace(path=it.path[len(part.path) :]) for it in missed if it is not None]
        return SchemaProblem(
            fault.path,
            f"{fault.message}: {'; '.join(dict.fromkeys(_placed(it.path, it.message) for it in reasons))}",
            f"{fault.rule}: {'; '.join(dict.fromkeys(_placed(it.path, it.rule) for it in reasons))}",
        )

    def _by_itself(self, part: _Part, keyword: str) -> Iterator[SchemaProblem]:
        """Ask the validator about one keyword alone."""
        validator = self._explainer.validator(part.pointer, keyword, lambda: self._alone(part, keyword))
        value = part.value
        if keyword in _SHALLOW and isinstance(value, dict | list):
            self._spend(len(value) // _NAMES_A_STEP)
            outline = dict.fromkeys(value) if isinstance(value, dict) else [None] * len(value)
            if validator.is_valid(outline):
                return
        self._spend(parts_of(value, most=self._left))
        for error in validator.iter_errors(value):
            yield SchemaProblem((*part.path, *error.instance_path), error.message, keyword)

    def _alone(self, part: _Part, keyword: str) -> Mapping[str, Any]:
        """Return the schema of one keyword and of what it cannot do without."""
        schema = part.schema
        match keyword:
            case "contains":
                bounds = {name: schema[name] for name in ("minContains", "maxContains") if name in schema}
                pointer = f"{part.pointer}/{_escaped(keyword)}"
                return {"contains": self._explainer.reference_to(pointer), **bounds}
            case "additionalProperties":
                keywords = ("properties", "patternProperties")
                known = {name: dict.fromkeys(schema.get(name, {}), True) for name in keywords}
                return {**known, keyword: schema[keyword]}
            case "items" if "prefixItems" in schema:
                return {"prefixItems": [True] * len(schema["prefixItems"]), "items": schema[keyword]}
        return {keyword: schema[keyword]}

    def _fits(self, part: _Part) -> bool:
        if isinstance(part.schema, bool):
            return part.schema
        self._spend(parts_of(part.value, most=self._left))
        validator = self._explainer.validator(part.pointer, "", lambda: self._explainer.reference_to(part.pointer))
        return validator.is_valid(part.value)

    def _sub(self, part: _Part, keyword: str, number: int | None = None) -> _Part:
        """Return the same value with another part of the schema."""
        schema, pointer = part.schema[keyword], f"{part.pointer}/{keyword}"
        return part._replace(
            schema=schema if number is None else schema[number],
            pointer=pointer if number is None else f"{pointer}/{number}",
        )

    def _member(self, part: _Part, keyword: str, name: str | int, step: str | int | None) -> _Part:
        """Return a member of the value with a part of the schema; with no step, the value itself."""
        schema, pointer = part.schema[keyword][name], f"{part.pointer}/{keyword}/{_escaped(str(name))}"
        if step is None:
            return part._replace(schema=schema, pointer=pointer)
        return _Part(schema, pointer, part.value[step], (*part.path, step))

    def _matching(self, part: _Part, pattern: str) -> Callable[[str], bool]:
        """Return what tells whether a name matches a pattern, as the validator sees it."""
        validator = self._explainer.validator(part.pointer, f"pattern {pattern}", lambda: {"pattern": pattern})

        def matches(name: str) -> bool:
            self._spend(1)
            return validator.is_valid(name)

        return matches

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _Exhausted


def _placed(path: Steps, message: str) -> str:
    """Return a message with where it holds, below the value that it is a reason for."""
    return f"{'.'.join(map(str, path))}: {message}" if path else message


def _base_of(schema: Mapping[str, Any]) -> str:
    """Return what the references of a schema are relative to: its own id where that is absolute."""
    written = schema.get("$id", "")
    return str(written).rstrip("#") if ":" in str(written) else _ROOT


def _ids_in(value: Any) -> bool:
    """Check whether a schema with an id of its own may be within."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case Mapping() as part:
                if isinstance(part.get("$id"), str):
                    return True
                waiting.extend(part.values())
            case list() as part:
                waiting.extend(part)
    return False


def _said(part: _Part, message: str) -> SchemaProblem:
    return SchemaProblem(part.path, message, message)


def _escaped(name: str) -> str:
    """Return a name as a step of a JSON Pointer in the fragment of a URI (RFC 6901, section 6)."""
    step = name.replace("~", "~0").replace("/", "~1").encode(errors="replace")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in step)
