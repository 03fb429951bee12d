"""What a call does within its transaction: its statements with their values, and what comes of them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.db.bindings import Copied, Sets, Step, bound_rows, bound_sets, bound_step, bound_steps
from omnibase_infra.handlers.db.exchange import DbTransaction
from omnibase_infra.handlers.db.message_limits import ResultTooLarge
from omnibase_infra.handlers.db.models import (
    BatchRequest,
    CopyRequest,
    DbTarget,
    ExecuteRequest,
    QueryRequest,
    TransactionRequest,
)
from omnibase_infra.handlers.db.result_errors import bound, unexpected_rows, unfit_row
from omnibase_infra.handlers.db.rows import size_of

_ROWS_AT_ONCE = 100
_MARGIN = 0.95
"""The share of the time that the server gets, so that it is the server who says what took so long."""
_CLEAN = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "client_min_messages": "error",
}
"""How the server writes values, whatever it is set to, and that it sends no notices, which nobody reads."""

Result = Mapping[str, Any]
Do = Callable[[DbTransaction, DbTarget], Awaitable[Result]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DbCall:
    """What a call does in its transaction. `repeatable` says that doing it twice is as good as once."""

    do: Do
    reads: bool = False
    repeatable: bool = False
    isolation: str = "read committed"

    def begins(self, rest_s: float) -> Sequence[str]:
        """Return the commands that begin the transaction. No text of anybody's stands in them."""
        milliseconds = max(1, int(rest_s * 1000))
        settings = {
            "statement_timeout": max(1, int(milliseconds * _MARGIN)),
            "lock_timeout": max(1, int(milliseconds * _MARGIN * _MARGIN)),
            "idle_in_transaction_session_timeout": milliseconds + 1000,
            **_CLEAN,
        }
        access = "read only" if self.reads else "read write"
        set_each = ", ".join(f"pg_catalog.set_config('{name}', '{it}', true)" for name, it in settings.items())
        return [f"begin isolation level {self.isolation} {access}", f"select {set_each}"]


def work_of(call: HandlerCall) -> DbCall:
    """Bind everything before a connection is asked for. Raises HandlerError."""
    match call.request:
        case QueryRequest() as request:
            return DbCall(do=_one(bound(bound_step, request), reads=True), reads=True, repeatable=True)
        case ExecuteRequest() as request:
            return DbCall(do=_one(bound(bound_step, request), reads=False), repeatable=request.idempotent)
        case BatchRequest() as request:
            return DbCall(do=_batch(bound(bound_sets, request)), repeatable=request.idempotent)
        case CopyRequest() as request:
            return DbCall(do=_copy(bound(bound_rows, request)), repeatable=request.idempotent)
        case TransactionRequest() as request:
            return DbCall(
                do=_several(bound(bound_steps, request), reads=request.read_only),
                reads=request.read_only,
                repeatable=request.read_only or request.idempotent,
                isolation=request.isolation,
            )
    raise HandlerError("request_invalid", f"there is no operation {call.operation!r}")


def _one(step: Step, *, reads: bool) -> Do:
    async def do(transaction: DbTransaction, target: DbTarget) -> Result:
        return await _stepped(step, transaction, target, last=reads)

    return do


def _several(steps: Mapping[str, Step], *, reads: bool) -> Do:
    async def do(transaction: DbTransaction, target: DbTarget) -> Result:
        results: dict[str, Any] = {}
        left = target
        for number, (name, step) in enumerate(steps.items(), start=1):
            last = reads and number == len(steps)
            results[name] = await _stepped(step, transaction, left, last=last)
            spent = sum(map(size_of, results[name]["rows"]))
            left = left.model_copy(update={"result_bytes_max": left.result_bytes_max - spent})
        return {"results": results}

    return do


def _batch(sets: Sets) -> Do:
    async def do(transaction: DbTransaction, _: DbTarget) -> Result:
        await transaction.begin()
        async with transaction.connection.cursor() as cursor:
            if sets.values:
                await cursor.executemany(sets.statement.text, sets.values)
            return {"row_count": max(cursor.rowcount, 0)}

    return do


def _copy(copied: Copied) -> Do:
    table = sql.Identifier(*copied.table.split("."))
    names = sql.SQL(", ").join(map(sql.Identifier, copied.columns))
    command = sql.SQL("copy {} ({}) from stdin").format(table, names)

    async def do(transaction: DbTransaction, _: DbTarget) -> Result:
        await transaction.begin()
        async with transaction.connection.cursor() as cursor:
            async with cursor.copy(command) as copy:
                for row in copied.rows:
                    await copy.write_row(row)
            return {"row_count": max(cursor.rowcount, 0)}

    return do


async def _stepped(step: Step, transaction: DbTransaction, target: DbTarget, *, last: bool) -> Result:
    """Do one statement, and give its rows, no further than the target allows: no more is in memory than may be."""
    rows: list[dict[str, Any]] = []
    left = target.result_bytes_max
    too_many_bytes = _too_large(f"{left} bytes (result_bytes_max of the target)")

    def take(row: dict[str, Any]) -> None:
        nonlocal left
        left -= size_of(row)
        if left < 0:
            raise too_many_bytes
        if len(rows) == target.rows_max:
            raise _too_large(f"{target.rows_max} rows (rows_max of the target)")
        if (error := unfit_row(step, row)) is not None:
            raise error
        rows.append(row)

    at_once = min(_ROWS_AT_ONCE, target.rows_max)
    try:
        touched = await transaction.ask(
            step.statement.text, step.values, take, rows_at_once=at_once, bytes_max=left, last=last
        )
    except ResultTooLarge:
        raise too_many_bytes from None
    count = len(rows) if step.statement.returns_rows else touched
    if (error := unexpected_rows(step, count)) is not None:
        raise error
    return {"rows": rows, "row_count": count}


def _too_large(limit: str) -> HandlerError:
    return HandlerError(
        "result_too_large", f"the result is over {limit}; nothing was done: read fewer rows, with 'limit'"
    )
