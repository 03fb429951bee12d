"""Connections to a target: a pool of them, and how a call uses one.

A call is done in a task of its own, which outlives it where it has to: taking back what a hanging server was asked can
take longer than the call has time.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.db.failures import Phase, commit_timeout, failure_of
from omnibase_infra.handlers.db.models import DbTarget
from omnibase_infra.handlers.db.rows import json_row, row_adapters
from omnibase_infra.handlers.db.work import Connection, Result, Work

_CLOSING_S = 1.0
_TAKING_BACK_S = 2.0
_OPEN = (psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR)


@asynccontextmanager
async def opened_target(name: str, target: DbTarget) -> AsyncIterator["OpenTarget"]:
    """Give a target with a pool of its own; no connection is waited for. Raises HandlerError."""
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
    opened = OpenTarget(name, target, pool, connector)
    await pool.open(wait=False)
    try:
        yield opened
    finally:
        await opened.close()


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
class OpenTarget:
    """A target with its connections."""

    name: str
    target: DbTarget
    pool: "AsyncConnectionPool[Any]"
    connector: _Connector
    _doing: set["asyncio.Task[Result]"] = field(default_factory=set)
    _held: set[Connection] = field(default_factory=set)
    """The connections that calls have at present."""

    async def transact(self, work: Work, *, timeout_s: float) -> Result:
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
                error,
                where=where,
                timeout_s=timeout_s,
                broken=progress.broken,
                phase=progress.phase,
                repeatable=work.repeatable,
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

    async def _do(self, work: Work, progress: _Progress, *, timeout_s: float) -> Result:
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

    async def _begun(self, work: Work, until_s: float) -> Connection:
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
