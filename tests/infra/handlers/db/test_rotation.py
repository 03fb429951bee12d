"""A database whose password is changed while calls are under way: what a host needs of the handler to lose none."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from omnibase_infra.handlers.db import DbHandlerFactory, DbSettings, DbTarget
from omnibase_spi import Handler, HandlerCall, HandlerError
from tests.support.postgres import Postgres

USER = "rotated_user"
OLD, NEW = "the-password-of-yesterday", "the-password-of-today"
MODELS = DbHandlerFactory.description.operations
INSERT = "insert into done (n) values (%(n)s) on conflict (n) do nothing"


@asynccontextmanager
async def opened(server: Postgres, password: str, *, database: str = "postgres", **more: Any) -> AsyncIterator[Handler]:
    """Open the handler as the user with the password."""
    written = {
        "dsn": f"postgresql://127.0.0.1:{server.port}/{database}",
        "user": USER,
        "password": password,
        "sslmode": "disable",
        "connect_timeout_s": 2.0,
        **more,
    }
    targets = {"it": DbTarget.model_validate(written)}
    async with DbHandlerFactory().open(settings=DbSettings(), targets=targets) as handler:
        yield handler


async def ask(handler: Handler, operation: str, *, timeout_s: float = 10.0, **request: Any) -> Any:
    """Do a call."""
    model = MODELS[operation].request.model_validate(request)
    return await handler.execute(HandlerCall("db", operation, model, "it", timeout_s, UUID(int=1)))


def test_closing_waits_for_the_calls_that_are_under_way(own_postgres: Postgres) -> None:
    """They give their results; one that comes too late is told so, retryable."""
    own_postgres.create_user(USER, OLD)

    async def scenario() -> None:
        async with opened(own_postgres, OLD) as handler:
            slow = asyncio.create_task(ask(handler, "query", statement="select 7 as n from pg_sleep(1)"))
            await asyncio.sleep(0.3)
        assert slow.done()
        assert slow.result() == {"rows": [{"n": 7}], "row_count": 1}
        with pytest.raises(HandlerError) as refused:
            await ask(handler, "query", statement="select 1 as n")
        assert (refused.value.code, refused.value.retryable) == ("unreachable", True)

    asyncio.run(scenario())


def test_closing_waits_no_longer_than_the_time_of_a_call(own_postgres: Postgres) -> None:
    """One that the server does not end is given up when its time is over; one that was cancelled, at once."""
    own_postgres.create_user(USER, OLD)

    async def scenario() -> None:
        clock = asyncio.get_running_loop().time
        async with opened(own_postgres, OLD) as handler:
            slow = asyncio.create_task(ask(handler, "query", statement="select pg_sleep(30)", timeout_s=1.0))
            given_up = asyncio.create_task(ask(handler, "query", statement="select pg_sleep(30)", timeout_s=30.0))
            await asyncio.sleep(0.3)
            given_up.cancel()
            began_s = clock()
        assert clock() - began_s < 3
        assert slow.done()
        with pytest.raises(HandlerError, match="not done within 1 s"):
            await slow

    asyncio.run(scenario())


def test_a_login_that_is_refused_tells_neither_user_nor_password(
    own_postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Both may be secrets; that a password is wrong may pass, since it is just being changed."""
    own_postgres.create_user(USER, OLD)
    caplog.set_level(logging.DEBUG)

    async def scenario() -> HandlerError:
        async with opened(own_postgres, NEW, connect_timeout_s=0.5) as handler:
            with pytest.raises(HandlerError) as refused:
                await ask(handler, "query", statement="select 1 as n")
        return refused.value

    error = asyncio.run(scenario())
    assert (error.code, error.retryable) == ("credentials_refused", True)
    assert "password authentication failed" in str(error)
    told = f"{error} {error!r} {error.details} {caplog.text}"
    assert not [secret for secret in (USER, OLD, NEW) if secret in told]


def test_a_password_that_is_changed_under_load_loses_no_call(own_postgres: Postgres) -> None:
    """Changed, every session ended, and the handler opened anew: whatever fails is retryable, and then done."""
    own_postgres.create_user(USER, OLD)
    database = f"rotated_{uuid4().hex}"
    with psycopg.connect(own_postgres.create_database(database), autocommit=True) as connection:
        connection.execute("create table done (n int primary key)")

    async def scenario() -> int:
        serving: list[Handler] = []
        numbers = iter(range(100_000))
        stop = asyncio.Event()
        failed: list[HandlerError] = []

        async def work() -> int:
            done = 0
            while not stop.is_set():
                number = next(numbers)
                while True:
                    try:
                        await ask(serving[-1], "execute", statement=INSERT, parameters={"n": number}, idempotent=True)
                        break
                    except HandlerError as error:
                        failed.append(error)
                        await asyncio.sleep(0.05)
                done += 1
            return done

        async with opened(own_postgres, NEW, database=database) as new:
            async with opened(own_postgres, OLD, database=database, connections_max=4) as old:
                serving.append(old)
                working = [asyncio.create_task(work()) for _ in range(8)]
                await asyncio.sleep(0.5)
                await asyncio.to_thread(own_postgres.change_password, USER, NEW)
                await asyncio.to_thread(own_postgres.end_sessions, USER)
                await asyncio.sleep(0.3)
                assert not [task for task in working if task.done()]
                serving.append(new)
            await asyncio.sleep(0.5)
            stop.set()
            done = sum(await asyncio.gather(*working))
        assert failed
        assert [error for error in failed if not error.retryable] == []
        return done

    done = asyncio.run(scenario())
    with psycopg.connect(own_postgres.dsn(database)) as connection:
        assert connection.execute("select count(*) from done").fetchall() == [(done,)]
