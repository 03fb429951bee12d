"""Values of commands as text: in which form PostgreSQL reads each, and what has none. Pure.

A value goes to the server apart from its statement, as text whose type is unknown, so that nothing in it is ever read
as SQL. What the server cannot read as the type of its place, it refuses.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, to_json

Form = Literal["scalar", "json", "array"]
"""How a value is written out: as it is, as JSON, or as an array of PostgreSQL's."""

_DIMENSIONS_MAX = 6
"""More than these, PostgreSQL has not."""
_QUOTED = re.compile(r'["\\]')


class UnboundValue(ValueError):
    """A value that cannot be bound. The message names its parameter, and never repeats the value."""


def text_of(value: Any, form: Form, *, name: str) -> str | None:
    """Return a JSON value as PostgreSQL reads it. Raises UnboundValue, which names the parameter and not the value."""
    try:
        return _WRITERS[form](value)
    except UnicodeEncodeError:
        raise UnboundValue(f"{name}: half a surrogate pair is not text") from None
    except ValueError as error:
        raise UnboundValue(f"{name}: {error}") from None


def _as_scalar(value: Any) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str():
            return _checked(value)
        case int():
            return str(value)
        case float() if isfinite(value):
            return repr(value)
        case list():
            raise ValueError("a list needs the type of its array: %(name)s::bigint[] (or ::jsonb)")
        case dict():
            raise ValueError("an object needs the cast to JSON: %(name)s::jsonb")
    raise ValueError("it has no form in PostgreSQL")


def _as_array(value: Any) -> str | None:
    match value:
        case None:
            return None
        case list():
            return _array(value)
    raise ValueError("an array takes a list")


def _array(items: Sequence[Any], dimension: int = 1) -> str:
    if dimension > _DIMENSIONS_MAX:
        raise ValueError(f"an array has at most {_DIMENSIONS_MAX} dimensions")
    written = (_array(item, dimension + 1) if isinstance(item, list) else _item(item) for item in items)
    return "{" + ",".join(written) + "}"


def _item(value: Any) -> str:
    text = _as_json(value) if isinstance(value, dict) else _as_scalar(value)
    return "NULL" if text is None else '"' + _QUOTED.sub(r"\\\g<0>", text) + '"'


def _as_json(value: Any) -> str | None:
    if value is None:
        return None
    try:
        text = to_json(value, inf_nan_mode="strings").decode()
    except PydanticSerializationError:
        raise ValueError("it is nested too deeply, or holds half a surrogate pair") from None
    if "\\u0000" in text and _holds_nul(value):
        raise ValueError(_NUL)
    return text


_NUL = "PostgreSQL has no text with the character U+0000"


def _checked(text: str) -> str:
    text.encode()
    if "\x00" in text:
        raise ValueError(_NUL)
    return text


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
        case list():
            return any(map(_holds_nul, value))
    return False


_WRITERS: Mapping[Form, Callable[[Any], str | None]] = {"scalar": _as_scalar, "array": _as_array, "json": _as_json}
