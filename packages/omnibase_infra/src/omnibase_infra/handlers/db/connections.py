"""A call on a target's connections: in one transaction, begun and ended here, and what its end means."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.db.exchange import DbTransaction
from omnibase_infra.handlers.db.execution import DbCall, Result, work_of
from omnibase_infra.handlers.db.failures import Phase, absent, commit_timeout, failure_of
from omnibase_infra.handlers.db.models import DbTarget
from omnibase_infra.handlers.db.rows import row_adapters
from omnibase_infra.postgres.connections import (
    Connection,
    ConnectionPool,
    Connector,
    NoConnection,
    PoolBounds,
    conninfo,
    opened_pool,
)


@asynccontextmanager
async def opened_target(name: str, target: DbTarget) -> AsyncIterator["OpenDatabase"]:
    """Yield a target with a pool of its own; no connection is waited for. Raises InvalidDsn."""
    bounds = PoolBounds(
        connections_min=target.connections_min,
        connections_max=target.connections_max,
        connect_timeout_s=target.connect_timeout_s,
        lifetime_max_s=target.lifetime_max_s,
        idle_max_s=target.idle_max_s,
    )
    async with opened_pool(_conninfo(name, target), bounds, connection=_CONNECTION) as pool:
        yield OpenDatabase(name, target, pool)


@asynccontextmanager
async def lone_connection(name: str, target: DbTarget) -> AsyncIterator[Connection]:
    """Yield a connection apart from any pool, whose transactions read only. Raises HandlerError, InvalidDsn."""
    connector = Connector(_CONNECTION)
    try:
        connection = await connector.connect(_conninfo(name, target))
    except psycopg.Error as error:
        raise absent(connector.absence(), where=f"target {name!r}") from error
    async with connection:
        await connection.execute("set default_transaction_read_only = on")
        yield connection


@dataclass(frozen=True, slots=True)
class _Context:
    adapters: Any
    connection: None = None


_CONNECTION = {"context": _Context(row_adapters()), "cursor_factory": psycopg.AsyncRawCursor, "row_factory": dict_row}


@dataclass(slots=True)
class _Progress:
    """How far a call has come: what its end means depends on it."""

    phase: Phase = "statement"
    connected: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """A target with its connections."""

    name: str
    target: DbTarget
    pool: ConnectionPool

    async def transact(self, work: DbCall, *, timeout_s: float) -> Result:
        """Do the work in a transaction within the time. Raises HandlerError."""
        where, progress = f"target {self.name!r}", _Progress()
        try:
            return await self.pool.within(timeout_s, lambda: self._do(work, progress, timeout_s=timeout_s))
        except TimeoutError as error:
            if progress.phase == "commit":
                raise commit_timeout(where, timeout_s, repeatable=work.repeatable) from error
            if not progress.connected:
                raise absent(self.pool.absence(timeout_s), where=where) from error
            raise HandlerError("timeout", f"{where}: not done within {timeout_s:g} s", retryable=True) from error
        except NoConnection as error:
            raise absent(error, where=where) from error
        except psycopg.Error as error:
            raise failure_of(
                error,
                where=where,
                timeout_s=timeout_s,
                broken=progress.broken,
                phase=progress.phase,
                repeatable=work.repeatable,
            ) from error

    async def _do(self, work: DbCall, progress: _Progress, *, timeout_s: float) -> Result:
        clock = asyncio.get_running_loop().time
        until_s = clock() + timeout_s
        connection = await self.pool.take(wait_s=until_s - clock())
        progress.connected = True
        transaction = DbTransaction(connection, work.begins(until_s - clock()))
        try:
            result = await work.do(transaction, self.target)
            if not transaction.committed:
                progress.phase = "commit"
                await transaction.commit()
            return result
        finally:
            progress.broken = connection.broken or connection.closed
            await self.pool.put_back(connection, cleaning=transaction.cleaned())


def _conninfo(name: str, target: DbTarget) -> str:
    settings = {"application_name": target.application_name, "sslmode": target.sslmode, "client_encoding": "UTF8"}
    if target.sslmode.startswith("verify-"):
        settings["sslrootcert"] = target.tls_ca_file or ssl.get_default_verify_paths().cafile or "system"
    for key, secret in (("user", target.user), ("password", target.password)):
        if secret is not None:
            settings[key] = secret.get_secret_value()
    return conninfo(
        target.dsn.get_secret_value(),
        what=f"dsn of the db target {name!r}",
        connect_timeout_s=target.connect_timeout_s,
        **settings,
    )


@asynccontextmanager
async def db_handler(targets: Mapping[str, DbTarget]) -> AsyncIterator["DbHandler"]:
    """Yield the handler with a pool for each target; no connection is waited for. Raises InvalidDsn."""
    async with AsyncExitStack() as stack:
        opened = {
            name: await stack.enter_async_context(opened_target(name, target)) for name, target in targets.items()
        }
        yield DbHandler(opened)


class DbHandler:
    """Does statements on the targets. A Handler; used concurrently, and usable after any cancellation.

    Raises HandlerError by a code of `result_errors.ERRORS`, with the server's SQLSTATE and the constraint in `details`:

    - retryable, since nothing was done: `timeout`, `lock_timeout`, `unreachable`, `credentials_refused`,
      `pool_exhausted`, `connection_lost`, `overloaded`, `serialization_failure`, `deadlock_detected`.
    - retryable where the call reads only or is marked idempotent: `commit_unknown`.
    - not retryable: all others.
    """

    def __init__(self, targets: Mapping[str, OpenDatabase]) -> None:
        """Keep the opened targets by the names under which nodes know them."""
        self._targets = targets

    async def execute(self, call: HandlerCall, /) -> Result:
        """Do what the request says in one transaction, and give what came of it."""
        opened = self._targets.get(call.target or "")
        if opened is None:
            raise HandlerError("request_invalid", f"there is no db target {call.target!r}")
        return await opened.transact(work_of(call), timeout_s=call.timeout_s)
