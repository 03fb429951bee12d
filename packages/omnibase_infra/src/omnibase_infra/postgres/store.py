"""What the store `postgres` does: one statement a question, each its own transaction.

The table is created on first use. Times are the server's, so that the clocks of hosts need not agree.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg

from omnibase_infra.background_tasks import in_background
from omnibase_infra.postgres.connections import (
    Connection,
    ConnectionPool,
    NoConnection,
    PoolBounds,
    conninfo,
    opened_pool,
)
from omnibase_spi import Granted, Recorded, StoreFailed, Taken

_SWEEP_EVERY_S = 60.0
_SWEPT_AT_ONCE = 1000
_CREATING = 7_163_301_552
"""The number of the advisory lock under which the table is created: hosts that start together would collide."""

_CREATE = """
create table if not exists onex_idempotency (
    key text primary key,
    owner text not null,
    token bigserial,
    answer bytea,
    until timestamptz not null
);
create index if not exists onex_idempotency_until on onex_idempotency (until);
"""
# A key is claimed while `answer` is null, and recorded afterwards; either way it is free when `until` has passed.
_CLAIM = """
with claimed as (
    insert into onex_idempotency as it (key, owner, until)
    values (%(key)s, %(owner)s, clock_timestamp() + make_interval(secs => %(lease_s)s))
    on conflict (key) do update
    set owner = excluded.owner, token = excluded.token, answer = null, until = excluded.until
    where it.until <= clock_timestamp() or (it.answer is null and it.owner = excluded.owner)
    returning token
)
select token, null::bytea, null::float8 from claimed
union all
select null, answer, extract(epoch from until - clock_timestamp())::float8 from onex_idempotency
where key = %(key)s and not exists (select from claimed)
"""
_RECORD = """
insert into onex_idempotency as it (key, owner, answer, until)
values (%(key)s, %(owner)s, %(answer)s, clock_timestamp() + make_interval(secs => %(window_s)s))
on conflict (key) do update set answer = excluded.answer, until = excluded.until
where it.owner = excluded.owner
returning true
"""
_BOUND = "select set_config('statement_timeout', %s, false)"
_RELEASE = "delete from onex_idempotency where key = %(key)s and token = %(token)s and answer is null"
_SWEEP = """
delete from onex_idempotency where key in (
    select key from onex_idempotency where until <= clock_timestamp() limit %(limit)s for update skip locked
) returning true
"""


@asynccontextmanager
async def postgres_store(
    dsn: str, *, timeout_s: float, connections_max: int, sweep_every_s: float = _SWEEP_EVERY_S
) -> AsyncIterator["PostgresStore"]:
    """Yield the store with connections of its own; none is waited for here. Raises InvalidDsn."""
    settings = conninfo(dsn, what="idempotency.settings.dsn", connect_timeout_s=timeout_s)
    bounds = PoolBounds(connections_min=1, connections_max=connections_max, connect_timeout_s=timeout_s)

    async def bound(connection: Connection) -> None:
        await connection.execute(_BOUND, (f"{timeout_s * 1000:.0f}ms",))

    async with opened_pool(settings, bounds, connection={}, configure=bound) as pool:
        store = PostgresStore(pool, timeout_s=timeout_s)
        async with in_background("sweeping of the idempotency store", partial(_sweep, store, sweep_every_s)):
            yield store


class PostgresStore:
    """An IdempotencyStore. Safe for any number of hosts; what it has confirmed is as durable as the server makes it."""

    def __init__(self, pool: ConnectionPool, *, timeout_s: float) -> None:
        """Keep the pool; the table is looked at when first asked."""
        self._pool = pool
        self._timeout_s = timeout_s
        self._created = False

    async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
        """Take the key if it is free, or the owner's already."""
        rows = await self._ask(_CLAIM, {"key": key, "owner": owner, "lease_s": lease_s})
        if not rows:
            return Taken(0.0)  # It came or went under the statement: whoever asks again sees what it is now.
        [(token, answer, lease_left_s)] = rows
        if token is not None:
            return Granted(token)
        return Taken(max(lease_left_s, 0.0)) if answer is None else Recorded(answer)

    async def record(self, key: str, /, *, owner: str, answer: bytes, window_s: float) -> bool:
        """Keep the answer, unless the key is another's by now."""
        return bool(await self._ask(_RECORD, {"key": key, "owner": owner, "answer": answer, "window_s": window_s}))

    async def release(self, key: str, /, *, token: int) -> None:
        """Free the key, if it is still this claim's."""
        await self._ask(_RELEASE, {"key": key, "token": token})

    async def sweep(self) -> None:
        """Delete what is over, a thousand keys at a time. Hosts that do so at once do not wait for each other."""
        while await self._ask(_SWEEP, {"limit": _SWEPT_AT_ONCE}):
            pass

    async def _ask(self, statement: str, parameters: Mapping[str, object]) -> list[Any]:
        """Run one statement in bounded time and give its rows. Raises StoreFailed.

        The server bounds a statement by itself; this bounds the wait for a server that hangs.
        """
        try:
            return await self._pool.within(self._timeout_s * 2, lambda: self._run(statement, parameters))
        except TimeoutError as error:
            raise StoreFailed(f"PostgreSQL gave no answer within {self._timeout_s * 2:g} s") from error
        except NoConnection as error:
            raise StoreFailed(f"PostgreSQL: {error}") from error
        except psycopg.Error as error:
            raise StoreFailed(f"PostgreSQL: {' '.join(str(error).split()) or type(error).__name__}") from error

    async def _run(self, statement: str, parameters: Mapping[str, object]) -> list[Any]:
        connection = await self._pool.take(wait_s=self._timeout_s)
        try:
            if not self._created:
                await self._create(connection)
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []
        finally:
            await self._pool.put_back(connection)

    async def _create(self, connection: Connection) -> None:
        """Create the table where there is none: who may not create need not, once it is there."""
        found = await (await connection.execute("select to_regclass('onex_idempotency')")).fetchone()
        if found is None or found[0] is None:
            async with connection.transaction():
                await connection.execute("select pg_advisory_xact_lock(%s)", (_CREATING,))
                await connection.execute(_CREATE)
        self._created = True


async def _sweep(store: PostgresStore, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await store.sweep()
        except StoreFailed:
            continue  # The next round sweeps what this one could not.
