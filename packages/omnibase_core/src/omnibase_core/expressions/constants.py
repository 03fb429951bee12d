"""Calls whose arguments are written out, such as `duration('7d')`: those that fail do so for every command.

The engine itself is asked, so that what is refused here is what it would not evaluate.
"""

import re
from collections.abc import Callable, Mapping

from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions import code
from omnibase_core.expressions.engine import failure_of
from omnibase_core.expressions.syntax import Call, Literal, Node, Tree, walk

_WORDS = re.compile(r"\b(?:duration|timestamp|u?int|double|bool|matches|base64)\b")


def check_constants(tree: Tree, text: str) -> None:
    """Raise InvalidExpression for a call that cannot succeed."""
    if not _WORDS.search(text):
        return
    for node in walk(tree.root):
        written = _written(node)
        if written is not None and (reason := failure_of(written[1])) is not None:
            literal, _, told = written
            message = f"{code.literal(str(literal.value))} always fails here: {reason}{told}"
            raise InvalidExpression.at(
                message, text=text, offset=tree.offset(literal), width=len(str(literal.value)) + 2
            )


def _written(node: Node) -> tuple[Literal, str, str] | None:
    """Return the text of a call, its code, and what to write instead; None for what is no such call."""
    match node:
        case Call(function="matches", arguments=(*_, Literal(value=str(pattern)) as literal)):
            return literal, f"''.matches({code.literal(pattern)})", ""
        case Call(function=function, target=None, arguments=(Literal(value=str(text)) as literal,)) if (
            function in _INSTEAD
        ):
            meant = _INSTEAD[function](text)
            return literal, _call(function, text), f"; write {_call(function, meant)}" if meant is not None else ""
    return None


def _call(function: str, text: str) -> str:
    return f"{function}({code.literal(text)})"


def _duration(text: str) -> str | None:
    """Return the duration that was probably meant: CEL has none longer than hours."""
    if match := _COUNT.fullmatch(text.strip()):
        seconds = float(match["count"]) * _SECONDS[match["unit"].lower()]
    elif (match := _ISO.fullmatch(text.strip())) and any(match.groups()):
        seconds = sum(float(count or 0) * _SECONDS[unit] for unit, count in match.groupdict().items())
    else:
        return None
    return f"{seconds / 3600:g}h" if seconds % 3600 == 0 else f"{seconds:g}s"


_COUNT = re.compile(
    r"(?P<count>\d{1,6}(?:\.\d{1,3})?)\s*(?P<unit>w|d|(?i:weeks?|days?|hours?|min|minutes?|sec|seconds?|))"
)
_ISO = re.compile(
    r"P(?:(?P<w>\d{1,6})W)?(?:(?P<d>\d{1,6})D)?(?:T(?:(?P<h>\d{1,6})H)?(?:(?P<m>\d{1,6})M)?(?:(?P<s>\d{1,6})S)?)?"
)
_SECONDS = {
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("s", "sec", "second", "seconds", ""), 1),
}


def _timestamp(text: str) -> str | None:
    """Return the time that was probably meant, in UTC where none is said."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    time = match["time"] or "00:00:00"
    meant = f"{match['date']}T{time}{'' if match['seconds'] or not match['time'] else ':00'}{match['zone'] or 'Z'}"
    return meant if failure_of(_call("timestamp", meant)) is None else None


_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<time>\d\d:\d\d(?P<seconds>:\d\d(?:\.\d{1,9})?)?)\s*(?P<zone>Z|[+-]\d\d:\d\d)?)?"
)


def _nothing(_text: str) -> None:
    """Of other texts nobody can tell what was meant."""


_INSTEAD: Mapping[str, Callable[[str], str | None]] = {
    "duration": _duration,
    "timestamp": _timestamp,
    **dict.fromkeys(("int", "uint", "double", "bool", "base64.decode"), _nothing),
}
"""Functions that read a text, and what finds out which text was meant."""
