"""What a handler's model refuses of a request that a contract made of a command, said value by value. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from omnibase_core.contracts.fitting import existing
from omnibase_core.expressions import kind_of

_TYPES: Mapping[str, str] = {
    "bool_type": "boolean",
    "dict_type": "object",
    "float_type": "number",
    "int_from_float": "integer",
    "int_type": "integer",
    "list_type": "list",
    "mapping_type": "object",
    "model_attributes_type": "object",
    "model_type": "object",
    "none_required": "null",
    "string_type": "string",
}
"""Pydantic's errors that are about a type, with the type that they want."""
_WORDS: Mapping[str, str] = {"missing": "it is missing", "extra_forbidden": "there is no such key"}
_KINDS: Mapping[str, str] = {"bool": "boolean", "double": "number", "int": "integer", "map": "object"}


def faults_of_request(request: Any, error: ValidationError) -> list[str]:
    """Say what is wrong with each value, by its place in the request; what the members of a union want is said as one.

    No value is repeated: it may be a secret, and it is the sender's.
    """
    found: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for fault in error.errors(include_url=False, include_input=False):
        *above, last = fault["loc"] or ("",)
        if fault["type"] in ("missing", "extra_forbidden"):
            path = (*existing(request, tuple(above)), last)
        else:
            path = existing(request, fault["loc"])
        found.setdefault(path, []).append(dict(fault))
    return [
        f"{'.'.join(map(str, path))}: {told}" if path else told
        for path, faults in found.items()
        # Where a list is wanted among others, and there is one, its items tell what is wrong.
        if not _is_about_types(faults) or not any(path == other[: len(path)] and path != other for other in found)
        for told in [_told(faults, _at(request, path))]
    ]


def _is_about_types(faults: Sequence[Mapping[str, Any]]) -> bool:
    return all(fault["type"] in _TYPES for fault in faults)


def _told(faults: Sequence[Mapping[str, Any]], value: Any) -> str:
    """Say what is wrong with one value: that it is of another type, or else the first rule that it breaks."""
    if _is_about_types(faults):
        *others, last = dict.fromkeys(_TYPES[fault["type"]] for fault in faults)
        kind = kind_of(value)
        return f"found {_KINDS.get(kind, kind)}, expected {', '.join(others)}{' or ' if others else ''}{last}"
    first = next(fault for fault in faults if fault["type"] not in _TYPES)
    message = str(first["msg"]).removeprefix("Value error, ").replace("Input should be ", "expected ")
    return _WORDS.get(first["type"], message)


def _at(request: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        is_there = step in request if isinstance(request, Mapping) else isinstance(request, list)
        if not is_there:
            return None
        request = request[step]
    return request
