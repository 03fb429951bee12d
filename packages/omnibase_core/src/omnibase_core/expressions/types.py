"""Types: what is known of a value before there is one. Made from JSON Schema, and from the models of handlers. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

KINDS: Mapping[str, str] = {
    "null": "null",
    "bool": "boolean",
    "int": "integer",
    "uint": "unsigned integer",
    "double": "number",
    "string": "string",
    "bytes": "bytes",
    "timestamp": "timestamp",
    "duration": "duration",
    "list": "array",
    "map": "object",
    "optional": "optional",
    "type": "type",
}
"""Every kind of value that the engine tells apart, with the word that a contract's author knows it by."""

NUMBERS = frozenset({"int", "uint", "double"})
_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class FieldType:
    """One declared key of an object. `default` is what the schema says of it, which nothing fills in."""

    type: "Type"
    required: bool
    default: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Type:
    """The kinds that a value can have, and what is known of its parts.

    - `dynamic`: nothing is known; every check is left to the evaluation.
    - `item`: what an array's items or an optional's value are; None where that is unknown.
    - `fields`: the declared keys of an object; `extra`: what any other key holds, None where no other key can be.
    """

    kinds: frozenset[str]
    dynamic: bool = False
    item: "Type | None" = None
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    extra: "Type | None" = None

    def __str__(self) -> str:
        """Describe it in words: `string or null`."""
        return "anything" if self.dynamic else " or ".join(word for kind, word in KINDS.items() if kind in self.kinds)

    def may_be(self, kinds: Iterable[str]) -> bool:
        """Check whether a value can have one of these kinds."""
        return self.dynamic or not self.kinds.isdisjoint(kinds)

    def inner(self) -> "Type":
        """Return what the items of an array, or the value of an optional, are."""
        return DYNAMIC if self.item is None else self.item


DYNAMIC = Type(frozenset(), dynamic=True)
NEVER = Type(frozenset())
"""The type that no value has: that of the items of an empty list."""
NOTHING = Type(frozenset({"map"}))
"""The type of an object without any key."""


def scalar(*kinds: str) -> Type:
    """Return the type of values without parts."""
    return Type(frozenset(kinds))


def list_of(item: Type) -> Type:
    """Return the type of a list."""
    return Type(frozenset({"list"}), item=item)


def optional_of(value: Type) -> Type:
    """Return the type of what may hold a value."""
    return Type(frozenset({"optional"}), item=value)


def object_of(fields: Mapping[str, FieldType], *, extra: Type | None = None) -> Type:
    """Return the type of an object; without `extra` it has no other keys."""
    return Type(frozenset({"map"}), fields=fields, extra=extra)


def union(types: Iterable[Type]) -> Type:
    """Return the type of a value that has one of these types."""
    members = [it for it in types if it.kinds or it.dynamic]
    if not members:
        return NEVER
    if len(members) == 1 or all(it == members[0] for it in members[1:]):
        return members[0]
    if any(it.dynamic for it in members):
        return DYNAMIC
    holders = [it for it in members if it.may_be(("list", "optional"))]
    objects = [it for it in members if it.may_be(("map",))]
    extras = [it.extra for it in objects if it.extra is not None]
    return Type(
        frozenset().union(*(it.kinds for it in members)),
        item=union(it.inner() for it in holders) if holders else None,
        fields=dict(_joined_fields(objects)),
        extra=union(extras) if extras else None,
    )


def _joined_fields(objects: list[Type]) -> Iterator[tuple[str, FieldType]]:
    for name in dict.fromkeys(name for it in objects for name in it.fields):
        declared = [it.fields[name] for it in objects if name in it.fields]
        extras = [it.extra for it in objects if name not in it.fields and it.extra is not None]
        required = len(declared) == len(objects) and all(it.required for it in declared)
        yield name, FieldType(union([*(it.type for it in declared), *extras]), required)


# --- From JSON Schema -----------------------------------------------------------------------------------------------

_KINDS_OF = {
    "string": "string",
    "integer": "int",
    "number": "double",
    "boolean": "bool",
    "null": "null",
    "array": "list",
    "object": "map",
}
_NARROWING = ("allOf", "if", "dependentSchemas", "dependentRequired", "$dynamicRef")
"""Keywords that are not read here. They only narrow what the others allow, but may require a key."""


def type_of_schema(schema: Any) -> Type:
    """Return what a schema (draft 2020-12) says of its values. What is not understood stays dynamic. Never raises."""
    return _Reader(schema).read(schema, 0)


def type_of_object(schema: Mapping[str, Any]) -> Type:
    """Return what a schema says of values that are known to be objects, such as payloads."""
    named = any(keyword in schema for keyword in ("type", "$ref", "anyOf", "oneOf", "enum", "const"))
    return _Reader(schema).read(schema if named else {"type": "object", **schema}, 0)


