"""The `db` handler against a real PostgreSQL: what comes back, what is refused, and what trouble does. No mocks."""

import asyncio
import base64
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from omnibase_infra.handlers.db import DbHandlerFactory, DbSettings, DbTarget
from omnibase_infra.handlers.db.result_errors import ERRORS
from omnibase_infra.postgres.connections import InvalidDsn
from omnibase_spi import Handler, HandlerCall, HandlerError
from tests.infra.handlers.db import attacks
from tests.support.postgres import Postgres
from tests.support.wire import Wire

TABLES = """
create table users (id int primary key, name text not null constraint users_name_key unique, doc jsonb, tags text[]);
create table orders (
    id int primary key,
    user_id int constraint orders_user_fkey references users,
    amount numeric constraint orders_amount_check check (amount > 0)
);
insert into users values (1, 'ada'), (2, 'grace');
"""


@pytest.fixture(scope="module")
def dsn(postgres: Postgres) -> str:
    """Return a database with some tables."""
    there = postgres.create_database(f"db_{uuid4().hex}")
    with psycopg.connect(there, autocommit=True) as connection:
        connection.execute(TABLES)
    return there


class Db:
    """An opened handler, asked as the runtime asks."""

    def __init__(self, handler: Handler) -> None:
        """Keep it."""
        self.handler = handler

    async def ask(self, operation: str, /, *, timeout_s: float = 10.0, **request: Any) -> Any:
        """Do a call."""
        model = DbHandlerFactory.description.operations[operation].request.model_validate(request)
        call = HandlerCall("db", operation, model, "it", timeout_s, UUID(int=1))
        result = await self.handler.execute(call)
        DbHandlerFactory.description.operations[operation].result.model_validate(result)
        return result

    async def rows(self, statement: str, **parameters: Any) -> Any:
        """Query."""
        return (await self.ask("query", statement=statement, parameters=parameters))["rows"]

    async def failure(self, operation: str, /, **request: Any) -> HandlerError:
        """Do a call that fails."""
        with pytest.raises(HandlerError) as raised:
            await self.ask(operation, **request)
        assert raised.value.code in ERRORS
        return raised.value


@asynccontextmanager
async def opened(dsn: str, **target: Any) -> AsyncIterator[Db]:
    """Open the handler on a database."""
    model = DbTarget.model_validate({"dsn": dsn, "sslmode": "disable", **target})
    async with DbHandlerFactory().open(settings=DbSettings(), targets={"it": model}) as handler:
        yield Db(handler)


def play(dsn: str, scenario: Callable[[Db], Awaitable[None]], **target: Any) -> None:
    """Run a scenario with an opened handler; no task is left behind."""

    async def whole() -> None:
        async with opened(dsn, **target) as db:
            await scenario(db)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


@pytest.fixture(scope="module")
def lasting(dsn: str) -> Iterator[Callable[[Callable[[Db], Awaitable[Any]]], Any]]:
    """Yield what runs many small scenarios on one opened handler."""
    with asyncio.Runner() as runner:
        context = opened(dsn)
        db = runner.run(context.__aenter__())
        yield lambda scenario: runner.run(_awaited(scenario, db))
        runner.run(context.__aexit__(None, None, None))


async def _awaited(scenario: Callable[[Db], Awaitable[Any]], db: Db) -> Any:
    return await scenario(db)


# --- Values -------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
steady = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _injected(test: Any) -> Any:
    for text in attacks.TEXTS:
        test = example(text)(test)
    return test


