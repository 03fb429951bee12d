"""Values before and after an evaluation: what the engine can hold, and what JSON has a form for. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from omnibase_core.expressions.types import NUMBERS, Type

Coercion = Callable[[Any], Any]

AS_IT_IS = frozenset({str, int, bool, dict, list, type(None)})
_INT_MIN, _UINT_MAX = -(2**63), 2**64 - 1
_LARGE = b"\xffinteger:"
_HELD = frozenset({str, float, type(None), bytes, bytearray})
"""What the engine can hold, besides objects, lists and integers."""
_KEYS = frozenset({str})
_BITS_MAX, _WRITTEN_BITS_MAX = 64, 14_284
"""Of an integer that the engine takes, and of one that Python writes in digits: 4300 of them."""


# --- To the types of a schema ---------------------------------------------------------------------------------------


def coercion_to(declared: Type) -> Coercion | None:
    """Return what brings numbers to their declared type, so that 3 is a number and 3.0 an integer; None for nothing.

    It copies what it changes, takes any value, and doing it twice is doing it once.
    """
    return _coercion(declared, {})


def _coercion(declared: Type, known: dict[int, Coercion | None]) -> Coercion | None:
    if id(declared) not in known:
        known[id(declared)] = None
        known[id(declared)] = _made(declared, known)
    return known[id(declared)]


def _made(declared: Type, known: dict[int, Coercion | None]) -> Coercion | None:
    number = _NUMERIC.get(declared.kinds & NUMBERS)
    item = None if declared.item is None else _coercion(declared.item, known)
    fields = {name: made for name, it in declared.fields.items() if (made := _coercion(it.type, known)) is not None}
    extra = None if declared.extra is None else _coercion(declared.extra, known)
    if item is None and not fields and extra is None:
        return number
    named = frozenset(declared.fields)

    def coerced(value: Any) -> Any:
        if isinstance(value, list) and item is not None:
            return [item(it) for it in value]
        if not isinstance(value, Mapping):
            return value if number is None else number(value)
        changed = dict(value)
        for name, made in fields.items():
            if name in changed:
                changed[name] = made(changed[name])
        if extra is not None:
            changed.update((name, extra(it)) for name, it in value.items() if name not in named)
        return changed

    return coerced


def _to_number(value: Any) -> Any:
    if type(value) is not int:
        return value
    try:
        return float(value)
    except OverflowError:
        return value


def as_integer(value: Any) -> Any:
    """Return a whole number as an integer; anything else as it is."""
    return int(value) if type(value) is float and value.is_integer() else value


_NUMERIC: Mapping[frozenset[str], Coercion] = {frozenset({"double"}): _to_number, frozenset({"int"}): as_integer}


# --- What the engine cannot hold ------------------------------------------------------------------------------------


def engine_fault(value: Any) -> str | None:
    """Return why the engine must not be given a value that anybody's code has made; None where it may.

    What it does not know it asks for its text, and an integer for its digits. Where that fails, the process ends.
    """
    waiting = [value]
    while waiting:  # In the order of how often there is which: it is done for each result that the engine reads.
        it = waiting.pop()
        kind = type(it)
        if kind in _HELD:
            continue
        if kind is dict:
            waiting += it.values()
            if not _KEYS.issuperset(map(type, it)):
                waiting += it
        elif kind is list:
            waiting += it
        elif not isinstance(it, int):
            return f"a value of type {kind.__name__} has no JSON form"
        elif int.bit_length(it) > (_WRITTEN_BITS_MAX if kind is int else _BITS_MAX):
            return "an integer with too many digits to be written"
    return None


def within_64_bits(value: Any) -> Any:
    """Return a value whose integers beyond 64 bits can be passed on and compared, but not used in arithmetic."""
    match value:
        case bool():
            return value
        case int():
            return value if _INT_MIN <= value <= _UINT_MAX else _LARGE + hex(value).encode()
        case Mapping():
            return {key: within_64_bits(item) for key, item in value.items()}
        case list():
            return [within_64_bits(item) for item in value]
    return value


def large_integer(value: Any) -> int | None:
    """Return an integer that `within_64_bits` took out; None for anything else."""
    if isinstance(value, bytes | bytearray) and value.startswith(_LARGE):
        try:
            return int(value[len(_LARGE) :], 16)
        except ValueError:
            return None
    return None


def holds_nul(value: Any) -> bool:
    """Check whether there is a text with the character U+0000 in a value."""
    match value:
        case str():
            return "\x00" in value
        case Mapping():
            return any(holds_nul(key) or holds_nul(item) for key, item in value.items())
        case list():
            return any(map(holds_nul, value))
    return False


# --- To JSON --------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return a value its JSON form: times as in RFC 3339, durations in seconds with an s (as protobuf's JSON does).

    Raises ValueError for what has none.
    """
    if type(value) in AS_IT_IS:
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        microseconds = value // timedelta(microseconds=1)
        sign, (seconds, rest) = "-" if microseconds < 0 else "", divmod(abs(microseconds), 1_000_000)
        return f"{sign}{seconds}.{rest:06d}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if isinstance(value, str | int | float | Mapping | list):
        return value
    if (large := large_integer(value)) is not None:
        return large
    raise ValueError(f"a value of type {type(value).__name__} has no JSON form")
