"""JSON Schema (draft 2020-12) of payloads: compiled once, never fetched. The only importer of the validator."""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from omnibase_core.errors import OnexError

_FAULTS_MAX = 5
_MESSAGE_LENGTH_MAX = 300


class InvalidSchema(OnexError):
    """A schema that is none. `path` leads to the fault within the schema."""

    code = "invalid_schema"

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        """Say what is wrong and where."""
        self.path = path
        super().__init__(message)


class Schema:
    """A compiled schema. Constructing it raises InvalidSchema."""

    __slots__ = ("_validator",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Compile; references may only point into the schema itself."""
        try:
            jsonschema_rs.meta.validate(dict(schema))
            self._validator = jsonschema_rs.Draft202012Validator(dict(schema), offline=True, validate_formats=True)
        except jsonschema_rs.ValidationError as error:
            raise InvalidSchema(_shortened(error.message), tuple(error.instance_path)) from error
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise InvalidSchema(_shortened(str(error)), ()) from error

    def faults(self, value: Any) -> tuple[str, ...]:
        """Say what is wrong with a value, each fault with its JSON path; nothing for a valid one."""
        if self._validator.is_valid(value):
            return ()
        found = []
        for error in self._validator.iter_errors(value):
            found.append(f"{_json_path(error.instance_path)}: {_shortened(error.message)}")
            if len(found) == _FAULTS_MAX:
                break
        return tuple(found)


def _json_path(steps: list[str | int]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _shortened(message: str) -> str:
    return message if len(message) <= _MESSAGE_LENGTH_MAX else message[: _MESSAGE_LENGTH_MAX - 3] + "..."