@cache
def type_of_model(model: type[BaseModel], *, taken: bool) -> Type:
    """Return what a model takes (`taken`), or what it is once it is dumped, by the keys that are written."""
    try:
        schema = model.model_json_schema(mode="validation" if taken else "serialization")
    except PydanticUserError:  # such a model has fields without a form in JSON
        return DYNAMIC
    return _Reader(schema, complete=not taken).read(schema, 0)


def type_of_annotation(annotation: Any, *, taken: bool) -> Type:
    """Return what an annotation of a function says of its values; none says nothing."""
    if annotation is None:
        return DYNAMIC
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return type_of_model(annotation, taken=taken)
    try:
        hash(annotation)
    except TypeError:
        return _type_of_hint.__wrapped__(annotation, taken=taken)
    return _type_of_hint(annotation, taken=taken)  # many functions are annotated alike


@cache
def _type_of_hint(annotation: Any, *, taken: bool) -> Type:
    try:
        schema = TypeAdapter(annotation).json_schema(mode="validation" if taken else "serialization")
    except PydanticUserError:  # pydantic knows no JSON for such a type
        return DYNAMIC
    return type_of_schema(schema)


@dataclass(frozen=True, slots=True)
class _Reader:
    root: Any
    complete: bool = False
    """Whether the declared keys are there, and no others: what dumps a model writes its defaults too."""
    referred: dict[str, Type] = field(default_factory=dict)

    def read(self, schema: Any, depth: int) -> Type:
        """Read a part of the root. What refers to itself, or is nested deeper than anybody reads, is dynamic."""
        if not isinstance(schema, Mapping) or depth > _DEPTH_MAX:
            return DYNAMIC
        if "$ref" in schema:
            return self._at(schema["$ref"], depth)
        for several in ("anyOf", "oneOf"):
            if several in schema and "type" not in schema:
                return self._any_of(schema, schema[several], depth)
        kinds = _kinds_of(schema)
        if kinds is None:
            return DYNAMIC
        is_object = "map" in kinds
        return Type(
            kinds,
            item=self._item(schema, depth) if "list" in kinds else None,
            fields=self._fields(schema, depth) if is_object else {},
            extra=self._extra(schema, depth) if is_object else None,
        )

    def _any_of(self, schema: Mapping[str, Any], members: Any, depth: int) -> Type:
        if "properties" in schema or "const" in schema or "enum" in schema or not isinstance(members, list):
            return DYNAMIC
        return union(self.read(member, depth + 1) for member in members)

    def _at(self, reference: Any, depth: int) -> Type:
        """Read what a reference leads to, once; while it is read, it is dynamic."""
        if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
            return DYNAMIC
        if reference not in self.referred:
            self.referred[reference] = DYNAMIC
            self.referred[reference] = self.read(self._part(reference), depth + 1)
        return self.referred[reference]

    def _part(self, reference: str) -> Any:
        """Follow a JSON pointer within the root; None where it leads nowhere."""
        part = self.root
        for step in reference[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, Mapping) or key not in part:
                return None
            part = part[key]
        return part

    def _item(self, schema: Mapping[str, Any], depth: int) -> Type:
        items = schema.get("items")
        return self.read(items, depth + 1) if "prefixItems" not in schema else DYNAMIC

    def _fields(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, FieldType]:
        declared, required = schema.get("properties", {}), schema.get("required", ())
        # What may be required elsewhere counts as present: better to say nothing than to be wrong.
        certain = not self.complete and not any(keyword in schema for keyword in (*_NARROWING, "anyOf", "oneOf"))
        return {
            name: FieldType(self.read(part, depth + 1), name in required or not certain, _default_of(part))
            for name, part in declared.items()
        }

    def _extra(self, schema: Mapping[str, Any], depth: int) -> Type | None:
        if "patternProperties" in schema:
            return DYNAMIC
        if self.complete and "properties" in schema and "additionalProperties" not in schema:
            return None
        additional = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
        if additional is False:
            # What `unevaluatedProperties` refuses depends on all that was looked at, which is more than is read here.
            return None if "additionalProperties" in schema else DYNAMIC
        return self.read(additional, depth + 1)


def _default_of(schema: Any) -> Any:
    return schema.get("default") if isinstance(schema, Mapping) else None


def _kinds_of(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the kinds that a schema's own keywords allow; None for any."""
    if "type" in schema:
        written = schema["type"]
        names = written if isinstance(written, list) else [written]
        if not all(isinstance(name, str) and name in _KINDS_OF for name in names):
            return None
        # Every integer is a number: where both are allowed, a value is brought to a number.
        return frozenset(_KINDS_OF[name] for name in names if name != "integer" or "number" not in names)
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return frozenset(map(kind_of, values)) if isinstance(values, list) else None
    if "properties" in schema and "additionalProperties" in schema:
        # Without a type, other values than objects pass too; who closes an object means one.
        return frozenset({"map"})
    return None


def kind_of(value: Any) -> str:
    """Return the kind of a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case list() | tuple():
            return "list"
    return "map"
