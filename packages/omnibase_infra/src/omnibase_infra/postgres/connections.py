"""Connections to PostgreSQL: how they are made, pooled, waited for and given up. What is asked is others' affair.

The handler `db` and the store `postgres` stand on this. It imports psycopg, which takes its time: so whoever stands on
it is imported only where a database is used.
"""

import asyncio
import logging
import re
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.waiting import wait_async
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from omnibase_core.errors import OnexError
from omnibase_core.semaphore import FairSemaphore

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]
Absence = Literal["unreachable", "refused", "busy", "silent", "closed"]
"""Why there is no connection: none can be made, the server does not take the user or the password, all have work, the
server says nothing, or the pool is closed."""

_CLOSING_S = 1.0
_TAKING_BACK_S = 2.0
_CLEANING_S = 2.0
_POLL_S = 0.1
_APPLICATION = "onex-runtime-host"
# libpq gives no code for it. A server that speaks another language is merely unreachable.
_REFUSED = re.compile(r"authentication failed|no password supplied")


class InvalidDsn(OnexError):
    """A connection string that libpq cannot read. The message does not repeat it: a password could stand in it."""

    code = "invalid_dsn"


class NoConnection(Exception):
    """There was no connection to be had. The message says why, and holds neither user nor password."""

    def __init__(self, absence: Absence, message: str) -> None:
        """Take of what kind that is."""
        super().__init__(message)
        self.absence = absence


def conninfo(dsn: str, *, what: str, connect_timeout_s: float, **settings: str) -> str:
    """Return libpq's settings: the `dsn`, bounds for connecting, and others that win over the `dsn`.

    Raises InvalidDsn, which calls the `dsn` `what`.
    """
    bounds: dict[str, Any] = {
        "connect_timeout": max(2, round(connect_timeout_s)),  # libpq takes less for two seconds
        "tcp_user_timeout": round(connect_timeout_s * 1000),
        "keepalives_idle": 10,
    }
    try:
        name = conninfo_to_dict(dsn).get("application_name", _APPLICATION)
        return make_conninfo(dsn, **{"application_name": name, **bounds, **settings})
    except psycopg.ProgrammingError:
        # Not chained: that error repeats a part of the text.
        raise InvalidDsn(f"{what} is not a connection string; expected postgresql://host:port/database") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBounds:
    """How many connections a pool holds, and for how long; `connect_timeout_s` bounds an attempt at one."""

    connections_min: int = 0
    connections_max: int
    connect_timeout_s: float
    lifetime_max_s: float = 3600.0
    idle_max_s: float = 600.0


@asynccontextmanager
async def opened_pool(
    conninfo: str,
    bounds: PoolBounds,
    *,
    connection: Mapping[str, Any],
    configure: Callable[[Connection], Awaitable[None]] | None = None,
) -> AsyncIterator["ConnectionPool"]:
    """Yield a pool: no connection is waited for. `connection` is how psycopg makes each and `configure` prepares it.

    Closing waits for what somebody still waits for, which ends in its own time, and for nothing else.
    """
    # What goes wrong is raised to whoever asks, and told in the host's own log.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    connector = Connector(connection)
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        conninfo,
        connection_class=connector,  # type: ignore[arg-type] # the pool asks for `connect` and nothing else
        min_size=bounds.connections_min,
        max_size=bounds.connections_max,
        timeout=bounds.connect_timeout_s,
        # An attempt to connect that is given up soon is made anew by the next call: a server that is back is found.
        reconnect_timeout=bounds.connect_timeout_s,
        max_lifetime=bounds.lifetime_max_s,
        max_idle=bounds.idle_max_s,
        configure=configure,
        open=False,
    )
    await pool.open(wait=False)
    opened = ConnectionPool(pool, connector, bounds)
    try:
        yield opened
    finally:
        await opened.close()