@_injected
@steady
@given(texts)
def test_any_text_comes_back_as_it_was_and_nothing_else_happens(lasting: Any, text: str) -> None:
    """In a scalar, in JSON, as a key of JSON, in an array, in a batch and in a copy; the tables are intact."""

    async def scenario(db: Db) -> None:
        values = "%(a)s::text as a, %(b)s::jsonb as b, %(c)s::text[] as c"
        [row] = await db.rows(f"select {values}", a=text, b={text: text}, c=[text, None, text])
        assert row == {"a": text, "b": {text: text}, "c": [text, None, text]}
        row_ = [7, text, {text: [text]}, [text]]
        assert (
            await db.ask("copy", table="users", columns=["id", "name", "doc::jsonb", "tags::text[]"], rows=[row_])
        ) == {"row_count": 1}
        assert await db.rows("select name, doc, tags from users where name = %(n)s", n=text) == [
            {"name": text, "doc": {text: [text]}, "tags": [text]}
        ]
        gone = await db.ask(
            "batch", statement="delete from users where name = %(n)s", parameter_sets=[{"n": text}, {"n": text}]
        )
        assert gone == {"row_count": 1}
        assert await db.rows("select id from users order by id") == [{"id": 1}, {"id": 2}]

    lasting(scenario)


@steady
@given(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-(10**30), max_value=10**30),
    st.uuids(),
    st.binary(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
def test_every_type_has_its_form(
    lasting: Any, integer: int, number: float, decimal: Any, uuid: UUID, data: bytes, moment: Any, day: Any, clock: Any
) -> None:
    """What goes in comes out: integers and doubles as numbers, all digits of a numeric as text, times in RFC 3339."""
    finite = number if math.isfinite(number) else str(number).replace("inf", "Infinity").replace("nan", "NaN")

    async def scenario(db: Db) -> None:
        [row] = await db.rows(
            "select %(i)s::bigint as i, %(f)s::float8 as f, %(d)s::numeric as d, %(u)s::uuid as u,"
            " decode(%(x)s, 'base64') as x, %(t)s::timestamptz as t, %(day)s::date as day, %(c)s::time as c,"
            " %(no)s::int as no, %(yes)s::boolean as yes, %(is)s::bigint[] as is",
            i=integer,
            f=finite,
            d=str(decimal),
            u=str(uuid),
            x=base64.b64encode(data).decode(),
            t=f"{moment.isoformat()}Z",
            day=day.isoformat(),
            c=clock.isoformat(),
            no=None,
            yes=True,
            **{"is": [integer, None]},
        )
        assert type(decimal)(row.pop("d")) == decimal
        assert datetime.fromisoformat(row.pop("t")) == moment.replace(tzinfo=UTC)
        assert datetime.strptime(row.pop("c").ljust(9, ".").ljust(15, "0"), "%H:%M:%S.%f").time() == clock  # noqa: DTZ007
        assert row == {
            "i": integer,
            "f": finite,
            "u": str(uuid),
            "x": base64.b64encode(data).decode(),
            "day": day.isoformat(),
            "no": None,
            "yes": True,
            "is": [integer, None],
        }

    lasting(scenario)


def test_values_are_written_alike_whatever_the_server_is_set_to(dsn: str) -> None:
    """Times in UTC, intervals in ISO 8601, all digits of a numeric; what has no other form is the server's text."""

    async def scenario(db: Db) -> None:
        [row] = await db.rows(
            "select timestamptz '2026-01-31 13:00:00.5+01' as t, timestamp 'infinity' as i,"
            " interval '1 day 2 hours' as d,"
            " 12345678901234567890.1234567890123456789 as n, int4range(1, 5) as r, array[[1, 2], [3, 4]] as a,"
            " inet '10.0.0.1' as ip, '{\"a\": [1, null]}'::jsonb as j, timestamp '2026-01-31 12:00' as l,"
            " row(1, 'x') as c"
        )
        assert row == {
            "t": "2026-01-31T12:00:00.5Z",
            "i": "infinity",
            "d": "P1DT2H",
            "n": "12345678901234567890.1234567890123456789",
            "r": "[1,5)",
            "a": [[1, 2], [3, 4]],
            "ip": "10.0.0.1",
            "j": {"a": [1, None]},
            "l": "2026-01-31T12:00:00",
            "c": "(1,x)",
        }

    play(f"{dsn}?options=-ctimezone%3DAsia/Tokyo%20-cdatestyle%3DGerman", scenario)


# --- Operations ---------------------------------------------------------------------------------------------------


def test_a_query_cannot_write(dsn: str) -> None:
    """Whatever a function that it calls would do: the transaction reads only."""

    async def scenario(db: Db) -> None:
        error = await db.failure("query", statement="select nextval('counter')")
        assert (error.code, error.retryable, error.details["sqlstate"]) == ("read_only", False, "25006")

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create sequence if not exists counter")
    play(dsn, scenario)


def test_a_transaction_is_all_or_nothing(dsn: str) -> None:
    """Results go by name; a statement that touches other rows than it expects undoes the ones before."""

    async def scenario(db: Db) -> None:
        add = {"statement": "insert into users values (%(id)s, %(n)s) returning id", "parameters": {"id": 5, "n": "x"}}
        stale = {"statement": "update users set name = 'y' where id = 99", "expect_rows": 1}
        error = await db.failure("transaction", statements={"add": add, "stale": stale})
        assert (error.code, error.details) == ("rows_unexpected", {"rows": 0, "expected": 1})
        assert await db.rows("select id from users where id = 5") == []
        gone = {"statement": "delete from users where id = 5", "expect_rows": 1}
        done = await db.ask("transaction", statements={"add": add, "gone": gone}, isolation="serializable")
        assert done["results"]["add"] == {"rows": [{"id": 5}], "row_count": 1}
        assert done["results"]["gone"] == {"rows": [], "row_count": 1}

    play(dsn, scenario)


def test_a_batch_is_all_or_nothing(dsn: str) -> None:
    """One set that is refused undoes the others; and a set has exactly the names of the placeholders."""

    async def scenario(db: Db) -> None:
        add = "insert into users values (%(id)s, %(n)s)"
        sets = [{"id": 8, "n": "x"}, {"id": 1, "n": "y"}]
        error = await db.failure("batch", statement=add, parameter_sets=sets)
        assert (error.code, error.details["constraint"]) == ("unique_violation", "users_pkey")
        assert await db.rows("select id from users where id = 8") == []
        assert (await db.failure("batch", statement=add, parameter_sets=[{"id": 8}])).code == "request_invalid"
        assert await db.ask("batch", statement=add, parameter_sets=[]) == {"row_count": 0}

    play(dsn, scenario)


def test_a_transaction_that_only_reads_cannot_write(dsn: str) -> None:
    """Not even through a function that its select calls; what it reads is one moment."""

    async def scenario(db: Db) -> None:
        reading = {"statement": "select count(*) as n from users"}
        writing = {"statement": "select add_user() as n"}
        error = await db.failure("transaction", statements={"one": reading, "two": writing}, read_only=True)
        assert (error.code, error.retryable) == ("read_only", False)
        waiting = {"statement": "select pg_sleep(0.4)"}
        statements = {"before": reading, "wait": waiting, "after": reading}
        both = asyncio.create_task(
            db.ask("transaction", statements=statements, read_only=True, isolation="repeatable read")
        )
        await asyncio.sleep(0.2)
        await db.ask("execute", statement="insert into users values (77, 'meanwhile')")
        results = (await both)["results"]
        assert results["before"] == results["after"]
        await db.ask("execute", statement="delete from users where id = 77")

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "create or replace function add_user() returns int language sql"
            " as $$ insert into users values (88, 'no') returning id $$"
        )
    play(dsn, scenario)


