"""What a call does within its transaction: its statements with their values, and what comes of them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from omnibase_core.errors import HandlerError, InvalidExpression
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.db.models import (
    BatchRequest,
    CopyRequest,
    DbTarget,
    ExecuteRequest,
    QueryRequest,
    TransactionRequest,
)
from omnibase_infra.handlers.db.rows import size_of
from omnibase_infra.handlers.db.statements import Statement, UnboundValue, column_of, statement_of, text_of

_ROWS_AT_ONCE = 100
_MARGIN = 0.95
"""The share of the time that the server gets, so that it is the server who says what took so long."""
_CLEAN = (
    "set local timezone = 'UTC'; set local datestyle = 'ISO'; set local intervalstyle = 'iso_8601';"
    " set local bytea_output = 'hex'; set local standard_conforming_strings = on"
)
"""How the server writes values, whatever it is set to."""

Connection = psycopg.AsyncConnection[Any]
Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a call does in its transaction. `repeatable` says that doing it twice is as good as once."""

    do: Callable[[Connection, DbTarget], Awaitable[Result]]
    reads: bool = False
    repeatable: bool = False
    isolation: str = "read committed"

    def begin(self, rest_s: float) -> str:
        """Give the commands that begin the transaction. No text of anybody's stands in them."""
        milliseconds = max(1, int(rest_s * 1000))
        access = "read only" if self.reads else "read write"
        return (
            f"begin isolation level {self.isolation} {access};"
            f" set local statement_timeout = {max(1, int(milliseconds * _MARGIN))};"
            f" set local lock_timeout = {max(1, int(milliseconds * _MARGIN * _MARGIN))};"
            f" set local idle_in_transaction_session_timeout = {milliseconds + 1000}; {_CLEAN}"
        )


def work_of(call: HandlerCall) -> Work:
    """Bind everything before a connection is asked for. Raises HandlerError."""
    try:
        match call.request:
            case QueryRequest() as request:
                step = _Step.of(request.statement, request.parameters)
                return Work(do=step.run, reads=True, repeatable=True)
            case ExecuteRequest() as request:
                step = _Step.of(request.statement, request.parameters)
                return Work(do=step.run, repeatable=request.idempotent)
            case BatchRequest() as request:
                return Work(do=_batch(request), repeatable=request.idempotent)
            case CopyRequest() as request:
                return Work(do=_copy(request), repeatable=request.idempotent)
            case TransactionRequest() as request:
                return Work(
                    do=_several(request),
                    reads=request.read_only,
                    repeatable=request.read_only or request.idempotent,
                    isolation=request.isolation,
                )
    except (UnboundValue, InvalidExpression) as error:
        raise HandlerError("request_invalid", str(error)) from None
    raise HandlerError("request_invalid", f"there is no operation {call.operation!r}")


@dataclass(frozen=True, slots=True)
class _Step:
    """One statement with its values."""

    statement: Statement
    values: Sequence[str | None]
    expect_rows: int | None = None

    @classmethod
    def of(cls, written: str, parameters: Mapping[str, Any], expect_rows: int | None = None) -> "_Step":
        statement = statement_of(written)
        return cls(statement, statement.bound(parameters), expect_rows)

    async def run(self, connection: Connection, target: DbTarget) -> Result:
        """Do it, and give its rows, no further than the target allows."""
        async with connection.cursor() as cursor:
            if self.statement.returns_rows:
                rows = await _rows(cursor, self, target)
                count = len(rows)
            else:
                # A procedure may answer with one row, which is read as any other.
                await cursor.execute(self.statement.text, self.values)
                rows = await cursor.fetchall() if cursor.description else []
                count = max(cursor.rowcount, 0)
        if self.expect_rows is not None and count != self.expect_rows:
            message = f"a statement touched {count} rows, expected {self.expect_rows}; nothing was done"
            raise HandlerError("rows_unexpected", message, details={"rows": count, "expected": self.expect_rows})
        return {"rows": rows, "row_count": count}


async def _rows(cursor: Any, step: _Step, target: DbTarget) -> list[dict[str, Any]]:
    """Read rows as they come, so that no more is in memory than may be. What is left is taken back at the server."""
    rows: list[dict[str, Any]] = []
    left = target.result_bytes_max
    at_once = min(_ROWS_AT_ONCE, target.rows_max) if psycopg.capabilities.has_stream_chunked() else 1
    async with aclosing(cursor.stream(step.statement.text, step.values, size=at_once)) as stream:
        async for row in stream:
            left -= size_of(row)
            if left < 0:
                raise _too_large(f"{target.result_bytes_max} bytes (result_bytes_max of the target)")
            if len(rows) == target.rows_max:
                raise _too_large(f"{target.rows_max} rows (rows_max of the target)")
            rows.append(row)
    return rows


def _too_large(limit: str) -> HandlerError:
    return HandlerError("result_too_large", f"the result is over {limit}; nothing was done: ask for less, by 'limit'")


def _batch(request: BatchRequest) -> Callable[[Connection, DbTarget], Awaitable[Result]]:
    statement = statement_of(request.statement)
    sets = [statement.bound(parameters) for parameters in request.parameter_sets]

    async def do(connection: Connection, _: DbTarget) -> Result:
        async with connection.cursor() as cursor:
            if sets:
                await cursor.executemany(statement.text, sets)
            return {"row_count": max(cursor.rowcount, 0)}

    return do


def _copy(request: CopyRequest) -> Callable[[Connection, DbTarget], Awaitable[Result]]:
    columns = [column_of(written) for written in request.columns]
    known = [column for column in columns if column is not None]
    if len(known) < len(columns):
        raise UnboundValue(f"columns: found {request.columns!r}, expected names, with ::jsonb or ::text[] where needed")
    rows = [_copied(row, known, index) for index, row in enumerate(request.rows)]
    table = sql.Identifier(*request.table.split("."))
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in known)
    command = sql.SQL("copy {} ({}) from stdin").format(table, names)

    async def do(connection: Connection, _: DbTarget) -> Result:
        async with connection.cursor() as cursor:
            async with cursor.copy(command) as copy:
                for row in rows:
                    await copy.write_row(row)
            return {"row_count": max(cursor.rowcount, 0)}

    return do


def _copied(row: Sequence[Any], columns: Sequence[tuple[str, Any]], index: int) -> list[str | None]:
    if len(row) != len(columns):
        raise UnboundValue(f"rows.{index}: found {len(row)} values, expected {len(columns)}, one for each column")
    return [text_of(value, form, name=f"rows.{index}.{name}") for value, (name, form) in zip(row, columns, strict=True)]


def _several(request: TransactionRequest) -> Callable[[Connection, DbTarget], Awaitable[Result]]:
    steps = {
        name: _Step.of(part.statement, part.parameters, part.expect_rows) for name, part in request.statements.items()
    }

    async def do(connection: Connection, target: DbTarget) -> Result:
        results: dict[str, Any] = {}
        left = target
        for name, step in steps.items():
            results[name] = await step.run(connection, left)
            spent = sum(map(size_of, results[name]["rows"]))
            left = left.model_copy(update={"result_bytes_max": left.result_bytes_max - spent})
        return {"results": results}

    return do
