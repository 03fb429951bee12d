"""Values of PostgreSQL as JSON values: no digit is lost, and every type has a form.

- `bool`, integers, `float4` and `float8` are JSON's own; infinity and NaN, which it has not, are their names as text.
- `numeric` is text, with each digit that the server has.
- `timestamptz` is text as in RFC 3339, in UTC (`2026-01-31T12:00:00.5Z`); `timestamp` the same without a zone; `date`
  and `time` likewise. `interval` is a duration of ISO 8601.
- `uuid` is text; `bytea` is text in base64. `json` and `jsonb` are what they hold. Arrays are lists.
- Whatever else there is (enums, ranges, addresses, composites) is text, as the server writes it.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from psycopg import adapters
from psycopg.adapt import AdaptersMap, Buffer, Loader
from pydantic_core import from_json

from omnibase_core.errors import HandlerError

_AS_TEXT = ("numeric", "uuid", "date", "time", "timetz", "interval", "inet", "cidr", "record")


class _Text(Loader):
    def load(self, data: Buffer) -> Any:
        """Return the text."""
        return bytes(data).decode()


class _Float(Loader):
    def load(self, data: Buffer) -> Any:
        """Return a number, or the name of what JSON has no number for."""
        number = float(bytes(data))
        return number if isfinite(number) else bytes(data).decode()


class _Json(Loader):
    def load(self, data: Buffer) -> Any:
        """Return what the JSON holds. Raises HandlerError for what no envelope can hold."""
        try:
            value = from_json(bytes(data))
        except ValueError:
            message = "a column holds JSON that is nested too deeply, or half a surrogate pair"
            raise HandlerError("result_invalid", message) from None
        if any(isinstance(it, float) and not isfinite(it) for it in _leaves(value)):
            raise HandlerError("result_invalid", "a column holds JSON with a number beyond what a double can hold")
        return value


class _Bytes(Loader):
    def load(self, data: Buffer) -> Any:
        """Return the bytes in base64; they come in hexadecimal."""
        return base64.b64encode(bytes.fromhex(bytes(data)[2:].decode())).decode()


class _Timestamp(Loader):
    def load(self, data: Buffer) -> Any:
        """Return a time as in RFC 3339; what has no such form (infinity, years BC) is as the server writes it."""
        text = bytes(data).decode()
        if not text[:1].isdigit() or text.endswith("BC"):
            return text
        return text.replace(" ", "T", 1).replace("+00", "Z")


def row_adapters() -> AdaptersMap:
    """Return the table by which a connection turns values of PostgreSQL into JSON values."""
    table = AdaptersMap(adapters)
    loaders: Mapping[type[Loader], Sequence[str]] = {
        _Text: _AS_TEXT,
        _Float: ("float4", "float8"),
        _Json: ("json", "jsonb"),
        _Bytes: ("bytea",),
        _Timestamp: ("timestamp", "timestamptz"),
    }
    for loader, names in loaders.items():
        for name in names:
            table.register_loader(name, loader)
    for info in adapters.types:
        # psycopg would make ranges and the like its own objects.
        if info.name.endswith("range"):
            table.register_loader(info.oid, _Text)
            table.register_loader(info.array_oid, _Text)
    return table


def named_rows(columns: Iterable[str]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Make rows that go by the names of their columns. Raises HandlerError where two columns have one name."""
    names = list(columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise HandlerError("statement_invalid", f"two columns are named {twice!r}; give one another name by 'as'")
    return lambda values: dict(zip(names, values, strict=True))


def size_of(value: Any) -> int:
    """Return about how many bytes a value is: text in UTF-8, and eight for anything else."""
    return sum(_length(it) if isinstance(it, str) else 8 for it in _leaves(value))


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _leaves(value: Any) -> Iterator[Any]:
    """Yield everything in a value that is no list and no object, keys too; without recursion, however deep it is."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as part:
                yield from part
                waiting += part.values()
            case list() as part:
                waiting += part
            case leaf:
                yield leaf
