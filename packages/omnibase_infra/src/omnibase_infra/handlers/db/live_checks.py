"""Holds statements to the database that they are for: each is prepared there, and none is run."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import generators

from omnibase_core.errors import HandlerError, InvalidExpression
from omnibase_core.ports import LiveFault, LiveReport
from omnibase_infra.handlers.db.checks import WrittenStatement, statements_of
from omnibase_infra.handlers.db.connections import lone_connection
from omnibase_infra.handlers.db.models import DbTarget
from omnibase_infra.handlers.db.row_shapes import live_shape_faults
from omnibase_infra.handlers.db.statements import Statement, statement_of
from omnibase_infra.postgres.connections import Connection

_PARAMETERS = "select parameter_types::text[] as types from pg_prepared_statements where name = 'onex_checked'"
_NAMES = "select format_type(oid, null) as type from unnest($1::oid[]) with ordinality as it (oid, n) order by n"
_NOT_PREPARED = ("call",)
"""PostgreSQL prepares no CALL: it is proved when it is run."""


async def live_report(name: str, target: DbTarget, requests: Sequence[Any]) -> LiveReport:
    """Return what the database refuses of the statements of requests. Raises HandlerError where it cannot be asked."""
    statements = [(number, it) for number, request in enumerate(requests) for it in statements_of(request)]
    try:
        faults = await _refused(name, target, statements)
    except HandlerError as error:
        raise HandlerError(error.code, f"cannot ask the database: {error}", retryable=error.retryable) from error
    return LiveReport(len(statements), faults)


async def _refused(
    name: str, target: DbTarget, statements: Iterable[tuple[int, WrittenStatement]]
) -> Sequence[LiveFault]:
    faults: list[LiveFault] = []
    async with lone_connection(name, target) as connection:
        for number, written in statements:
            try:
                told = await _faults(connection, written)
            except psycopg.OperationalError as error:
                raise HandlerError(
                    "unreachable", f"target {name!r}: the connection was lost", retryable=True
                ) from error
            faults += [LiveFault(number, written.at, InvalidExpression(it, text=written.text)) for it in told]
    return faults


async def _faults(connection: Connection, written: WrittenStatement) -> list[str]:
    statement = statement_of(written.text)
    if statement.text.lstrip().lower().startswith(_NOT_PREPARED):
        return []
    # Nothing of the command's stands in the text: it is the contract's own, and known to be one statement.
    try:
        await connection.execute(f"prepare onex_checked as {statement.text}".encode())
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return [f"the database refuses it: {error.diag.message_primary} ({error.sqlstate})"]
    (parameters,) = await (await connection.execute(_PARAMETERS)).fetchall()
    columns = await _columns(connection)
    await connection.execute("deallocate onex_checked")
    faults = [
        fault
        for name, kind in zip(statement.names, parameters["types"], strict=True)
        for fault in _of(statement, name, kind)
    ]
    return faults if written.row is None else [*faults, *live_shape_faults(written.row, columns)]


async def _columns(connection: Connection) -> list[tuple[str, str]]:
    """Return the columns of what was prepared, each with its type: not every server has a view that tells them."""
    connection.pgconn.send_describe_prepared(b"onex_checked")
    [described] = await connection.wait(generators.execute(connection.pgconn))
    places = range(described.nfields)
    oids = [described.ftype(place) for place in places]
    types = await (await connection.execute(_NAMES, (oids,))).fetchall()
    names = [(described.fname(place) or b"").decode() for place in places]
    return [(name, it["type"]) for name, it in zip(names, types, strict=True)]


def _of(statement: Statement, name: str, kind: str) -> list[str]:
    """Check what a parameter is to the database against how its values are written."""
    expected = "json" if kind in ("json", "jsonb") else "array" if kind.endswith("[]") else "scalar"
    if expected == statement.forms[name] or expected == "scalar":
        return []
    return [f"%({name})s is {kind} to the database; write %({name})s::{kind}"]
