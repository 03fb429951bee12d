"""Databases: times, arrays, bytes and enums both ways, and statements as other drivers write them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.casework import Failure, Number, Told, as_written, check_tells, serve, told
from tests.support.postgres import Postgres

Database = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def dsn(postgres: Postgres) -> str:
    """Return a database with the tables of the cases."""
    found = postgres.create_database("cases")
    with psycopg.connect(found, autocommit=True) as connection:
        connection.execute("create type mood as enum ('ok', 'sad')")
        connection.execute("create table moments (at timestamptz, day date, span interval)")
        connection.execute("create table things (ids bigint[], tags text[], data bytea, mood mood, id uuid)")
    return found


@pytest.fixture
def database(dsn: str) -> Database:
    """Return what sends commands to a node of the database, and returns the answers."""
    more = f'handlers: {{db: {{targets: {{pg: {{dsn: "{dsn}", sslmode: disable}}}}}}}}\n'.replace("postgres@", "")
    more = more.replace("sslmode:", 'user: postgres, password: "${secret.PG}", sslmode:')
    return lambda node, *payloads: serve(
        node, *map(json.dumps, payloads or [{}]), more=more, secrets={"PG": "any-will-do"}
    )


def asks(statement: str, parameters: str = "{}", *, call: str = "query") -> str:
    """Write a node of one statement."""
    lines = "".join(f"        {line}\n" for line in statement.splitlines())
    return f"""
handler: db
target: pg
operations:
  go:
    input: {{type: object}}
    call: {call}
    request:
      statement: |
{lines}      parameters: {parameters}
    answer: {{rows: "${{ result.rows }}", count: "${{ result.row_count }}"}}
