"""The example node on a real database: from a command's payload to its answer."""

import asyncio
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.engine.logic import conclude, declared, plan
from omnibase_core.errors import CommandRejected, HandlerError
from omnibase_infra.handlers.db import DbHandlerFactory, DbSettings, DbTarget
from omnibase_infra.host.contract_files import read_contracts
from omnibase_infra.host.plugins import catalog
from tests.support.commands import envelope
from tests.support.postgres import Postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = "Robert'); drop table users; --"


async def _served(dsn: str, commands: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    node = FileRegistry(PurePath("contracts/nodes/user-query.yaml"), read_contracts, catalog()).nodes["user-query"]
    target = DbTarget.model_validate({"dsn": dsn, "sslmode": "disable"})
    answers: list[Any] = []
    async with DbHandlerFactory().open(settings=DbSettings(), targets={"users-db": target}) as handler:
        for operation, payload in commands:
            command = envelope("user-query", payload, operation=operation)
            planned = plan(node, command, now=NOW)
            assert planned.call is not None
            try:
                answers.append(conclude(planned, await handler.execute(planned.call)))
            except HandlerError as error:
                raise declared(planned, error) from error
    return answers


def test_users_are_added_once_and_found(postgres: Postgres) -> None:
    """A name is a value, whatever it holds; a repeat adds nothing; who is not there is an error of the contract."""
    dsn = postgres.create_database(f"example_{uuid4().hex}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table users (id bigint primary key, name text not null)")
    add = ("add_user", {"user_id": 1, "name": HOSTILE})
    answers = asyncio.run(_served(dsn, [add, add, ("get_user", {"user_id": 1})]))
    assert answers == [{"added": True}, {"added": False}, {"user": {"id": 1, "name": HOSTILE}}]
    with pytest.raises(CommandRejected, match="there is no user with this id"):
        asyncio.run(_served(dsn, [("get_user", {"user_id": 2})]))


def test_an_id_that_is_taken_is_an_error_of_the_contract(postgres: Postgres) -> None:
    """The database's word for it is one that the contract declares an error for."""
    dsn = postgres.create_database(f"example_{uuid4().hex}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table users (id bigint primary key, name text not null)")
    register = ("register_user", {"user_id": 1, "name": HOSTILE})
    assert asyncio.run(_served(dsn, [register])) == [{"user_id": 1}]
    with pytest.raises(CommandRejected, match="there is a user with this id already") as caught:
        asyncio.run(_served(dsn, [register]))
    assert (caught.value.code, caught.value.cause) == ("id_taken", "unique_violation")
