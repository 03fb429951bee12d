"""A transaction on one connection: what is said to the server, and what it answers.

What begins the transaction goes out with its first statement, and COMMIT with the last of one that only reads: so a
query is one round trip and not three. That is libpq's pipeline mode, whose client can be fully asynchronous:
https://www.postgresql.org/docs/current/libpq-pipeline-mode.html. Cursors are left out: each costs as much as a query.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus, TransactionStatus

from omnibase_infra.handlers.db.rows import named_rows
from omnibase_infra.postgres import Connection

_CANCEL_S = 5.0
_COMMIT, _ROLLBACK = b"commit", b"rollback"
_ROWS = frozenset({ExecStatus.TUPLES_OK, ExecStatus.TUPLES_CHUNK, ExecStatus.SINGLE_TUPLE})
_OPEN = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})
Values = Sequence[str | None]
Take = Callable[[dict[str, Any]], None]
"""Takes a row. What it raises ends the statement at the server, too."""


class Transaction:
    """One transaction, which the commands `begins` open. All of it raises psycopg.Error, as a cursor does."""

    def __init__(self, connection: Connection, begins: Sequence[str]) -> None:
        """Say nothing to the server yet."""
        self.connection = connection
        self.committed = False
        self._begins = [it.encode() for it in begins]

    async def begin(self) -> None:
        """Open the transaction for what does not come through `ask`."""
        await self._exchange(self._sent(None, ()))

    async def ask(self, text: str, values: Values, take: Take, *, rows_at_once: int, last: bool = False) -> int:
        """Do one statement, hand over its rows as they come, so many at once, and return how many it touched.

        Rows that are not taken are not read. `last` commits with it: only where it does not matter what comes of it.
        """
        answer = _Answer(self.connection, take, rows_at_once)
        await self._exchange(self._sent(text.encode(), values, answer, last=last))
        self.committed = last
        return answer.touched

    async def commit(self) -> None:
        """End it. An error leaves open whether it was done."""
        await _tell(self.connection, _COMMIT)
        self.committed = True

    async def end(self) -> None:
        """Roll back what is open, if the server can be told."""
        if self.connection.info.transaction_status in _OPEN:
            await _tell(self.connection, _ROLLBACK)

    async def _exchange(self, exchange: PQGen[None]) -> None:
        async with self.connection.lock:
            try:
                await self.connection.wait(exchange)
            except psycopg.Error:
                raise
            except Exception:
                await _stop(self.connection)
                raise

    def _sent(
        self, text: bytes | None, values: Values, answer: "_Answer | None" = None, *, last: bool = False
    ) -> PQGen[None]:
        """Send all at once, and read what comes back, to its end: whoever comes next finds the connection clean."""
        server, begins, self._begins = self.connection.pgconn, self._begins, []
        server.enter_pipeline_mode()
        for command in begins:
            server.send_query_params(command, None)
        if text is not None:
            # Of which type a value is, the server says: one that is sent without is read as what its place needs.
            server.send_query_params(text, [None if it is None else it.encode() for it in values])
        if last:
            server.send_query_params(_COMMIT, None)
        server.pipeline_sync()
        yield from generators.send(server)
        error: psycopg.Error | None = None
        number, is_new = 0, True
        while True:
            if is_new and number == len(begins) and answer is not None and error is None:
                answer.limit()
            result = yield from generators.fetch(server)
            if is_new := result is None:
                if server.status == ConnStatus.BAD:
                    raise error or psycopg.OperationalError("the connection was lost", pgconn=server)
                number += 1  # What follows answers the next command.
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                break
            if result.status == ExecStatus.FATAL_ERROR:
                error = error or psycopg.errors.error_from_result(result, encoding=self.connection.info.encoding)
            elif number == len(begins) and answer is not None:
                answer.read(result)
        server.exit_pipeline_mode()
        if error is not None:
            raise error


class _Answer:
    """What comes back for a statement."""

    def __init__(self, connection: Connection, take: Take, rows_at_once: int) -> None:
        self.touched = 0
        self._connection = connection
        self._take = take
        self._rows_at_once = rows_at_once
        self._transformer = Transformer(connection)
        self._row: Callable[[Sequence[Any]], dict[str, Any]] | None = None

    def limit(self) -> None:
        """Let its rows come by parts, so that no more of them are in memory at once."""
        if self._rows_at_once > 1 and psycopg.capabilities.has_stream_chunked():
            self._connection.pgconn.set_chunked_rows_mode(self._rows_at_once)
        else:
            self._connection.pgconn.set_single_row_mode()

    def read(self, result: Any) -> None:
        """Take a part of it."""
        self.touched = max(self.touched, result.command_tuples or 0)
        if result.status not in _ROWS:
            return
        self._transformer.set_pgresult(result, set_loaders=self._row is None)
        self._row = self._row or named_rows(_names(result))
        for row in self._transformer.load_rows(0, result.ntuples, self._row):
            self._take(row)


async def _stop(connection: Connection) -> None:
    """Let the server stop, and read what it has sent: nothing is left for whoever has the connection next."""
    if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
        await connection.cancel_safe(timeout=_CANCEL_S)
        await connection.wait(_drained(connection))


def _drained(connection: Connection) -> PQGen[None]:
    server = connection.pgconn
    while server.pipeline_status != PipelineStatus.OFF:
        result = yield from generators.fetch(server)
        if server.status == ConnStatus.BAD:
            return
        if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
            server.exit_pipeline_mode()


async def _tell(connection: Connection, command: bytes) -> None:
    async with connection.lock:
        await connection.wait(_told(connection, command))


def _told(connection: Connection, command: bytes) -> PQGen[None]:
    connection.pgconn.send_query(command)
    for result in (yield from generators.execute(connection.pgconn)):
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)


def _names(result: Any) -> Iterator[str]:
    return ((result.fname(place) or b"").decode() for place in range(result.nfields))
