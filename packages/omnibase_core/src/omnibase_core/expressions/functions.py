"""What functions and operators take and give: CEL's standard library, and the extensions that are offered. Pure.

The engine's own checker knows the same, but a payload is to it one value of which nothing is known. Sources: the list
of standard definitions in https://github.com/google/cel-spec/blob/master/doc/langdef.md and cel-cpp's extensions.
What depends on the parts of its arguments (fields, items, guards) is not here, but in `checking`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from omnibase_core.expressions.types import DYNAMIC, NUMBERS, Type, list_of, scalar


class Signature(NamedTuple):
    """One way to call a function; the first that a method takes is what it is called on."""

    takes: tuple[frozenset[str] | None, ...]
    gives: Type


def signatures_of(function: str, *, method: bool) -> Sequence[Signature]:
    """Return every way to call a function; none for one that is worked out elsewhere."""
    return _SIGNATURES.get(f".{function}" if method else function, ())


def call_in_words(function: str, kinds: Sequence[str], *, method: bool = False) -> str:
    """Describe which call it is, much as it is written: `string * integer`, `integer.trim()`."""
    form = _FORMS.get(function)
    if form is not None and form.count("{}") == len(kinds):
        return form.format(*kinds)
    if kinds and f".{function}" in _TABLE and (method or function not in _TABLE):
        return f"{kinds[0]}.{function}({', '.join(kinds[1:])})"
    return f"{_MACROS.get(function, function)}({', '.join(kinds)})"


_SIGNS = ("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||")
_FORMS = {
    **{f"_{sign}_": f"{{}} {sign} {{}}" for sign in _SIGNS},
    "!_": "!{}",
    "-_": "-{}",
    "@in": "{} in {}",
    "_[_]": "{}[{}]",
    "_[?_]": "{}[?{}]",
    "_?._": "{}.?{}",
    "_?_:_": "{} ? {} : {}",
}
_MACROS = {"math.@max": "math.greatest", "math.@min": "math.least"}

_ORDERED = "number number > bool, string string > bool, bool bool > bool, bytes bytes > bool, \
timestamp timestamp > bool, duration duration > bool"
_PART_OF_TIME = "timestamp > int, timestamp string > int"
_PART_OF_BOTH = f"{_PART_OF_TIME}, duration > int"
_ROUND = "double > double"
_BITS = "int int > int, uint uint > uint"
_SHIFT = "int int > int, uint int > uint"
_FIND = "string string > int, string string int > int"

_TABLE: Mapping[str, str] = {
    "_+_": "int int > int, uint uint > uint, double double > double, string string > string, bytes bytes > bytes, \
timestamp duration > timestamp, duration timestamp > timestamp, duration duration > duration",
    "_-_": "int int > int, uint uint > uint, double double > double, timestamp timestamp > duration, \
timestamp duration > timestamp, duration duration > duration",
    "_*_": "int int > int, uint uint > uint, double double > double",
    "_/_": "int int > int, uint uint > uint, double double > double",
    "_%_": "int int > int, uint uint > uint",
    "-_": "int > int, double > double",
    "_<_": _ORDERED,
    "_<=_": _ORDERED,
    "_>_": _ORDERED,
    "_>=_": _ORDERED,
    "size": "string > int, bytes > int, list > int, map > int",
    ".size": "string > int, bytes > int, list > int, map > int",
    # Conversions
    "bool": "bool > bool, string > bool",
    "bytes": "bytes > bytes, string > bytes",
    "double": "number > double, string > double",
    "duration": "duration > duration, string > duration",
    "int": "number > int, string > int, timestamp > int",
    "string": "bool > string, number > string, string > string, bytes > string, timestamp > string, duration > string",
    "timestamp": "timestamp > timestamp, string > timestamp, int > timestamp",
    "uint": "number > uint, string > uint",
    "type": "any > type",
    "dyn": "any > any",
    # Text
    ".contains": "string string > bool",
    ".endsWith": "string string > bool",
    ".startsWith": "string string > bool",
    ".matches": "string string > bool",
    "matches": "string string > bool",
    ".charAt": "string int > string",
    ".format": "string list > string",
    ".indexOf": _FIND,
    ".lastIndexOf": _FIND,
    ".join": "list > string, list string > string",
    ".lowerAscii": "string > string",
    ".upperAscii": "string > string",
    ".replace": "string string string > string, string string string int > string",
    ".reverse": "string > string",
    ".split": "string string > strings, string string int > strings",
    ".substring": "string int > string, string int int > string",
    ".trim": "string > string",
    "strings.quote": "string > string",
    "base64.encode": "bytes > string",
    "base64.decode": "string > bytes",
    # Times
    ".getDate": _PART_OF_TIME,
    ".getDayOfMonth": _PART_OF_TIME,
    ".getDayOfWeek": _PART_OF_TIME,
    ".getDayOfYear": _PART_OF_TIME,
    ".getFullYear": _PART_OF_TIME,
    ".getMonth": _PART_OF_TIME,
    ".getHours": _PART_OF_BOTH,
    ".getMinutes": _PART_OF_BOTH,
    ".getSeconds": _PART_OF_BOTH,
    ".getMilliseconds": _PART_OF_BOTH,
    # Mathematics
    "math.abs": "int > int, uint > uint, double > double",
    "math.sign": "int > int, uint > uint, double > double",
    "math.ceil": _ROUND,
    "math.floor": _ROUND,
    "math.round": _ROUND,
    "math.trunc": _ROUND,
    "math.sqrt": "number > double",
    "math.isFinite": "double > bool",
    "math.isInf": "double > bool",
    "math.isNaN": "double > bool",
    "math.bitAnd": _BITS,
    "math.bitOr": _BITS,
    "math.bitXor": _BITS,
    "math.bitNot": "int > int, uint > uint",
    "math.bitShiftLeft": _SHIFT,
    "math.bitShiftRight": _SHIFT,
    # What the macros leave behind
    "@not_strictly_false": "bool > bool",
}
"""The ways to call each, as `what it takes > what it gives`; a method starts with a point."""

FUNCTIONS = frozenset(_TABLE)


def _signatures(ways: str) -> Iterator[Signature]:
    for way in ways.split(","):
        takes, _, gives = way.partition(">")
        yield Signature(tuple(map(_taken, takes.split())), _given(gives.strip()))


def _taken(word: str) -> frozenset[str] | None:
    return None if word == "any" else NUMBERS if word == "number" else frozenset({word})


def _given(word: str) -> Type:
    if word == "strings":
        return list_of(scalar("string"))
    return DYNAMIC if word == "any" else scalar(word)


_SIGNATURES: Mapping[str, Sequence[Signature]] = {name: tuple(_signatures(ways)) for name, ways in _TABLE.items()}
