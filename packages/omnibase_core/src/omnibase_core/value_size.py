"""How many parts a value has: what work on a value is bounded by. Pure."""

from collections.abc import Mapping
from typing import Any


def parts_of(value: Any, *, most: int) -> int:
    """Count a value and all that is in it, no further than to one more than `most`."""
    count, waiting = 0, [value]
    while waiting and count <= most:
        it = waiting.pop()
        count += 1
        if isinstance(it, Mapping):
            waiting.extend(it.values())
        elif isinstance(it, list | tuple):
            waiting.extend(it)
    return count