delivery: {{timeout_s: 5, retry: {{attempts: 1}}}}
"""


def row(node_answer: Any) -> Any:
    """Return the only row of an answer."""
    [found] = node_answer["rows"]
    return found


# --- Times --------------------------------------------------------------------------------------------------------

MOMENTS = {
    "'infinity'::timestamptz": "infinity",
    "'-infinity'::date": "-infinity",
    "'0044-03-15 BC'::date": "0044-03-15 BC",
    "'12000-01-01'::timestamp": "12000-01-01T00:00:00",
    "'294276-12-31 23:59:59.999999'::timestamp": "294276-12-31T23:59:59.999999",
    "'2026-07-01 12:00+02'::timestamptz": "2026-07-01T10:00:00Z",
    "'24:00'::time": "24:00:00",
    "'12:30:00+05:30'::timetz": "12:30:00+05:30",
    "'1 year 2 mons -3 days 04:05:06.7'::interval": "P1Y2M-3DT4H5M6.7S",
    "'-1 day'::interval": "P-1D",
    "'0'::interval": "PT0S",
}


def test_every_time_that_postgresql_holds_comes_as_text(database: Database) -> None:
    """Also what no datetime of Python holds: infinity, years BC and beyond 9999, 24:00 and every interval.

    Source: psycopg/psycopg#315, psycopg/psycopg#1251, psycopg/psycopg2#1345, mfenniak/pg8000#28
    """
    columns = ", ".join(f"{moment} as c{number}" for number, moment in enumerate(MOMENTS))
    [answer] = database(asks(f"select {columns}"))
    assert dict(zip(MOMENTS, row(answer).values(), strict=True)) == MOMENTS


PUT_MOMENT = asks(
    "insert into moments (at, day, span) values (%(at)s, %(day)s, %(span)s) returning at, day, span",
    '{at: "${ payload.at }", day: "${ payload.day }", span: "${ payload.span }"}',
    call="execute",
)
TAKEN = {
    "2026-07-01T12:00:00.123456789+02:00": ("2026-02-28", "P1DT2H", "2026-07-01T10:00:00.123457Z"),
    "2026-03-29T02:30:00": ("20260228", "1 day 2 hours", "2026-03-29T02:30:00Z"),
    "infinity": ("2026-02-28", "PT26H", "infinity"),
}


@pytest.mark.parametrize(("at", "others"), TAKEN.items(), ids=list(TAKEN))
def test_a_text_that_is_a_time_is_taken(database: Database, at: str, others: tuple[str, str, str]) -> None:
    """Nanoseconds are rounded as PostgreSQL does it, and a time without a zone is one of the session, in UTC.

    Source: psycopg/psycopg#221, psycopg/psycopg#1251
    """
    day, span, expected = others
    [answer] = database(PUT_MOMENT, {"at": at, "day": day, "span": span})
    found = row(answer)
    assert (found["at"], found["day"]) == (expected, "2026-02-28")
    assert found["span"] in ("P1DT2H", "PT26H")


@pytest.mark.parametrize("at", ["2026-02-30T00:00:00Z", "", "soon", 1_795_000_000])
def test_what_is_no_time_is_data_that_is_invalid(database: Database, at: Any) -> None:
    """The 30th of February, nothing, a word, and a number.

    Source: psycopg/psycopg#221, mfenniak/pg8000#28
    """
    [answer] = database(PUT_MOMENT, {"at": at, "day": "2026-02-28", "span": "P1D"})
    assert answer == Failure("data_invalid", "")


def test_seconds_where_a_time_is_due_are_told_with_what_to_write(database: Database) -> None:
    """What it says to write works.

    Source: psycopg/psycopg#221, mfenniak/pg8000#28
    """
    seconds = {"at": 1_795_000_000, "day": "2026-02-28", "span": "P1D"}
    [answer] = database(PUT_MOMENT, seconds)
    assert "for seconds since 1970 write to_timestamp(%(name)s)" in answer.message
    [taken] = database(PUT_MOMENT.replace("%(at)s", "to_timestamp(%(at)s)"), seconds)
    assert row(taken)["at"] == "2026-11-18T11:06:40Z"


# --- Arrays, bytes, enums -----------------------------------------------------------------------------------------

VALUES = {
    "array[1, null, 3]": "[1, null, 3]",
    "'{}'::int[]": "[]",
    "array[[1, 2], [3, 4]]": "[[1, 2], [3, 4]]",
    "'{NULL,NULL}'::text[]": "[null, null]",
    "'[2:4]={7,8,9}'::int[]": "[7, 8, 9]",
    "array['a,b', 'c\"d', 'e\\f', '']": '["a,b", "c\\"d", "e\\\\f", ""]',
    "array[true, false]": "[true, false]",
    "array['2026-01-01'::date]": '["2026-01-01"]',
    "array[1.10::numeric, 'NaN']": '["1.10", "NaN"]',
    "'\\xdeadbeef'::bytea": '"3q2+7w=="',
    "''::bytea": '""',
    "'ok'::mood": '"ok"',
    "uuid 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'": '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"',
    "int4range(1, 5)": '"[1,5)"',
    "row(1, 'a')": '"(1,a)"',
    "'10.0.0.1/8'::inet": '"10.0.0.1/8"',
    "B'101'": '"101"',
}


def test_every_value_that_postgresql_holds_has_a_form_in_json(database: Database) -> None:
    """Arrays are lists, bytes are base64, and what JSON has no form for is the text that PostgreSQL shows.

    Source: psycopg/psycopg2#285, psycopg/psycopg2#1702, psycopg/psycopg2#325, porsager/postgres#127
    """
    columns = ", ".join(f"{value} as c{number}" for number, value in enumerate(VALUES))
    [answer] = database(asks(f"select {columns}"))
    expected = {value: as_written(text) for value, text in VALUES.items()}
    assert dict(zip(VALUES, row(answer).values(), strict=True)) == expected


PUT_THING = asks(
    "insert into things values (%(ids)s::bigint[], %(tags)s::text[], decode(%(data)s, 'base64'), %(mood)s, %(id)s)\n"
    "returning *",
    "{" + ", ".join(f'{name}: "${{ payload.{name} }}"' for name in ("ids", "tags", "data", "mood", "id")) + "}",
    call="execute",
)
NOTHING = {"ids": None, "tags": None, "data": None, "mood": None, "id": None}


def test_a_value_comes_back_as_it_was_put(database: Database) -> None:
    """Nulls in a list, empty lists, commas, quotes and the word NULL in texts, bytes, an enum and a uuid.

    Source: psycopg/psycopg2#285, psycopg/psycopg2#325, oven-sh/bun#41889
    """
    thing = {
        "ids": [],
        "tags": ["a,b", 'c"d', "e\\f", "", "NULL", "é", None],
        "data": "AAEC/w==",
        "mood": "ok",
        "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    }
    first, second = database(PUT_THING, thing, {**NOTHING, "ids": [1, None]})
    assert row(first) == thing
    assert row(second) == {**NOTHING, "ids": [Number("1"), None]}


MISFITS = {"mood": "happy-at-home", "id": "not-a-uuid-at-all", "data": "not base64 at all!"}


@pytest.mark.parametrize(("name", "value"), MISFITS.items(), ids=list(MISFITS))
def test_a_value_that_is_none_of_its_type_is_data_that_is_invalid(database: Database, name: str, value: str) -> None:
    """The error does not repeat it: values of a payload have no place in logs.

    Source: psycopg/psycopg2#1702, porsager/postgres#127
    """
    [answer] = database(PUT_THING, {**NOTHING, name: value})
    assert answer == Failure("data_invalid", "")
    assert value not in answer.message + str(answer.details)


def test_an_array_takes_a_list(database: Database) -> None:
    """A text with commas is none.

    Source: oven-sh/bun#41889
    """
    [answer] = database(PUT_THING, {**NOTHING, "ids": "1,2"})
    assert answer == Failure("request_invalid", "")
    assert "ids: an array takes a list" in answer.message


# --- Statements ---------------------------------------------------------------------------------------------------

SERVED = {
    "select 10 % 3 as a, 'a%b' like 'a%' as b, '100%'::text as c": '{"a": 1, "b": true, "c": "100%"}',
    "select '{\"a\":1}'::jsonb ? 'a' as a, '{\"a\":1}'::jsonb ?| array['b'] as b": '{"a": true, "b": false}',
    "select $$it's $1$$ as a": '{"a": "it\'s $1"}',
    "select 1 as a; ": '{"a": 1}',
    "select 1 as a -- ; and a %\n/* ; */": '{"a": 1}',
    "select 1 as a where now() > now() - make_interval(days => %(d)s)": '{"a": 1}',
    "select 1 as a limit %(d)s": '{"a": 1}',
    "select 2 as a where 5 = any(%(ids)s::int[])": '{"a": 2}',
}


@pytest.mark.parametrize(("statement", "expected"), SERVED.items(), ids=list(SERVED))
def test_signs_of_sql_mean_what_they_mean_in_sql(database: Database, statement: str, expected: str) -> None:
    """A percent sign, a question mark, dollar quotes, comments and a last semicolon need nothing.

    Source: redpanda-data/connect (sql_raw), psycopg (percent signs, lists)
    """
    bound = [f'{name}: "${{ payload.{name} }}"' for name in ("d", "ids") if f"%({name})s" in statement]
    [answer] = database(asks(statement, f"{{{', '.join(bound)}}}"), {"d": 1, "ids": [4, 5]})
    assert row(answer) == as_written(expected)


A = "{a: 1}"
TOLD = {
    "select :a as a": (A, told("bad-request", ":a", "found :a", "%(name)s")),
    "select $1 as a": (A, told("bad-request", "$1", "found $1", "%(name)s")),
    "select %s as a": (A, told("bad-request", "%s", "found %s", "%(name)s")),
    "select '%(a)s' as a": (A, told("bad-request", "%(a)s", "stands in quotes", "without quotes")),
    "select now() - interval '%(a)s days' as a": (A, told("bad-request", "%(a)s", "stands in quotes")),
    "select 1 as a -- %(a)s": (A, told("bad-request", "%(a)s", "in a comment")),
    "select * from %(a)s": (A, told("bad-request", "%(a)s", "not for the name of a table", "write the name out")),
    "select 1 as b where 1 in %(a)s": (A, told("bad-request", "%(a)s", "= any(%(a)s::bigint[])", "in place of in")),
    "select ${ payload.a } as a": ("{}", told("bad-request", "|", "is fixed by its contract", "%(name)s")),
    "select %(a)s::int as a, %(b)s::int as b": (A, told("bad-request", "{", "nothing is bound to %(b)s")),
    "select 1 as a": (A, told("bad-request", "1", "parameter 'a' is not used")),
    "select 1; select 2": ("{}", told("bad-request", "select 2", "found 2 statements", "transaction")),
    "select 1 as a, 2 as a": ("{}", told("bad-request", "|", "two columns are named 'a'", "by 'as'")),
    "select 1 as a into b": ("{}", told("bad-request", "select", "select ... into makes a table")),
    "select 1 as a from b for update": ("{}", told("bad-request", "select", "locks rows", "call: execute")),
    "with d as (delete from b returning *) select 1 as a": ("{}", told("bad-request", "with", "call: execute")),
}
KINDS = ["begin", "set statement_timeout = 0", "explain select 1", "copy b to program 'id'", "do $$ begin end $$"]
TOLD |= {it: ("{}", told("bad-request", it[:2], "a statement of the kind", "expected select")) for it in KINDS}


@pytest.mark.parametrize(("statement", "expected"), TOLD.items(), ids=list(TOLD))
def test_a_statement_of_another_driver_is_told_with_what_to_write(
    statement: str, expected: tuple[str, Told], tmp_path: Path
) -> None:
    """One statement, with placeholders by name, that only reads where it says so; check proves each.

    Source: redpanda-data/connect (sql_raw), psycopg (percent signs, lists), porsager/postgres#127
    """
    parameters, problem = expected
    check_tells(asks(statement, parameters), problem, folder=tmp_path)


def test_a_list_without_the_type_of_its_array_is_told(tmp_path: Path) -> None:
    """PostgreSQL has to know it before it knows the list.

    Source: oven-sh/bun#41889, porsager/postgres#127
    """
    node = asks("select 1 as a from b where id = any(%(ids)s)", '{ids: "${ payload.ids }"}').replace(
        "{type: object}", "{type: object, required: [ids], properties: {ids: {type: array, items: {type: string}}}}"
    )
    check_tells(node, told("bad-request", "%(ids)s", "%(ids)s::bigint[] or %(ids)s::text[]"), folder=tmp_path)
