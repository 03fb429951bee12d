"""Two JSON values side by side, as lines in the manner of YAML: `-` what was expected, `+` what came. Pure.

Numbers are equal if they agree to nine digits. A boolean is no number.
"""

import json
import re
from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

from omnibase_core.contracts.yaml.scalars import read_plain

_DIGITS = 1e-9
_PLAIN = re.compile(r"[A-Za-z_/][\w /.@+*()-]*(?<! )", re.ASCII)
_WIDE = 60
_BEFORE = 20
_ABSENT: Any = object()


def agrees(expected: Any, actual: Any, *, partly: bool = False) -> bool:
    """Check whether a value is as expected; `partly`: keys that are not expected are not looked at, at any depth."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if not partly and actual.keys() - expected.keys():
            return False
        return all(key in actual and agrees(value, actual[key], partly=partly) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        pairs = zip(expected, actual, strict=False)
        return len(expected) == len(actual) and all(agrees(one, other, partly=partly) for one, other in pairs)
    if _is_number(expected) and _is_number(actual):
        return expected == actual or isclose(expected, actual, rel_tol=_DIGITS, abs_tol=_DIGITS)
    return type(expected) is type(actual) and bool(expected == actual)


def difference(expected: Any, actual: Any, *, partly: bool = False) -> list[str]:
    """Return the lines that tell two values apart; none where they agree. What is equal is there, shortened."""
    if agrees(expected, actual, partly=partly):
        return []
    return list(_lines(expected, actual, "", "", partly=partly))


def written(value: Any) -> list[str]:
    """Return a value as lines."""
    return list(_block("", value, "", ""))


def _lines(expected: Any, actual: Any, label: str, indent: str, *, partly: bool) -> Iterator[str]:
    if actual is _ABSENT or expected is _ABSENT:
        sign = "-" if actual is _ABSENT else "+"
        yield from _block(f"{sign} ", expected if actual is _ABSENT else actual, label, indent)
    elif agrees(expected, actual, partly=partly):
        yield f"  {indent}{label}{_short(expected)}"
    elif isinstance(expected, Mapping) and isinstance(actual, Mapping) and expected and actual:
        yield from _heading(label, indent)
        below = _below(label, indent)
        for key in _keys(expected, actual, partly=partly):
            one, other = expected.get(key, _ABSENT), actual.get(key, _ABSENT)
            yield from _lines(one, other, f"{_scalar(key)}: ", below, partly=partly)
    elif isinstance(expected, list) and isinstance(actual, list) and expected and actual:
        yield from _heading(label, indent)
        below = _below(label, indent)
        for index in range(max(len(expected), len(actual))):
            one, other = (it[index] if index < len(it) else _ABSENT for it in (expected, actual))
            yield from _lines(one, other, "- ", below, partly=partly)
    else:
        one, other = _nearer(expected, actual)
        yield from _block("- ", one, label, indent)
        yield from _block("+ ", other, label, indent)


def _keys(expected: Mapping[str, Any], actual: Mapping[str, Any], *, partly: bool) -> list[str]:
    """Return the keys in the order in which their author wrote them, then what came unexpected."""
    return [*expected, *(() if partly else (key for key in actual if key not in expected))]


def _heading(label: str, indent: str) -> Iterator[str]:
    if label:
        yield f"  {indent}{label.rstrip()}"


def _below(label: str, indent: str) -> str:
    return f"{indent}  " if label else indent


def _block(sign: str, value: Any, label: str, indent: str) -> Iterator[str]:
    """Write a value out, each line with the sign."""
    if not isinstance(value, Mapping | list) or not value:
        yield f"{sign}{indent}{label}{_scalar(value)}"
        return
    if label:
        yield f"{sign}{indent}{label.rstrip()}"
    entries = value.items() if isinstance(value, Mapping) else ((None, it) for it in value)
    for key, item in entries:
        yield from _block(sign, item, "- " if key is None else f"{_scalar(key)}: ", _below(label, indent))


def _short(value: Any) -> str:
    """Write a value in one line; what is in a collection is left out."""
    if isinstance(value, Mapping):
        return "{...}" if value else "{}"
    if isinstance(value, list):
        return "[...]" if value else "[]"
    return _cut(_scalar(value), 0)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and read_plain(value) == (value, None)
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _nearer(expected: Any, actual: Any) -> tuple[Any, Any]:
    """Cut two long texts to where they begin to differ."""
    if not (isinstance(expected, str) and isinstance(actual, str) and max(len(expected), len(actual)) > _WIDE):
        return expected, actual
    pairs = zip(expected, actual, strict=False)
    first = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(actual)))
    return _cut(expected, first), _cut(actual, first)


def _cut(text: str, around: int) -> str:
    begin = max(0, around - _BEFORE)
    end = begin + _WIDE
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
