"""What the `db` handler does: a transaction for each call, on a connection of the target's pool.

A call is done in a task of its own, which outlives it where it has to: taking back what a hanging server was asked can
take longer than the call has time.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from omnibase_core.errors import HandlerError, InvalidExpression
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.db.failures import Phase, commit_timeout, failure_of
from omnibase_infra.handlers.db.models import (
    BatchRequest,
    CopyRequest,
    DbTarget,
    ExecuteRequest,
    QueryRequest,
    TransactionRequest,
)
from omnibase_infra.handlers.db.rows import json_row, row_adapters, size_of
from omnibase_infra.handlers.db.statements import Statement, UnboundValue, column_of, statement_of, text_of

_CLOSING_S = 1.0
_TAKING_BACK_S = 2.0
_ROWS_AT_ONCE = 100
_MARGIN = 0.95
"""The share of the time that the server gets, so that it is the server who says what took so long."""
_CLEAN = (
    "set local timezone = 'UTC'; set local datestyle = 'ISO'; set local intervalstyle = 'iso_8601';"
    " set local bytea_output = 'hex'; set local standard_conforming_strings = on"
)
"""How the server writes values, whatever it is set to."""

_OPEN = (psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR)

Connection = psycopg.AsyncConnection[Any]
Result = Mapping[str, Any]


@asynccontextmanager
async def db_handler(targets: Mapping[str, DbTarget]) -> AsyncIterator["DbHandler"]:
    """Give the handler with a pool for each target; no connection is waited for. Raises HandlerError."""
    # What goes wrong is raised to whoever asks, and told in the host's own log.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    async with AsyncExitStack() as stack:
        opened = {name: await stack.enter_async_context(_opened(name, target)) for name, target in targets.items()}
        yield DbHandler(opened)


class DbHandler:
    """Does statements on the targets. A Handler; used concurrently, and usable after any cancellation.

    Raises HandlerError, with the server's SQLSTATE in `details`, with one of these codes:

    - retryable, since nothing was done: `timeout`, `lock_timeout`, `unreachable`, `pool_exhausted`, `connection_lost`,
      `overloaded`, `serialization_failure`, `deadlock_detected`.
    - retryable where the call reads only or is marked idempotent: `commit_unknown`.
    - not retryable: `unique_violation`, `foreign_key_violation`, `check_violation`, `not_null_violation`,
      `exclusion_violation`, `constraint_violation` (with the constraint's name in `details`), `data_invalid`,
      `statement_invalid`, `read_only`, `access_denied`, `raised` (by a function of the database's), `rows_unexpected`,
      `result_too_large`, `result_invalid`, `request_invalid`, `database_error`.
    """

    def __init__(self, targets: "Mapping[str, _OpenTarget]") -> None:
        """Hold the opened targets by the names under which nodes know them."""
        self._targets = targets

    async def execute(self, call: HandlerCall, /) -> Result:
        """Do what the request says in one transaction, and give what came of it."""
        opened = self._targets.get(call.target or "")
        if opened is None:
            raise HandlerError("request_invalid", f"there is no db target {call.target!r}")
        return await opened.transact(_work_of(call), timeout_s=call.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
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


def _work_of(call: HandlerCall) -> _Work:
    """Bind everything before a connection is asked for. Raises HandlerError."""
    try:
        match call.request:
            case QueryRequest() as request:
                step = _Step.of(request.statement, request.parameters)
                return _Work(do=step.run, reads=True, repeatable=True)
            case ExecuteRequest() as request:
                step = _Step.of(request.statement, request.parameters)
                return _Work(do=step.run, repeatable=request.idempotent)
            case BatchRequest() as request:
                return _Work(do=_batch(request), repeatable=request.idempotent)
            case CopyRequest() as request:
                return _Work(do=_copy(request), repeatable=request.idempotent)
            case TransactionRequest() as request:
                return _Work(
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


@asynccontextmanager
async def lone_connection(name: str, target: DbTarget) -> AsyncIterator[Connection]:
    """Give a connection apart from any pool, whose transactions read only. Raises HandlerError."""
    connector = _Connector()
    try:
        connection = await connector.connect(_conninfo(name, target))
    except psycopg.Error as error:
        raise HandlerError("unreachable", f"target {name!r}: {connector.reason}", retryable=True) from error
    async with connection:
        await connection.set_read_only(True)
        yield connection


# --- Connections ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _opened(name: str, target: DbTarget) -> AsyncIterator["_OpenTarget"]:
    connector = _Connector()
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        _conninfo(name, target),
        connection_class=connector,  # type: ignore[arg-type] # the pool asks for `connect` and nothing else
        min_size=target.connections_min,
        max_size=target.connections_max,
        timeout=target.connect_timeout_s,
        # An attempt to connect that is given up soon is made anew by the next call: a server that is back is found.
        reconnect_timeout=target.connect_timeout_s,
        max_lifetime=target.lifetime_max_s,
        max_idle=target.idle_max_s,
        open=False,
    )
    opened = _OpenTarget(name, target, pool, connector)
    await pool.open(wait=False)
    try:
        yield opened
    finally:
        await opened.close()


@dataclass(slots=True)
class _Connector:
    """Connects, and keeps why that failed the last time: the pool tells nobody."""

    reason: str = ""
    closed: bool = False
    attempts: set["asyncio.Task[Connection]"] = field(default_factory=set)

    async def connect(self, conninfo: str, **_: Any) -> Connection:
        attempt = asyncio.create_task(_connected(conninfo))
        self.attempts.add(attempt)
        attempt.add_done_callback(self.attempts.discard)
        try:
            connection = await attempt
        except psycopg.Error as error:
            self.reason = " ".join(str(error).split())
            raise
        except asyncio.CancelledError:
            if self.closed:
                raise psycopg.OperationalError("closed") from None
            raise
        self.reason = ""
        return connection

    def close(self) -> None:
        """Give up what is being connected."""
        self.closed = True
        for attempt in self.attempts:
            attempt.cancel()


async def _connected(conninfo: str) -> Connection:
    return await psycopg.AsyncConnection.connect(
        conninfo,
        # Each call begins and ends its own transaction. A plan that is kept breaks when a table changes.
        autocommit=True,
        prepare_threshold=None,
        context=_CONTEXT,
        cursor_factory=psycopg.AsyncRawCursor,
        row_factory=json_row,
    )


@dataclass(frozen=True, slots=True)
class _Context:
    adapters: Any
    connection: None = None


_CONTEXT = _Context(row_adapters())


@dataclass(slots=True)
class _Progress:
    """How far a call has come: what its end means depends on it."""

    phase: Phase = "statement"
    connected: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True)
class _OpenTarget:
    """A target with its connections."""

    name: str
    target: DbTarget
    pool: "AsyncConnectionPool[Any]"
    connector: _Connector
    _doing: set["asyncio.Task[Result]"] = field(default_factory=set)
    _held: set[Connection] = field(default_factory=set)
    """The connections that calls have at present."""

    async def transact(self, work: _Work, *, timeout_s: float) -> Result:
        """Do the work in a transaction within the time. Raises HandlerError."""
        where, progress = f"target {self.name!r}", _Progress()
        doing = asyncio.create_task(self._do(work, progress, timeout_s=timeout_s))
        self._doing.add(doing)
        doing.add_done_callback(self._done)
        try:
            await asyncio.wait({doing}, timeout=timeout_s)
            if not doing.done():
                if progress.phase == "commit":
                    raise commit_timeout(where, timeout_s, repeatable=work.repeatable)
                if not progress.connected:
                    raise self._no_connection(timeout_s)
                raise HandlerError("timeout", f"{where}: not done within {timeout_s:g} s", retryable=True)
            return doing.result()
        except psycopg.Error as error:
            raise failure_of(
                error, where=where, broken=progress.broken, phase=progress.phase, repeatable=work.repeatable
            ) from error
        finally:
            # Takes back at the server what is under way, and lets go where the server does not heed it.
            doing.cancel()
            asyncio.get_running_loop().call_later(_TAKING_BACK_S, doing.cancel)

    async def close(self) -> None:
        """Close the connections; what is under way is taken back."""
        for _ in range(2):
            # The first time asks the server to stop; the second does not wait for it.
            for doing in self._doing:
                doing.cancel()
            if self._doing:
                await asyncio.wait(set(self._doing), timeout=_CLOSING_S / 2)
        self.connector.close()
        await self.pool.close(timeout=_CLOSING_S)

    def _done(self, doing: "asyncio.Task[Result]") -> None:
        """Let go of a call; how one ended that was given up is of no interest."""
        self._doing.discard(doing)
        if not doing.cancelled():
            doing.exception()

    async def _do(self, work: _Work, progress: _Progress, *, timeout_s: float) -> Result:
        clock = asyncio.get_running_loop().time
        until_s = clock() + timeout_s
        connection = await self._begun(work, until_s)
        progress.connected = True
        try:
            result = await work.do(connection, self.target)
            progress.phase = "commit"
            await connection.execute("commit")
            return result
        finally:
            progress.broken = connection.broken or connection.closed
            await self._put_back(connection)

    async def _begun(self, work: _Work, until_s: float) -> Connection:
        """Give a connection in a transaction. One that died while it was idle is thrown away for the next."""
        clock = asyncio.get_running_loop().time
        while True:
            connection = await self._connection(until_s - clock())
            try:
                await connection.execute(work.begin(until_s - clock()))
            except psycopg.OperationalError:
                await self._put_back(connection)
                if not connection.broken:
                    raise
            except BaseException:
                await self._put_back(connection)
                raise
            else:
                return connection

    async def _connection(self, rest_s: float) -> Connection:
        """Ask the pool. Raises HandlerError where it has none in time."""
        wait_s = max(0.001, min(rest_s, self.target.connect_timeout_s))
        try:
            connection: Connection = await self.pool.getconn(timeout=wait_s)
        except PoolTimeout as error:
            raise self._no_connection(wait_s) from error
        except PoolClosed as error:
            raise HandlerError("unreachable", f"target {self.name!r} is closed", retryable=True) from error
        self._held.add(connection)
        return connection

    def _no_connection(self, waited_s: float) -> HandlerError:
        """Say why there was none in that time: none can be made, all are busy, or the server says nothing."""
        where = f"target {self.name!r}"
        if self.connector.reason:
            return HandlerError("unreachable", f"{where}: {self.connector.reason}", retryable=True)
        if len(self._held) >= self.target.connections_max:
            busy = f"all {self.target.connections_max} connections were busy for {waited_s:g} s (connections_max)"
            return HandlerError("pool_exhausted", f"{where}: {busy}", retryable=True)
        return HandlerError("timeout", f"{where}: no connection within {waited_s:g} s", retryable=True)

    async def _put_back(self, connection: Connection) -> None:
        """Roll back what is open, and give the connection back; the pool throws away what is broken."""
        try:
            if connection.info.transaction_status in _OPEN:
                with suppress(psycopg.Error):
                    await connection.execute("rollback")
        finally:
            self._held.discard(connection)
            await asyncio.shield(self.pool.putconn(connection))


def _conninfo(name: str, target: DbTarget) -> str:
    """Give libpq's settings. Raises HandlerError, which repeats nothing of the `dsn`: a password could stand in it."""
    bounds: dict[str, Any] = {
        "connect_timeout": max(2, round(target.connect_timeout_s)),  # libpq takes less for two seconds
        "tcp_user_timeout": round(target.connect_timeout_s * 1000),
        "keepalives_idle": 10,
        "application_name": target.application_name,
        "sslmode": target.sslmode,
        "client_encoding": "UTF8",
    }
    if target.sslmode.startswith("verify-"):
        bounds["sslrootcert"] = target.tls_ca_file or ssl.get_default_verify_paths().cafile or "system"
    for key, secret in (("user", target.user), ("password", target.password)):
        if secret is not None:
            bounds[key] = secret.get_secret_value()
    try:
        conninfo_to_dict(target.dsn.get_secret_value())
        return make_conninfo(target.dsn.get_secret_value(), **bounds)
    except psycopg.ProgrammingError:
        # Not chained: that error repeats a part of the text.
        message = f"dsn of the db target {name!r} is none; expected postgresql://host:port/database"
        raise HandlerError("dsn_invalid", message) from None