def test_rows_are_held_to_their_shape(dsn: str) -> None:
    """One that is not as `row` says is an error that names the column, and nothing was done."""

    async def scenario(db: Db) -> None:
        shape = {"id": "integer", "doc": ["object", "null"]}
        statement = "select id, doc from users order by id"
        assert len((await db.ask("query", statement=statement, row=shape))["rows"]) == 2
        error = await db.failure("query", statement=statement, row={"id": "integer", "doc": "object"})
        assert (error.code, error.retryable) == ("result_invalid", False)
        assert str(error) == "the column 'doc' is null; its shape says object; nothing was done"
        added = {"statement": "insert into users values (66, 'hidden') returning id, name", "row": {"id": "string"}}
        assert (await db.failure("execute", **added)).code == "result_invalid"
        error = await db.failure("transaction", statements={"add": {**added, "row": {"id": "integer", "name": "null"}}})
        assert error.code == "result_invalid"
        assert "hidden" not in str(error)
        assert await db.rows("select id from users where id = 66") == []

    play(dsn, scenario)


@pytest.mark.parametrize(
    ("json", "told"),
    [
        ("[" * 300 + "]" * 300, "nested too deeply"),
        (r'"\ud800"', "half a surrogate pair"),
        ("[1e400]", "beyond what a double can hold"),
    ],
    ids=["deep", "surrogate", "huge"],
)
def test_json_that_no_envelope_can_hold_is_refused(dsn: str, json: str, told: str) -> None:
    """Whoever wrote it into the table: it ends neither the handler nor the host."""

    async def scenario(db: Db) -> None:
        error = await db.failure("query", statement="select %(t)s::text::json as j", parameters={"t": json})
        assert (error.code, error.retryable) == ("result_invalid", False)
        assert told in str(error)

    play(dsn, scenario)


