"""What an expression may be given, where the engine takes more than in proportion to it. Pure.

cel-cpp copies a list in each round of a macro: to `map` 10,000 items takes 1.5 GB. What `replace` puts in may be as
long as what it is put into, and a sender may send both: a megabyte makes a terabyte. The engine knows no bound for
either, so that what goes in is bounded, and only for expressions that could do so.
"""

import re
from collections.abc import Mapping
from typing import Any

from omnibase_core.value_size import parts_of

PARTS_MAX = 20_000
"""In all that an expression can read: the engine makes a value of its own of each, which takes some 50 ms."""
ITEMS_MAX = 1000
"""In a list, for expressions with macros: 60 ms and 20 MB."""
TEXT_LENGTH_MAX = 2048
"""Of a text, in characters, for expressions that put texts into each other: 70 ms and 20 MB."""

_MACROS = re.compile(r"\b(?:map|filter|all|exists|exists_one|optMap|optFlatMap)\s*\(")
_TEXT_CALLS = re.compile(r"\.\s*(?:replace|join|matches|split|format)\s*\(|\bmatches\s*\(")
_LITERAL = r"""(?:'[^'\\]*'|"[^"\\]*"|\d+)"""
_LITERAL_CALLS = re.compile(rf"\.\s*(?:replace|join|matches|split)\s*\(\s*(?:{_LITERAL}(?:\s*,\s*{_LITERAL})*)?\s*\)")


def check_parts(view: Mapping[str, Any]) -> None:
    """Raise ValueError for more parts than the engine is given."""
    if parts_of(view, most=PARTS_MAX) > PARTS_MAX:
        raise ValueError(f"more than {PARTS_MAX} values are here, too many for an expression; write a function instead")


class Bounds:
    """The bounds of one expression. False where it needs none."""

    __slots__ = ("_items_max", "_length_max")

    def __init__(self, text: str) -> None:
        """Look at the expression as it is written."""
        # What is written in the contract has a length that nobody outside can choose.
        calls = len(_TEXT_CALLS.findall(text)) > len(_LITERAL_CALLS.findall(text))
        self._items_max = ITEMS_MAX if _MACROS.search(text) else None
        self._length_max = TEXT_LENGTH_MAX if calls else None

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return self._items_max is not None or self._length_max is not None

    def fault(self, view: Mapping[str, Any]) -> str | None:
        """Return why the expression is not evaluated on these values; None where it may be."""
        waiting: list[Any] = list(view.values())
        while waiting:
            it = waiting.pop()
            if isinstance(it, str):
                if self._length_max is not None and len(it) > self._length_max:
                    said = f"a text of {len(it)} characters, and an expression that puts texts into each other"
                    return f"{said} takes {self._length_max} at most; write a function instead"
            elif isinstance(it, Mapping):
                waiting += it.values()
            elif isinstance(it, list | tuple):
                if self._items_max is not None and len(it) > self._items_max:
                    said = f"a list of {len(it)} items, and an expression with a macro"
                    return f"{said} takes {self._items_max} at most; write a function instead"
                waiting += it
        return None
