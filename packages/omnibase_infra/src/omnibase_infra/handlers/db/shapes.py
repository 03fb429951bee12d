"""Shapes of rows: which columns a contract says that the rows of a statement have, and of which types. Pure.

A shape is checked three times: its names against the statement, at `check`; its types against the database, at
`check --live`; and both against every row that comes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from omnibase_infra.handlers.db.models import JsonType, RowShape
from omnibase_infra.handlers.db.statements import Statement

_TYPES: Mapping[type, JsonType] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}
_OF_DATABASE: Mapping[str, tuple[JsonType, ...]] = {
    "boolean": ("boolean",),
    "smallint": ("integer",),
    "integer": ("integer",),
    "bigint": ("integer",),
    "oid": ("integer",),
    # Infinity and NaN are text.
    "real": ("number", "string"),
    "double precision": ("number", "string"),
    "json": get_args(JsonType),
    "jsonb": get_args(JsonType),
}


def shape_faults(written: Any, statement: Statement) -> Iterator[tuple[tuple[str, ...], str]]:
    """Hold a shape, as a contract writes it, to its statement: the faults, each at its path in the shape."""
    if not isinstance(written, Mapping) or not written:
        yield (), "expected the columns of a row with their types, such as {id: integer, name: [string, 'null']}"
        return
    for column, types in written.items():
        if not _are_types(types):
            known = ", ".join(get_args(JsonType))
            yield (column,), f"found {types!r}, expected a type of JSON or a list of such: {known}"
    if not statement.returns_rows:
        yield (), "the statement gives no rows; remove 'row', or add 'returning'"
    elif statement.columns is None:
        yield (), "the statement does not tell its columns: write them out in place of *, and name each by 'as'"
    else:
        yield from _names(written, statement.columns)


def row_fault(row: Mapping[str, Any], shape: RowShape) -> str | None:
    """Say what of a row is not as its shape says; None: nothing. No value is repeated."""
    if row.keys() != shape.keys():
        return f"a row has the columns {', '.join(row)}; its shape says {', '.join(shape)}"
    for column, value in row.items():
        found = _TYPES[type(value)]
        if not _allows(shape[column], found):
            return f"the column {column!r} is {found}; its shape says {_told(shape[column])}"
    return None


def live_shape_faults(shape: RowShape, columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Hold a shape to the columns of a statement, each with the type that it is of to the database."""
    for column, database_type in columns:
        possible = ("array",) if database_type.endswith("[]") else _OF_DATABASE.get(database_type, ("string",))
        if column in shape and not any(_allows(shape[column], it) for it in possible):
            yield (
                f"the column {column!r} is {database_type} to the database, which is {' or '.join(possible)};"
                f" row says {_told(shape[column])}"
            )


def _are_types(written: Any) -> bool:
    types = written if isinstance(written, list) and written else [written]
    return all(isinstance(it, str) and it in get_args(JsonType) for it in types)


def _names(written: Mapping[str, Any], columns: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    for column in written:
        if column not in columns:
            yield (column,), f"the statement gives no column {column!r}; it gives: {', '.join(columns)}"
    for column in columns:
        if column not in written:
            yield (), f"the statement gives a column {column!r}; write its type: {column}: string"


def _allows(types: JsonType | list[JsonType], found: JsonType) -> bool:
    allowed = types if isinstance(types, list) else (types,)
    return found in allowed or (found == "integer" and "number" in allowed)


def _told(types: JsonType | list[JsonType]) -> str:
    return " or ".join(types) if isinstance(types, list) else types