def test_a_procedure_is_called(dsn: str) -> None:
    """In the call's own transaction; what it gives back is a row."""

    async def scenario(db: Db) -> None:
        result = await db.ask("execute", statement="call twice(%(n)s)", parameters={"n": 21})
        assert result["rows"] == [{"n": 42}]

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "create or replace procedure twice(inout n int) language plpgsql as $$ begin n := n * 2; end $$"
        )
    play(dsn, scenario)


@pytest.mark.parametrize(
    ("statement", "code", "constraint"),
    [
        ("insert into users values (9, 'ada')", "unique_violation", "users_name_key"),
        ("insert into orders values (1, 77, 5)", "foreign_key_violation", "orders_user_fkey"),
        ("insert into orders values (1, 1, -4711)", "check_violation", "orders_amount_check"),
        ("insert into users values (9, null)", "not_null_violation", None),
        ("insert into users values (9, 'n', '{'::text::jsonb)", "data_invalid", None),
    ],
)
def test_a_violation_names_its_constraint_and_no_value(
    dsn: str, statement: str, code: str, constraint: str | None
) -> None:
    """Values of rows are nobody's affair but the database's."""

    async def scenario(db: Db) -> None:
        error = await db.failure("execute", statement=statement)
        assert (error.code, error.retryable, error.details.get("constraint")) == (code, False, constraint)
        assert "sqlstate" in error.details
        assert not [it for it in ("ada", "77", "4711", "'{'") if it in f"{error} {error.details}"]

    play(dsn, scenario)


def test_a_result_is_bounded(dsn: str) -> None:
    """In rows and in bytes; what is over is neither kept nor done, and the connection serves on."""

    async def scenario(db: Db) -> None:
        error = await db.failure("query", statement="select generate_series(1, 50000000)", timeout_s=5)
        assert (error.code, error.retryable) == ("result_too_large", False)
        assert "10 rows (rows_max of the target)" in str(error)
        assert len(await db.rows("select g from generate_series(1, 10) g")) == 10
        error = await db.failure("query", statement="select repeat('x', 1001) as x")
        assert "1000 bytes (result_bytes_max of the target)" in str(error)
        error = await db.failure(
            "execute", statement="insert into users select g, g::text from generate_series(100, 200) g returning id"
        )
        assert error.code == "result_too_large"
        assert await db.rows("select count(*) as n from users") == [{"n": 2}]

    play(dsn, scenario, rows_max=10, result_bytes_max=1000)


