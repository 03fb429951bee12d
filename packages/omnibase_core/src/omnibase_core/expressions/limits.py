"""What an expression may cost, known before it is evaluated. Pure.

The engine bounds depth (32), nodes (100,000) and the rounds of all macros together (10,000 an evaluation), and its
regular expressions are RE2's, which take linear time. What it does not bound is how large a text may grow: each
`replace`, `join`, `format`, `map` or `optMap` can multiply it. So they may follow or hold each other only so often.
"""

import re
from collections.abc import Iterable

from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions.syntax import Call, Comprehension, ListLiteral, Name, Node, parts, walk

LENGTH_MAX = 4096
"""In characters."""
GROWTH_MAX = 4
"""How many of what multiplies may work on each other's results."""

_WORDS = re.compile(r"\b(?:replace|join|format|map|optMap|optFlatMap)\b")
_MULTIPLIES = frozenset({"replace", "join", "format"})


def check_length(text: str) -> None:
    """Raise InvalidExpression for a text that is too long to be read by anybody."""
    if len(text) > LENGTH_MAX:
        told = f"found {len(text)} characters, expected at most {LENGTH_MAX}; write a function instead"
        raise InvalidExpression(told, text=text)


def check_growth(tree: Node, text: str) -> None:
    """Raise InvalidExpression for an expression whose result could be of any size."""
    if _WORDS.search(text) and _growth(tree) > GROWTH_MAX:
        told = f"more than {GROWTH_MAX} of replace, join, format, map and optMap work on each other's results"
        raise InvalidExpression(f"{told}; write a function instead", text=text, width=len(text))


def _growth(node: Node) -> int:
    match node:
        case Comprehension(range=over, start=start, step=step, result=result):
            inside = _most((start, step, result))
            return _growth(over) + inside + (1 if _multiplies(node) else 0)
        case Call(function=function):
            return _most(parts(node)) + (1 if function in _MULTIPLIES else 0)
    return _most(parts(node))


def _multiplies(node: Comprehension) -> bool:
    """Check whether a macro is map or optMap: filter only leaves items out, and the others give a boolean."""
    if isinstance(node.range, ListLiteral) and not node.range.items:
        return True
    appended = [it for it in walk(node.step) if isinstance(it, ListLiteral)]
    is_filter = all(it.items == () or isinstance(it.items[0], Name) for it in appended)
    return isinstance(node.start, ListLiteral) and not is_filter


def _most(nodes: Iterable[Node]) -> int:
    return max(map(_growth, nodes), default=0)
