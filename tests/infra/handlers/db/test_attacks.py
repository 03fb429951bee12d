"""A node whose commands hold nothing but attacks, on a real database: each is a value, or is refused; nothing else."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.engine.logic import conclude, plan
from omnibase_core.errors import HandlerError, InvalidContracts
from omnibase_core.ports import ContractDocument
from omnibase_infra.handlers.db import DbHandlerFactory, DbSettings, DbTarget
from omnibase_infra.host.plugins import catalog
from omnibase_spi import Handler
from tests.infra.handlers.db import attacks
from tests.support.commands import envelope
from tests.support.postgres import Postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USERS = [(1, "ada"), (2, "grace")]
OPEN = """contract: node/v1
name: open-door
kind: effect
version: 1.0.0
description: A node that hands whatever it gets to a database, wherever a value may stand.
handler: db
target: it
operations:
  give:
    input: {type: object}
    request: {statement: "select %(v)s::text as v", parameters: {v: "${ payload.v }"}}
    answer: {v: "${ result.rows[0].v }"}
  find:
    input: {type: object}
    request: {statement: select id from users where name = %(v)s, parameters: {v: "${ payload.v }"}}
  find_id:
    input: {type: object}
    request: {statement: select id from users where id = %(v)s, parameters: {v: "${ payload.v }"}}
  some:
    input: {type: object}
    request: {statement: select id from users limit %(v)s, parameters: {v: "${ payload.v }"}}
  any_of:
    input: {type: object}
    request: {statement: "select id from users where name = any(%(v)s::text[])", parameters: {v: "${ payload.v }"}}
  json:
    input: {type: object}
    request: {statement: "select %(v)s::jsonb as v", parameters: {v: "${ payload.v }"}}
    answer: {v: "${ result.rows[0].v }"}
  write:
    input: {type: object}
    call: execute
    request:
      statement: insert into notes (text) values (%(v)s) returning text
      parameters: {v: "${ payload.v }"}
    answer: {v: "${ result.rows[0].text }"}
  batch:
    input: {type: object}
    call: batch
    request: {statement: insert into notes (text) values (%(text)s), parameter_sets: "${ payload.v }"}
  copy:
    input: {type: object}
    call: copy
    request: {table: notes, columns: [text], rows: "${ payload.v }"}
  several:
    input: {type: object}
    call: transaction
    request:
      statements:
        write: {statement: insert into notes (text) values (%(v)s) returning text, parameters: {v: "${ payload.v }"}}
        read: {statement: select id from users where name = %(v)s, parameters: {v: "${ payload.v }"}}
    answer: {v: "${ result.results.write.rows[0].text }"}