def test_a_number_where_a_time_is_due_is_told_with_what_to_write(dsn: str) -> None:
    """Seconds since 1970 are no time to PostgreSQL, and the message does not repeat the value."""

    async def scenario(db: Db) -> None:
        seconds = {"at": 1_795_000_000}
        error = await db.failure("query", statement="select %(at)s::timestamptz as at", parameters=seconds)
        assert (error.code, error.retryable) == ("data_invalid", False)
        assert "write to_timestamp(%(name)s)" in str(error)
        assert "1795" not in str(error)
        assert await db.rows("select to_timestamp(%(at)s) as at", at=1_795_000_000) == [{"at": "2026-11-18T11:06:40Z"}]

    play(dsn, scenario)


# --- Trouble ------------------------------------------------------------------------------------------------------


def test_two_transactions_that_cannot_both_be_serial(dsn: str) -> None:
    """One of them is refused as retryable, and then it works."""

    async def scenario(db: Db) -> None:
        statements = {
            "read": {"statement": "select count(*) as n from orders"},
            "wait": {"statement": "select pg_sleep(0.3)"},
            "write": {"statement": "insert into orders values (%(id)s, 1, 1)", "parameters": {"id": 0}},
        }

        async def insert(number: int) -> Any:
            write = {**statements["write"], "parameters": {"id": number}}
            return await db.ask("transaction", statements={**statements, "write": write}, isolation="serializable")

        outcomes = await asyncio.gather(insert(11), insert(12), return_exceptions=True)
        [error] = [it for it in outcomes if isinstance(it, BaseException)]
        assert isinstance(error, HandlerError)
        assert (error.code, error.retryable) == ("serialization_failure", True)
        await insert(11 if error is outcomes[0] else 12)
        assert await db.rows("select id from orders order by id") == [{"id": 11}, {"id": 12}]
        await db.ask("execute", statement="delete from orders")

    play(dsn, scenario)


def test_a_lock_that_does_not_come_is_told(dsn: str) -> None:
    """By the server, before the time of the call is over; nothing is left locked."""

    async def scenario(db: Db) -> None:
        with psycopg.connect(dsn) as other:
            other.execute("update users set name = name where id = 1")
            error = await db.failure("execute", statement="update users set name = 'z' where id = 1", timeout_s=0.5)
            assert (error.code, error.retryable, error.details["sqlstate"]) == ("lock_timeout", True, "55P03")

    play(dsn, scenario)


async def _running(dsn: str, text: str) -> int:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watching:
        query = "select count(*) from pg_stat_activity where state = 'active' and query = %s"
        [(count,)] = await (await watching.execute(query, (text,))).fetchall()
        return int(count)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await holds():  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("cancel", [True, False], ids=["cancelled", "past its time"])
def test_what_nobody_waits_for_is_ended_at_the_server(dsn: str, cancel: bool) -> None:  # noqa: FBT001 - a case
    """A statement whose call is cancelled, or is past its time, does not go on; the one connection serves the next."""
    slow = "select pg_sleep(30)"

    async def scenario(db: Db) -> None:
        began_s = time.monotonic()
        under_way = asyncio.create_task(db.ask("query", statement=slow, timeout_s=20 if cancel else 0.5))

        async def runs() -> bool:
            return await _running(dsn, slow) == 1

        async def ended() -> bool:
            return await _running(dsn, slow) == 0

        await _until(runs)
        if cancel:
            under_way.cancel()
        [outcome] = await asyncio.gather(under_way, return_exceptions=True)
        if not cancel:
            assert isinstance(outcome, HandlerError)
            assert (outcome.code, outcome.retryable) == ("timeout", True)
        await _until(ended)
        assert await db.rows("select 1 as n") == [{"n": 1}]
        assert time.monotonic() - began_s < 5

    play(dsn, scenario, connections_max=1)