@dataclass(slots=True)
class Connector:
    """Connects, and keeps why that failed the last time: the pool tells nobody."""

    options: Mapping[str, Any]
    reason: str = ""
    closed: bool = False
    attempts: set["asyncio.Task[Connection]"] = field(default_factory=set)

    async def connect(self, conninfo: str, **_: Any) -> Connection:
        """Return a connection. Raises psycopg.Error."""
        attempt = asyncio.create_task(_connected(conninfo, self.options))
        self.attempts.add(attempt)
        attempt.add_done_callback(self.attempts.discard)
        try:
            connection = await attempt
        except psycopg.Error as error:
            self.reason = _told(error, conninfo)
            raise
        except asyncio.CancelledError:
            if self.closed:
                raise psycopg.OperationalError("closed") from None
            raise
        self.reason = ""
        return connection

    def absence(self) -> NoConnection:
        """Describe why the last attempt failed."""
        return NoConnection("refused" if _REFUSED.search(self.reason) else "unreachable", self.reason)

    def close(self) -> None:
        """Abandon what is being connected."""
        self.closed = True
        for attempt in self.attempts:
            attempt.cancel()


class ConnectionPool:
    """Connections to one database, and what is done on them.

    Each thing is done in a task of its own, which outlives whoever waits for it where it has to: psycopg waits up to
    ten seconds for a server to take back what it was asked.
    """

    def __init__(self, pool: "AsyncConnectionPool[Any]", connector: Connector, bounds: PoolBounds) -> None:
        """Stand on an opened pool."""
        self._pool = pool
        self._connector = connector
        self._bounds = bounds
        self._doing: set[asyncio.Task[Any]] = set()
        self._awaited: set[asyncio.Task[Any]] = set()
        self._taken: set[Connection] = set()
        self._returning: set[asyncio.Task[Any]] = set()
        """What cleans its connection or gives it back just now, which must not be cut short."""
        self._places = FairSemaphore(bounds.connections_max)
        """Who waits for a connection waits here: the pool's own line takes a task for each."""
        self._closed = False

    async def within(self, timeout_s: float, doing: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something and give what comes of it. Raises TimeoutError where it is not done in time, NoConnection.

        What nobody waits for any more is taken back at the server, and let go where the server does not heed that.
        """
        if self._closed:
            raise NoConnection("closed", "the connections are closed")
        task = asyncio.create_task(doing())
        self._doing.add(task)
        self._awaited.add(task)
        task.add_done_callback(self._done)
        try:
            await self._ended(task, timeout_s)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            self._awaited.discard(task)
            if not task.done():
                self._give_up(task)
                asyncio.get_running_loop().call_later(_TAKING_BACK_S, self._give_up, task)

    @staticmethod
    async def _ended(task: "asyncio.Task[Any]", timeout_s: float) -> None:
        """Wait for a task, for so long; as `asyncio.wait` does, for a third of what that costs."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def end(_: object = None) -> None:
            if not ended.done():
                ended.set_result(None)

        timer = loop.call_later(timeout_s, end)
        task.add_done_callback(end)
        try:
            await ended
        finally:
            timer.cancel()

    def _give_up(self, task: "asyncio.Task[Any]") -> None:
        """Cancel a task, but not where it gives its connection back: that waits for nobody."""
        if task not in self._returning:
            task.cancel()

    async def take(self, *, wait_s: float) -> Connection:
        """Return a connection that is well, as far as is known here, and has to be put back. Raises NoConnection."""
        wait_s = max(0.001, min(wait_s, self._bounds.connect_timeout_s))
        until_s = asyncio.get_running_loop().time() + wait_s
        if not self._places.take():
            try:
                async with asyncio.timeout_at(until_s):
                    await self._places.wait()
            except TimeoutError as error:
                raise self.absence(wait_s) from error
            wait_s = max(0.001, until_s - asyncio.get_running_loop().time())
        try:
            connection: Connection = await self._pool.getconn(timeout=wait_s)
            while _has_died(connection):
                await self._pool.putconn(connection)  # It is thrown away.
                connection = await self._pool.getconn(timeout=max(0.001, until_s - asyncio.get_running_loop().time()))
        except BaseException as error:
            self._places.give_back()
            if isinstance(error, PoolTimeout):
                raise self.absence(wait_s) from error
            if isinstance(error, PoolClosed):
                raise NoConnection("closed", "the connections are closed") from error
            raise
        self._taken.add(connection)
        return connection

    async def put_back(self, connection: Connection, *, cleaning: PQGen[None] | None = None) -> None:
        """Take a connection back; one that is broken is thrown away, and so is one whose `cleaning` fails.

        Nobody waits for the cleaning: a task of its own reads what the server has not answered yet.
        """
        try:
            if cleaning is not None:
                next(cleaning)
                self._clean(connection, cleaning)
                return
        except StopIteration:
            pass
        except psycopg.Error:
            await connection.close()
        await self._return(connection)

    def _clean(self, connection: Connection, cleaning: PQGen[None]) -> None:
        task = asyncio.create_task(self._cleaned(connection, cleaning))
        self._doing.add(task)
        self._returning.add(task)
        task.add_done_callback(self._done)

    async def _cleaned(self, connection: Connection, cleaning: PQGen[None]) -> None:
        is_clean = False
        try:
            async with asyncio.timeout(_CLEANING_S):
                # The generator has been started: resumed without anything to read, it repeats what it waits for.
                await wait_async(cleaning, connection.pgconn.socket, _POLL_S)
            is_clean = True
        except (psycopg.Error, TimeoutError):
            pass  # It is replaced by a new connection, and whoever called has the result already.
        finally:
            if not is_clean:
                await connection.close()
            await self._return(connection)

    async def _return(self, connection: Connection) -> None:
        self._taken.discard(connection)
        task = asyncio.current_task()
        if task is not None:
            self._returning.add(task)
        try:
            await self._pool.putconn(connection)
        finally:
            self._places.give_back()
            self._returning.discard(task)

    def absence(self, waited_s: float) -> NoConnection:
        """Describe why there was no connection in that time."""
        if self._connector.reason:
            return self._connector.absence()
        if len(self._taken) >= self._bounds.connections_max:
            busy = f"all {self._bounds.connections_max} connections were busy for {waited_s:g} s (connections_max)"
            return NoConnection("busy", busy)
        return NoConnection("silent", f"no connection within {waited_s:g} s")

    async def close(self) -> None:
        """Close the connections, when what is awaited has ended; what nobody waits for is taken back."""
        self._closed = True
        try:
            while self._awaited:
                await asyncio.wait(set(self._awaited))
            await self._let_go()
        finally:
            self._connector.close()
            await self._pool.close(timeout=_CLOSING_S)

    async def _let_go(self) -> None:
        for _ in range(2):
            # The first time asks the server to stop; the second does not wait for it.
            for task in self._doing:
                self._give_up(task)
            if self._doing:
                await asyncio.wait(set(self._doing), timeout=_CLOSING_S / 2)
        if self._returning:
            # These end by themselves within that time.
            await asyncio.wait(set(self._returning), timeout=_CLEANING_S)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        """Let go of a task; how one ended that was given up is of no interest."""
        self._doing.discard(task)
        self._awaited.discard(task)
        if not task.cancelled():
            task.exception()


def _has_died(connection: Connection) -> bool:
    """Look whether the server has ended a connection while it was idle: then its last words wait to be read."""
    waiting = select.poll()
    waiting.register(connection.pgconn.socket, select.POLLIN)
    try:
        while waiting.poll(0):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


async def _connected(conninfo: str, options: Mapping[str, Any]) -> Connection:
    # Nothing is begun by itself. A plan that is kept breaks when a table changes.
    return await psycopg.AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=None, **options)


def _told(error: psycopg.Error, conninfo: str) -> str:
    """Return libpq's reason in one line. It names the user, which may be a secret."""
    text = " ".join(str(error).split())
    for secret in (conninfo_to_dict(conninfo).get(name) for name in ("user", "password")):
        text = text.replace(f'"{secret}"', '"..."') if secret else text
    return text
