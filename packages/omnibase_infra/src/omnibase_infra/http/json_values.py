"""JSON of a server, read as values that can be written as JSON again. Pure."""

import re
from math import isinf
from typing import Any

from pydantic import JsonValue
from pydantic_core import from_json

_PERHAPS_LARGE = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{309}")
"""What a number beyond a double has: to look through the bytes costs less than to look at each value."""


def json_value(data: bytes) -> JsonValue:
    """Read JSON. Raises ValueError, also for a number such as 1e999, which would become infinity."""
    value: JsonValue = from_json(data, allow_inf_nan=False)
    if _PERHAPS_LARGE.search(data) and _holds_infinity(value):
        raise ValueError("it holds a number beyond what a double can hold")
    return value


def _holds_infinity(value: Any) -> bool:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case float() as number if isinf(number):
                return True
            case dict() as part:
                waiting += part.values()
            case list() as part:
                waiting += part
    return False