"""
"""It has no schema for its input, which no careful author would write: the handler stands alone."""

Serve = Callable[[str, Any], Any]


@pytest.fixture(scope="module")
def node() -> CompiledNode:
    """Return the node."""
    document = ContractDocument(PurePath("open-door.yaml"), OPEN)
    return FileRegistry(PurePath(), lambda _: [document], catalog()).nodes["open-door"]


@pytest.fixture(scope="module")
def dsn(postgres: Postgres) -> str:
    """Return a database with users whom everybody wants to be rid of."""
    there = postgres.create_database(f"attacked_{uuid4().hex}")
    with psycopg.connect(there, autocommit=True) as connection:
        connection.execute("create table users (id int primary key, name text)")
        connection.execute("create table notes (text text)")
        connection.cursor().executemany("insert into users values (%s, %s)", USERS)
    return there


@pytest.fixture(scope="module")
def serve(node: CompiledNode, dsn: str) -> Iterator[Serve]:
    """Yield what serves a command whose payload is {v: ...}, and looks at the users afterwards."""
    target = DbTarget.model_validate({"dsn": dsn, "sslmode": "disable"})

    async def served(handler: Handler, operation: str, value: Any) -> Any:
        planned = plan(node, envelope("open-door", {"v": value}, operation=operation), now=NOW)
        assert planned.call is not None
        return conclude(planned, await handler.execute(planned.call))

    with asyncio.Runner() as runner, psycopg.connect(dsn, autocommit=True) as watching:
        opening = DbHandlerFactory().open(settings=DbSettings(), targets={"it": target})
        handler = runner.run(_entered(opening))

        def serve(operation: str, value: Any) -> Any:
            try:
                return runner.run(served(handler, operation, value))
            finally:
                assert watching.execute("select id, name from users order by id").fetchall() == USERS

        yield serve
        runner.run(_left(opening))


async def _entered(context: Any) -> Handler:
    handler: Handler = await context.__aenter__()
    return handler


async def _left(context: Any) -> None:
    await context.__aexit__(None, None, None)


@pytest.mark.parametrize("text", attacks.TEXTS, ids=repr)
def test_a_text_is_a_value_wherever_it_stands(serve: Serve, text: str) -> None:
    """What was sent comes back or is stored as it was; where a number belongs, it is refused as data."""
    for operation in ("give", "write", "several"):
        assert serve(operation, text) == {"v": text}
    assert serve("find", text)["rows"] == []
    assert serve("any_of", [text, text])["rows"] == []
    assert serve("json", {text: [text, {"a": text}]}) == {"v": {text: [text, {"a": text}]}}
    assert serve("batch", [{"text": text}, {"text": text}]) == {"row_count": 2}
    assert serve("copy", [[text], [text]]) == {"row_count": 2}
    for operation in ("find_id", "some"):
        with pytest.raises(HandlerError) as refused:
            serve(operation, text)
        assert (refused.value.code, refused.value.retryable) == ("data_invalid", False)
        assert text not in str(refused.value)


@pytest.mark.parametrize("text", attacks.TEXTS, ids=repr)
def test_a_name_of_a_command_is_none_of_a_parameter(serve: Serve, text: str) -> None:
    """The sets of a batch may come from a command: their names are held to the placeholders, and never pasted."""
    with pytest.raises(HandlerError, match="has no placeholder") as refused:
        serve("batch", [{text: 1}])
    assert refused.value.code == "request_invalid"


@pytest.mark.parametrize("value", [*attacks.UNBINDABLE, {"a": 1}, ["a"]], ids=repr)
@pytest.mark.parametrize("operation", ["give", "find", "write", "several"])
def test_what_is_no_text_is_refused(serve: Serve, operation: str, value: Any) -> None:
    """PostgreSQL has no form for it, or several."""
    with pytest.raises(HandlerError) as refused:
        serve(operation, value)
    assert (refused.value.code, refused.value.retryable) == ("request_invalid", False)


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("operation", "value"),
    [
        ("any_of", _deep(7)),
        ("any_of", _deep(900)),
        ("any_of", "{a,b}"),
        ("any_of", {"a": 1}),
        ("json", _deep(300)),
        ("batch", "text"),
        ("batch", [["text"]]),
        ("copy", [["a", "b"]]),
        ("copy", [{"text": "a"}]),
        ("copy", ["\\."]),
    ],
)
def test_a_value_of_another_shape_is_refused(serve: Serve, operation: str, value: Any) -> None:
    """By the request's model, or when it is bound: before the database is asked."""
    with pytest.raises(Exception, match=r".") as refused:
        serve(operation, value)
    assert getattr(refused.value, "code", None) == "request_invalid"


@pytest.mark.parametrize(
    "request_",
    [
        '{statement: "${ payload.v }"}',
        '{statement: "select ${ payload.v }"}',
        '{statement: "select * from ${ payload.v }"}',
        "{statement: \"select * from users where name = '${ payload.v }'\"}",
        "\"${ {'statement': payload.v} }\"",
        '{statement: select %(v)s, parameters: "${ payload }"}',
        '{statement: select %(v)s, parameters: {"${ payload.v }": 1}}',
    ],
)
def test_no_expression_can_be_a_part_of_a_statement(request_: str) -> None:
    """`check` refuses the contract: nothing of a command reaches the text of a statement."""
    text = OPEN[: OPEN.index("  give:")] + f"  ask:\n    input: {{type: object}}\n    request: {request_}\n"
    document = ContractDocument(PurePath("open-door.yaml"), text)
    with pytest.raises(InvalidContracts):
        FileRegistry(PurePath(), lambda _: [document], catalog())


@pytest.mark.parametrize("key", ["table", "columns"])
def test_no_expression_can_name_a_table_or_a_column(key: str) -> None:
    """They are the contract's, as statements are."""
    for written in ('"${ payload.v }"', '["${ payload.v }"]', '"users; drop table users"', "['text) from stdin; --']"):
        request = {"table": "notes", "columns": "[text]", "rows": '"${ payload.v }"', key: written}
        shown = ", ".join(f"{name}: {value}" for name, value in request.items())
        copying = f"  ask:\n    input: {{type: object}}\n    call: copy\n    request: {{{shown}}}\n"
        text = OPEN[: OPEN.index("  give:")] + copying
        document = ContractDocument(PurePath("open-door.yaml"), text)
        with pytest.raises(InvalidContracts):
            FileRegistry(PurePath(), lambda _, document=document: [document], catalog())
