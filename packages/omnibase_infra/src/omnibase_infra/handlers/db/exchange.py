"""What is said to the server and what it answers, on one connection, without a cursor: that costs as much as a query."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, TransactionStatus

from omnibase_infra.handlers.db.rows import named_rows
from omnibase_infra.postgres import Connection

_CANCEL_S = 5.0
_ROWS = (ExecStatus.TUPLES_OK, ExecStatus.TUPLES_CHUNK, ExecStatus.SINGLE_TUPLE)
Take = Callable[[dict[str, Any]], None]
"""Takes a row; what it raises ends the statement at the server, too."""


async def tell(connection: Connection, commands: str) -> None:
    """Do commands that have neither values nor rows. Raises psycopg.Error as a cursor does."""
    async with connection.lock:
        await connection.wait(_told(connection, commands.encode()))


async def ask(connection: Connection, text: str, values: Sequence[str | None], take: Take, *, at_once: int) -> int:
    """Do one statement, hand over its rows as they come, so many at once, and return how many it touched.

    Rows that are not taken are not read: the server is told to stop. Raises psycopg.Error, and what `take` raises.
    """
    async with connection.lock:
        try:
            return await connection.wait(_asked(connection, text, values, take, at_once))
        except psycopg.Error:
            raise
        except Exception:
            await _stop(connection)
            raise


def _told(connection: Connection, commands: bytes) -> PQGen[None]:
    connection.pgconn.send_query(commands)
    for result in (yield from generators.execute(connection.pgconn)):
        _check(result)


def _asked(connection: Connection, text: str, values: Sequence[str | None], take: Take, at_once: int) -> PQGen[int]:
    server = connection.pgconn
    # Of which type a value is, the server says: a text that is sent without one is read as what its place needs.
    server.send_query_params(text.encode(), [None if it is None else it.encode() for it in values])
    if at_once > 1 and psycopg.capabilities.has_stream_chunked():
        server.set_chunked_rows_mode(at_once)
    else:
        server.set_single_row_mode()
    yield from generators.send(server)
    transformer, rows_of, count = Transformer(connection), None, 0
    while (result := (yield from generators.fetch(server))) is not None:
        _check(result)
        if result.status in _ROWS:
            transformer.set_pgresult(result, set_loaders=rows_of is None)
            rows_of = rows_of or named_rows(_names(result))
            for row in transformer.load_rows(0, result.ntuples, rows_of):
                take(row)
        count = max(count, result.command_tuples or 0)
    return count


async def _stop(connection: Connection) -> None:
    """Let the server stop, and read what it has sent, so that nothing is left for whoever has the connection next."""
    if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
        await connection.cancel_safe(timeout=_CANCEL_S)
        await connection.wait(_drained(connection))


def _drained(connection: Connection) -> PQGen[None]:
    while (yield from generators.fetch(connection.pgconn)) is not None:
        pass


def _check(result: Any) -> None:
    if result.status == ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result)


def _names(result: Any) -> Iterator[str]:
    return ((result.fname(place) or b"").decode() for place in range(result.nfields))
