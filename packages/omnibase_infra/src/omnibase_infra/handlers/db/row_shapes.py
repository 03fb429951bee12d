"""Shapes of rows: which columns a contract says that the rows of a statement have, and of which types. Pure.

A shape is checked three times: its names against the statement, at `check`; its types against the database, at
`check --live`; and both against every row that comes. Expressions are checked against it, and where a contract says
nothing of its rows, against the names that the statement tells.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from omnibase_core.errors import InvalidExpression
from omnibase_infra.handlers.db.models import JsonType, Rows, RowShape, TransactionResult
from omnibase_infra.handlers.db.statements import Statement, statement_of

_TYPES: Mapping[type, JsonType] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}
_PYTHON: Mapping[JsonType, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": float,
    "object": dict[str, JsonValue],
    "array": list[JsonValue],
    "null": None,
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
    """Check a shape, as a contract writes it, against its statement: the faults, each at its path in the shape."""
    if not isinstance(written, Mapping) or not written:
        yield (), "expected the columns of a row with their types, such as {id: integer, name: [string, 'null']}"
        return
    for column, types in written.items():
        if not _are_types(types):
            known = ", ".join(get_args(JsonType))
            yield (column,), f"found {types!r}, expected a type of JSON or a list of such: {known}"
    if not statement.returns_rows:
        yield (), "the statement returns no rows; remove 'row', or add 'returning'"
    elif statement.columns is None:
        yield (), "the statement does not tell its columns: write them out in place of *, and name each by 'as'"
    else:
        yield from _names(written, statement.columns)


def row_fault(row: Mapping[str, Any], shape: RowShape) -> str | None:
    """Describe what of a row is not as its shape says; None: nothing. No value is repeated."""
    if row.keys() != shape.keys():
        return f"a row has the columns {', '.join(row)}; its shape says {', '.join(shape)}"
    for column, value in row.items():
        found = _TYPES[type(value)]
        if not _allows(shape[column], found):
            return f"the column {column!r} is {found}; its shape says {_told(shape[column])}"
    return None


def live_shape_faults(shape: RowShape, columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Check a shape against the columns of a statement, each with the type that it is of to the database."""
    for column, database_type in columns:
        possible = ("array",) if database_type.endswith("[]") else _OF_DATABASE.get(database_type, ("string",))
        if column in shape and not any(_allows(shape[column], it) for it in possible):
            yield (
                f"the column {column!r} is {database_type} to the database, which is {' or '.join(possible)};"
                f" row says {_told(shape[column])}"
            )


def result_of_rows(written: Any) -> type[BaseModel]:
    """Return what a query or an execute gives, as far as its contract tells; `checks` finds what is wrong."""
    row = _row_model(written)
    return Rows if row is None else create_model("TypedRows", __base__=Rows, rows=(list[row], ...))  # type: ignore[valid-type]


def result_of_transaction(written: Any) -> type[BaseModel]:
    """Return what a transaction gives, likewise: only the results of its statements are there."""
    statements = written.get("statements") if isinstance(written, Mapping) else None
    if not isinstance(statements, Mapping) or not all(isinstance(name, str) for name in statements):
        return TransactionResult
    results = _model("Results", {name: result_of_rows(part) for name, part in statements.items()})
    return create_model("TypedResult", __base__=TransactionResult, results=(results, ...))


def _row_model(written: Any) -> type[BaseModel] | None:
    if not isinstance(written, Mapping):
        return None
    shape = written.get("row")
    if isinstance(shape, Mapping) and shape and all(map(_are_types, shape.values())):
        return _model("Row", {column: _python_type(types) for column, types in shape.items()})
    try:
        columns = statement_of(str(written.get("statement"))).columns
    except InvalidExpression:
        return None
    return None if columns is None else _model("Row", dict.fromkeys(columns, JsonValue))


def _model(name: str, types: Mapping[str, Any]) -> type[BaseModel]:
    """Make a model whose fields have any names: those of Python's have not."""
    fields: dict[str, Any] = {f"field_{n}": (it, Field(alias=key)) for n, (key, it) in enumerate(types.items())}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _python_type(types: JsonType | list[JsonType]) -> Any:
    named = [_PYTHON[it] for it in (types if isinstance(types, list) else [types])]
    return reduce(or_, named[1:], named[0])


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
