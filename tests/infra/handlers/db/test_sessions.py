"""What one call does to its session is gone for the next call on the same connection, however the call ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.infra.handlers.db.test_db import Db, opened, play
from tests.support.postgres import Postgres
from tests.support.wire import Wire

SCHEMA = """
create table notes (n int primary key);
create role onex_session_role;
create function does(command text) returns int language plpgsql as $$ begin execute command; return 1; end $$;
"""
LEFT = """
select pg_backend_pid() as pid, current_setting('search_path') as setting, current_user as role,
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
    (select count(*) from pg_class where relpersistence = 't') as tables,
    (select count(*) from pg_listening_channels()) as channels,
    (select count(*) from pg_prepared_statements) as prepared,
    (select count(*) from pg_cursors where is_holdable) as cursors
"""
TRACES = {
    "a setting": "select set_config('search_path', 'somewhere', false) as x",
    "a role": "select set_config('role', 'onex_session_role', false) as x",
    "a lock": "select 1 as x from pg_advisory_lock(7)",
    "a table": "select does('create temporary table t (n int)') as x",
    "a channel": "select does('listen somebody') as x",
    "a statement": "select does('prepare p as select 1') as x",
    "a cursor": "select does('declare c cursor with hold for select 1') as x",
}


@pytest.fixture(scope="module")
def dsn(postgres: Postgres) -> Iterator[str]:
    """Yield a database whose functions do to a session whatever there is."""
    there = postgres.create_database(f"sessions_{uuid4().hex}")
    with psycopg.connect(there, autocommit=True) as connection:
        connection.execute(SCHEMA)
        yield there
        connection.execute("drop role onex_session_role")


async def _left(db: Db) -> dict[str, Any]:
    [row] = await db.rows(LEFT)
    return dict(row)


@pytest.mark.parametrize("operation", ["execute", "transaction", "batch"])
@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_call_leaves_nothing_in_its_session(dsn: str, trace: str, operation: str) -> None:
    """A call that was committed; the session stays the same."""
    request: dict[str, Any] = {
        "execute": {"statement": trace},
        "transaction": {"statements": {"one": {"statement": trace}}},
        "batch": {"statement": trace, "parameter_sets": [{}]},
    }[operation]

    async def scenario(db: Db) -> None:
        before = await _left(db)
        await db.ask(operation, **request)
        assert await _left(db) == before

    play(dsn, scenario, connections_max=1)


@pytest.mark.parametrize("trace", ["a setting", "a lock", "a statement", "a cursor"])
def test_a_query_leaves_nothing_in_its_session(dsn: str, trace: str) -> None:
    """Also what is allowed where a transaction only reads."""

    async def scenario(db: Db) -> None:
        before = await _left(db)
        await db.rows(TRACES[trace])
        assert await _left(db) == before

    play(dsn, scenario, connections_max=1)


@pytest.mark.parametrize(
    ("operation", "statement", "code"),
    [
        ("query", "select 1 / 0 from pg_advisory_lock(7)", "data_invalid"),
        ("execute", "select 1 / 0 from pg_advisory_lock(7)", "data_invalid"),
        ("query", "select generate_series(1, 1000000) from pg_advisory_lock(7)", "result_too_large"),
        ("execute", "select generate_series(1, 1000000) from pg_advisory_lock(7)", "result_too_large"),
        ("query", "select 1 from pg_advisory_lock(7), pg_sleep(9)", "timeout"),
        ("execute", "select 1 from pg_advisory_lock(7), pg_sleep(9)", "timeout"),
    ],
)
def test_a_call_that_fails_leaves_nothing_in_its_session(dsn: str, operation: str, statement: str, code: str) -> None:
    """A lock of a session outlives the rollback."""

    async def scenario(db: Db) -> None:
        before = await _left(db)
        error = await db.failure(operation, statement=statement, timeout_s=1.0)
        assert error.code == code
        assert await _left(db) == before

    play(dsn, scenario, connections_max=1)


@pytest.mark.parametrize("operation", ["query", "execute"])
def test_a_call_that_is_cancelled_leaves_nothing_in_its_session(dsn: str, operation: str) -> None:
    """What is given up is cleaned as well, or its connection is thrown away."""

    async def scenario(db: Db) -> None:
        statement = "select 1 from pg_advisory_lock(7), pg_sleep(9)"
        under_way = asyncio.create_task(db.ask(operation, statement=statement))
        await asyncio.sleep(0.3)
        under_way.cancel()
        [outcome] = await asyncio.gather(under_way, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
        assert (await _left(db))["locks"] == 0

    play(dsn, scenario, connections_max=1)


def test_a_commit_that_fails_leaves_nothing_in_its_session(dsn: str) -> None:
    """The transaction is over by then, and the session is not."""

    async def scenario(db: Db) -> None:
        before = await _left(db)
        error = await db.failure("execute", statement="insert into late select 1 from pg_advisory_lock(7)")
        assert error.code == "unique_violation"
        assert await _left(db) == before

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table late (n int unique deferrable initially deferred)")
        connection.execute("insert into late values (1)")
    play(dsn, scenario, connections_max=1)


# --- Trouble with the cleaning itself -----------------------------------------------------------------------------


async def _until(watching: psycopg.Connection[Any], query: str, *, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while True:
            sessions = watching.execute(
                "select count(*) from pg_stat_activity where state = 'active' and datname = current_database()"
                " and query = %s",
                (query,),
            ).fetchone()
            if sessions == (count,):
                return
            await asyncio.sleep(0.02)


async def _held(db: Db, dsn: str, scenario: Callable[[int], Awaitable[None]], *, timeout_ms: int = 0) -> None:
    """Do a call that leaves a table which its session cannot drop, since another session holds what that needs."""
    wait = "select set_config('statement_timeout', %(ms)s, false) as x from pg_sleep(0.5)"
    statements = {
        "pid": {"statement": "select pg_backend_pid() as pid"},
        "table": {"statement": TRACES["a table"]},
        "wait": {"statement": wait, "parameters": {"ms": str(timeout_ms)}},
    }
    with psycopg.connect(dsn, autocommit=True) as watching, psycopg.connect(dsn) as holding:
        under_way = asyncio.create_task(db.ask("transaction", statements=statements))
        await _until(watching, wait.replace("%(ms)s", "$1"))
        holding.execute("lock table pg_depend in share mode")
        result = await under_way
        await _until(watching, "discard all")  # The result is there, and the session is still being cleaned.
        await scenario(result["results"]["pid"]["rows"][0]["pid"])


@pytest.mark.parametrize("timeout_ms", [500, 0], ids=["refused", "late"])
def test_a_session_that_cannot_be_cleaned_serves_nobody(dsn: str, timeout_ms: int) -> None:
    """Whoever called has the result; the next call gets a new connection."""

    async def scenario(db: Db) -> None:
        async def next_call(pid: int) -> None:
            assert (await _left(db))["pid"] != pid

        await _held(db, dsn, next_call, timeout_ms=timeout_ms)

    play(dsn, scenario, connections_max=1)


def test_a_session_that_is_lost_while_it_is_cleaned_is_replaced(postgres: Postgres, dsn: str) -> None:
    """Whoever called has the result; the next call gets a new connection, at once."""

    async def whole() -> None:
        async with Wire(postgres.port).up() as wire:  # noqa: SIM117 - the wire's port is in the other's address
            async with opened(dsn.replace(f":{postgres.port}/", f":{wire.port}/"), connections_max=1) as db:

                async def next_call(pid: int) -> None:
                    await wire.reset()
                    began_s = time.monotonic()
                    assert (await _left(db))["pid"] != pid
                    assert time.monotonic() - began_s < 1

                await _held(db, dsn, next_call)

    asyncio.run(whole())


def test_closing_waits_for_no_cleaning_that_does_not_end(dsn: str) -> None:
    """The connection is closed, and nothing is left behind."""

    async def scenario(db: Db) -> None:
        async def nothing(_: int) -> None:
            pass

        await _held(db, dsn, nothing)

    began_s = time.monotonic()
    play(dsn, scenario, connections_max=1)
    assert time.monotonic() - began_s < 5
