"""JSON Schema (draft 2020-12) of payloads: compiled once, never fetched. It imports the validator."""

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

import jsonschema_rs

from omnibase_core.contracts.schema_errors import Explainer, SchemaProblem
from omnibase_core.errors import OnexError

DRAFT = "https://json-schema.org/draft/2020-12/schema"
"""What every schema is written in, whatever it says of itself."""

_FAULTS_MAX = 5
_MESSAGE_LENGTH_MAX = 300


class InvalidSchema(OnexError):
    """A schema that is none. `path` leads to the fault within the schema."""

    code = "invalid_schema"

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        """Take what is wrong and where."""
        self.path = path
        super().__init__(message)


_ANY_OBJECT: tuple[dict[str, Any], ...] = ({}, {"type": "object"})
"""What takes every object, as it stands."""


class Schema:
    """A compiled schema. Constructing it raises InvalidSchema."""

    __slots__ = ("_explainer", "_schema", "_takes_objects", "_validator")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Compile; references may only point into the schema itself."""
        self._schema = schema
        self._takes_objects = dict(schema) in _ANY_OBJECT
        self._explainer: Explainer | None = None
        try:
            written = {**schema, "$schema": DRAFT}
            jsonschema_rs.meta.validate(written)
            self._validator = jsonschema_rs.Draft202012Validator(written, offline=True, validate_formats=True)
        except jsonschema_rs.ValidationError as error:
            raise InvalidSchema(_fault(error), tuple(error.instance_path)) from error
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise InvalidSchema(shortened(str(error)), ()) from error

    def faults(self, value: Any) -> tuple[str, ...]:
        """Return what is wrong with a value, each fault with its JSON path; nothing for a valid one."""
        return tuple(map(told, self.found(value)))

    def found(self, value: Any) -> tuple[SchemaProblem, ...]:
        """Return the first faults of a value."""
        # The validator makes a value of its own of everything first, and that of a whole payload.
        if (self._takes_objects and type(value) is dict) or self._validator.is_valid(value):
            return ()
        self._explainer = self._explainer or Explainer(self._schema)
        return tuple(islice(self._explainer.places(value), _FAULTS_MAX))


class Addresses:
    """Where the references that stand in a part of a schema lead."""

    __slots__ = ("_resolver",)

    def __init__(self, resolver: Any) -> None:
        """Resolve against the address of that part."""
        self._resolver = resolver

    @classmethod
    def of(cls, unreferring: dict[str, Any]) -> "Addresses":
        """Return those of a whole schema, without its references. Raises InvalidSchema for an address that is none."""
        identity = unreferring.get("$id", "schema")
        address = identity if ":" in identity else f"{_NOWHERE}{identity}"
        try:
            registry = jsonschema_rs.Registry([(address, unreferring)], draft=jsonschema_rs.Draft202012)
            return cls(registry.resolver(address))
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise InvalidSchema(shortened(str(error)), ()) from error

    def within(self, identity: str) -> "Addresses":
        """Return those of a part that has an `$id`."""
        try:
            return Addresses(self._resolver.lookup(identity).resolver)
        except (jsonschema_rs.ReferencingError, ValueError):
            return self

    def leads_nowhere(self, reference: str) -> bool:
        """Check whether nothing is there."""
        try:
            self._resolver.lookup(reference)
        except (jsonschema_rs.ReferencingError, ValueError):
            return True
        return False


_NOWHERE = "json-schema:///"
"""What the address of a schema begins with that has none."""


def told(fault: SchemaProblem) -> str:
    """Return a fault in words, which may quote the value."""
    return f"{_json_path(fault.path)}: {shortened(fault.message)}"


def ruled(fault: SchemaProblem) -> str:
    """Return a fault by its place and the rule that it breaks, without any value."""
    return f"{_json_path(fault.path)}: {shortened(fault.rule)}"


TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def _fault(error: jsonschema_rs.ValidationError) -> str:
    """Describe what is wrong; of a type, the metaschema only knows that it is neither a name nor a list of names."""
    if error.instance_path[-1:] == ["type"] and isinstance(error.instance, str):
        near = get_close_matches(error.instance, TYPES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"found the type {shortened(error.instance)!r}, expected one of: {', '.join(TYPES)}{hint}"
    return shortened(error.message)


def _json_path(steps: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def shortened(message: str) -> str:
    """Cut a message that quotes much."""
    return message if len(message) <= _MESSAGE_LENGTH_MAX else message[: _MESSAGE_LENGTH_MAX - 3] + "..."