def test_a_pool_that_is_busy_is_told(dsn: str) -> None:
    """A call waits no longer than it may for a connection, and says what it waited for."""

    async def scenario(db: Db) -> None:
        slow = asyncio.create_task(db.ask("query", statement="select pg_sleep(1)"))
        await asyncio.sleep(0.3)
        error = await db.failure("query", statement="select 1")
        assert (error.code, error.retryable) == ("pool_exhausted", True)
        assert str(error) == "target 'it': all 1 connections were busy for 0.2 s (connections_max)"
        await slow
        assert await db.rows("select 1 as n") == [{"n": 1}]

    play(dsn, scenario, connections_max=1, connect_timeout_s=0.2)


def test_a_session_that_is_ended_fails_its_call_as_retryable(dsn: str) -> None:
    """In the middle of a statement nothing was done; one that was ended while it was idle costs no call."""

    async def scenario(db: Db) -> None:
        slow = "select pg_sleep(20)"
        under_way = asyncio.create_task(db.failure("execute", statement=slow))

        async def runs() -> bool:
            return await _running(dsn, slow) == 1

        await _until(runs)
        _end_sessions(dsn)
        error = await under_way
        assert (error.code, error.retryable) == ("connection_lost", True)
        assert await db.rows("select 1 as n") == [{"n": 1}]
        _end_sessions(dsn)
        await asyncio.sleep(0.1)
        assert await db.rows("select 1 as n") == [{"n": 1}]

    play(dsn, scenario)


def _end_sessions(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'onex-runtime-host' and datname = current_database()"
        )


def test_a_server_that_is_killed_in_the_middle_is_back_when_it_is(own_postgres: Postgres) -> None:
    """What was under way is retryable; while it is away calls fail; afterwards the same handler serves."""

    async def scenario(db: Db) -> None:
        assert await db.rows("select 1 as n") == [{"n": 1}]
        under_way = asyncio.create_task(db.failure("execute", statement="select pg_sleep(20)"))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(own_postgres.kill)
        error = await under_way
        assert (error.code, error.retryable) == ("connection_lost", True)
        error = await db.failure("query", statement="select 1")
        assert (error.code, error.retryable) == ("unreachable", True)
        own_postgres.start()

        async def works() -> bool:
            with suppress(HandlerError):
                return bool(await db.rows("select 1 as n"))
            return False

        await _until(works)

    play(own_postgres.dsn(), scenario, connect_timeout_s=0.5)


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("silent", [False, True], ids=["broken", "silent"])
def test_a_lost_commit_is_repeated_only_where_it_may_be(
    postgres: Postgres,
    dsn: str,
    *,
    idempotent: bool,
    silent: bool,
) -> None:
    """The connection breaks, or says nothing more, when COMMIT was sent: nobody knows whether it is done."""

    async def whole() -> None:
        async with Wire(postgres.port).up() as wire:  # noqa: SIM117 - the wire's port is in the other's address
            async with opened(dsn.replace(f":{postgres.port}/", f":{wire.port}/")) as db:
                await db.rows("select 1 as n")
                insert = "insert into slow values (1)"
                lost = asyncio.create_task(
                    db.failure("execute", statement=insert, idempotent=idempotent, timeout_s=1.5 if silent else 5)
                )

                async def commits() -> bool:
                    return await _running(dsn, "commit") == 1

                await _until(commits)
                wire.stall() if silent else await wire.reset()
                error = await lost
                assert (error.code, error.retryable) == ("commit_unknown", idempotent)

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SLOW_COMMIT)
    asyncio.run(whole())


SLOW_COMMIT = """
drop table if exists slow;
create table slow (id int);
create or replace function doze() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$;
create constraint trigger dozing after insert on slow deferrable initially deferred
for each row execute function doze();
"""


def test_a_malformed_dsn_is_not_repeated() -> None:
    """A password could stand in it."""

    async def scenario() -> None:
        with pytest.raises(InvalidDsn, match="dsn of the db target 'it' is not a connection string") as refused:
            async with opened("s3cret hunter2"):
                pass
        assert "hunter2" not in str(refused.value)

    asyncio.run(scenario())
