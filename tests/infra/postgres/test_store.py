"""The store in PostgreSQL when the server is away, frozen or strict, and what it leaves in the table."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from omnibase_core.errors import StoreFailed
from omnibase_core.idempotency_store import Granted, Recorded
from omnibase_infra.postgres.connections import InvalidDsn
from omnibase_infra.postgres.store import PostgresStore, postgres_store
from tests.support.postgres import Postgres

TIMEOUT_S = 1.0


@asynccontextmanager
async def opened(dsn: str, **options: Any) -> AsyncIterator[PostgresStore]:
    """Open a store that is not patient."""
    async with postgres_store(dsn, timeout_s=TIMEOUT_S, connections_max=3, **options) as store:
        yield store


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario."""
    asyncio.run(scenario())


async def claim(store: PostgresStore, key: str = "k", *, lease_s: float = 100) -> Any:
    """Claim a key."""
    return await store.claim(key, owner="a", lease_s=lease_s)


async def until_granted(store: PostgresStore, key: str) -> None:
    """Ask until the server is there again."""
    async with asyncio.timeout(30):
        while True:
            try:
                assert isinstance(await claim(store, key), Granted)
            except StoreFailed:
                await asyncio.sleep(0.1)
            else:
                return


def test_a_server_that_goes_away_fails_questions_soon_and_is_found_again(own_postgres: Postgres) -> None:
    """Killed and started again, with all that was recorded."""

    async def scenario() -> None:
        async with opened(own_postgres.dsn()) as store:
            assert isinstance(await claim(store), Granted)
            assert await store.record("k", owner="a", answer=b"done", window_s=100)
            own_postgres.kill()
            for _ in range(3):
                began_s = time.monotonic()
                with pytest.raises(StoreFailed, match="PostgreSQL"):
                    await claim(store)
                assert time.monotonic() - began_s < TIMEOUT_S * 2 + 1
            own_postgres.start()
            await until_granted(store, "other")
            assert await claim(store) == Recorded(b"done")

    play(scenario)


def test_a_server_that_comes_late_is_no_reason_to_fail(own_postgres: Postgres) -> None:
    """The store opens without it, and closes without it."""
    own_postgres.stop()

    async def scenario() -> None:
        async with opened(own_postgres.dsn()) as store:
            with pytest.raises(StoreFailed):
                await claim(store)
            own_postgres.start()
            await until_granted(store, "k")
        own_postgres.stop()
        async with opened(own_postgres.dsn()) as store:
            with pytest.raises(StoreFailed):
                await claim(store)

    play(scenario)


def test_a_server_that_hangs_is_given_up_in_time(own_postgres: Postgres) -> None:
    """It holds the connection and says nothing; when it comes to itself, it is asked again."""

    async def scenario() -> None:
        async with opened(own_postgres.dsn()) as store:
            assert isinstance(await claim(store), Granted)
            everybody = own_postgres.pids
            for pid in everybody:
                os.kill(pid, signal.SIGSTOP)
            began_s = time.monotonic()
            with pytest.raises(StoreFailed):
                await claim(store)
            assert time.monotonic() - began_s < TIMEOUT_S * 2 + 1
            for pid in everybody:
                os.kill(pid, signal.SIGCONT)
            await until_granted(store, "other")

    play(scenario)


def test_a_store_closes_soon_while_its_server_hangs(own_postgres: Postgres) -> None:
    """Nobody waits for what was asked and given up: a host has to stop in time."""

    async def scenario() -> None:
        async with opened(own_postgres.dsn()) as store:
            assert isinstance(await claim(store), Granted)
            for pid in own_postgres.pids:
                os.kill(pid, signal.SIGSTOP)
            with pytest.raises(StoreFailed):
                await claim(store)

    began_s = time.monotonic()
    play(scenario)
    took_s = time.monotonic() - began_s
    for pid in own_postgres.pids:
        os.kill(pid, signal.SIGCONT)
    assert took_s < TIMEOUT_S * 4 + 1


def test_hosts_that_start_together_create_one_table(postgres: Postgres, unique_slug: str) -> None:
    """None of them fails for the others."""
    dsn = postgres.create_database(unique_slug)

    async def one(number: int) -> None:
        async with opened(dsn) as store:
            assert isinstance(await claim(store, f"k{number}"), Granted)

    async def scenario() -> None:
        await asyncio.gather(*(one(number) for number in range(8)))

    play(scenario)


def test_who_may_not_create_a_table_can_use_one_that_is_there(postgres: Postgres, unique_slug: str) -> None:
    """An operator creates it, and grants rights on its rows alone."""
    dsn = postgres.create_database(unique_slug)

    async def as_owner() -> None:
        async with opened(dsn) as store:
            await claim(store, "first")

    play(as_owner)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create role {unique_slug} login")
        connection.execute("revoke create on schema public from public")
        connection.execute(f"grant select, insert, update, delete on onex_idempotency to {unique_slug}")
        connection.execute(f"grant usage on sequence onex_idempotency_token_seq to {unique_slug}")

    async def as_guest() -> None:
        async with opened(postgres.dsn(unique_slug, user=unique_slug)) as store:
            assert isinstance(await claim(store), Granted)

    play(as_guest)


def test_what_is_over_is_swept_and_the_rest_stays(postgres: Postgres, unique_slug: str) -> None:
    """More than one round's worth, by itself, while the store is open."""
    dsn = postgres.create_database(unique_slug)

    async def scenario() -> None:
        async with opened(dsn, sweep_every_s=0.3) as store:
            await claim(store, "stays")
            await store.record("stays too", owner="a", answer=b"", window_s=100)
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await connection.execute(
                    "insert into onex_idempotency (key, owner, until)"
                    " select n, '', now() from generate_series(1, 2500) as n"
                )
                await asyncio.sleep(2)
                rows = await (await connection.execute("select key from onex_idempotency order by 1")).fetchall()
            assert rows == [("stays",), ("stays too",)]

    play(scenario)


def test_a_connection_string_that_is_none_is_told_without_its_text() -> None:
    """A password could stand in it."""

    async def scenario() -> None:
        async with opened("postgresql://me:hunter2@[half"):
            pass

    with pytest.raises(InvalidDsn, match="expected postgresql://") as raised:
        play(scenario)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None
