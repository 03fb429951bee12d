"""A transaction on one connection: what is said to the server, and what it answers.

What begins the transaction goes out with its first statement, and COMMIT with the last of one that only reads: so a
query is one round trip and not three. That is libpq's pipeline mode, whose client can be fully asynchronous:
https://www.postgresql.org/docs/current/libpq-pipeline-mode.html. Cursors are left out: each costs as much as a query.

DISCARD ALL goes out right behind COMMIT, so that nothing of the session is left for the next call. Its answer is read
when the connection is put back: whoever called does not wait for it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus, TransactionStatus

from omnibase_infra.handlers.db.message_limits import UNBOUNDED, BoundedResults, ResultTooLarge
from omnibase_infra.handlers.db.rows import named_rows
from omnibase_infra.postgres.connections import Connection

_CANCEL_S = 5.0
_SLACK_BYTES = 1024 * 1024
"""What may arrive besides the text of rows, and after the server was told to stop."""
_COMMIT, _ROLLBACK, _DISCARD = b"commit", b"rollback", b"discard all"
_ROWS = frozenset({ExecStatus.TUPLES_OK, ExecStatus.TUPLES_CHUNK, ExecStatus.SINGLE_TUPLE})
_OPEN = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})
Values = Sequence[str | None]
Take = Callable[[dict[str, Any]], None]
"""Takes a row. What it raises ends the statement at the server, too."""


class DbTransaction:
    """One transaction, which the commands `begins` open. All of it raises psycopg.Error, as a cursor does."""

    def __init__(self, connection: Connection, begins: Sequence[str]) -> None:
        """Send nothing to the server yet."""
        self.connection = connection
        self.committed = False
        self._begins = [it.encode() for it in begins]
        self._unread = 0
        """How many syncs were sent whose answers were not read."""
        self._discards = False
        self._is_spoilt = False
        """Whether a row is on its way whose end nobody waits for."""
        self._arrivals = BoundedResults(connection.pgconn)
        self._bytes_max = UNBOUNDED
        """How much the server may send for what is no statement of the caller's."""

    async def begin(self) -> None:
        """Open the transaction for what does not come through `ask`."""
        await self._exchange(self._sent(None, ()))

    async def ask(
        self, text: str, values: Values, take: Take, *, rows_at_once: int, bytes_max: int, last: bool = False
    ) -> int:
        """Do one statement, hand over its rows as they come, so many at once, and return how many it touched.

        Rows that are not taken are not read. `last` commits with it: only where it does not matter what comes of it.
        Raises TooMuch soon after a part of its rows is known to have far more bytes than `bytes_max`.
        """
        answer = _Answer(self.connection, take, rows_at_once, bytes_max)
        await self._exchange(self._sent(text.encode(), values, answer, last=last))
        self.committed = last
        return answer.touched

    async def commit(self) -> None:
        """End it. An error leaves open whether it was done."""
        await self._exchange(self._sent(None, (), last=True))
        self.committed = True

    def cleaned(self) -> PQGen[None]:
        """Roll back what is open, and undo all else that was done to the session.

        Raises psycopg.Error where that fails: nobody may have the connection next.
        """
        server = self.connection.pgconn
        if self._is_spoilt:
            raise ResultTooLarge("the rest of a row that is too large would have to be read")
        self._bytes_max = _SLACK_BYTES
        error = yield from self._settled()
        is_open = server.transaction_status in _OPEN
        if is_open or not self._discards:
            # The statement failed, or COMMIT was never sent.
            server.enter_pipeline_mode()
            for command in (_ROLLBACK, _DISCARD) if is_open else (_DISCARD,):
                self._send(command)
                self._sync()
            yield from generators.send(server)
            error = yield from self._settled()
        if error is not None:
            raise error

    async def _exchange(self, exchange: PQGen[None]) -> None:
        async with self.connection.lock:
            try:
                await self.connection.wait(exchange)
            except Exception as error:
                self._is_spoilt = isinstance(error, ResultTooLarge)
                if self._is_spoilt or not isinstance(error, psycopg.Error):
                    # What the server has sent by then is read when the connection is put back.
                    with suppress(psycopg.Error):
                        await self.connection.cancel_safe(timeout=_CANCEL_S)
                raise

    def _sent(
        self, text: bytes | None, values: Values, answer: "_Answer | None" = None, *, last: bool = False
    ) -> PQGen[None]:
        """Send all at once, and read what comes back up to the end of the transaction."""
        server, begins, self._begins = self.connection.pgconn, self._begins, []
        server.enter_pipeline_mode()
        for command in begins:
            self._send(command)
        if text is not None:
            # Of which type a value is, the server says: one that is sent without is read as what its place needs.
            self._send(text, [None if it is None else it.encode() for it in values])
        if last:
            self._send(_COMMIT)
        self._sync()
        if last:
            # It has to be outside of any transaction, even of the one that a pipeline is up to its next sync.
            self._send(_DISCARD)
            self._sync()
            self._discards = True
        yield from generators.send(server)
        error = yield from self._answered(len(begins), answer)
        if not last:
            server.exit_pipeline_mode()
        if error is not None:
            raise error

    def _send(self, command: bytes, values: Sequence[bytes | None] | None = None) -> None:
        self.connection.pgconn.send_query_params(command, values)

    def _sync(self) -> None:
        self.connection.pgconn.pipeline_sync()
        self._unread += 1

    def _answered(self, place: int = -1, answer: "_Answer | None" = None) -> PQGen[psycopg.Error | None]:
        """Read the answers up to the next sync, hand over the one at that place, and return the first error."""
        server = self.connection.pgconn
        error: psycopg.Error | None = None
        number, is_new = 0, True
        while True:
            if is_new and number == place and answer is not None and error is None:
                answer.limit()
            bytes_max = answer.bytes_max if answer is not None and number == place else self._bytes_max
            result = yield from self._arrivals.result(bytes_max)
            if is_new := result is None:
                if server.status == ConnStatus.BAD:
                    raise error or psycopg.OperationalError("the connection was lost", pgconn=server)
                number += 1  # What follows answers the next command.
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                self._unread -= 1
                return error
            if result.status == ExecStatus.FATAL_ERROR:
                error = error or psycopg.errors.error_from_result(result, encoding=self.connection.info.encoding)
            elif number == place and answer is not None:
                answer.read(result)

    def _settled(self) -> PQGen[psycopg.Error | None]:
        """Read whatever is still to come, leave the pipeline, and return the error of its last part."""
        error: psycopg.Error | None = None
        while self._unread:
            error = yield from self._answered()
        if self.connection.pgconn.pipeline_status != PipelineStatus.OFF:
            self.connection.pgconn.exit_pipeline_mode()
        while self.connection.pgconn.notifies():
            continue  # Nobody listens.
        return error


class _Answer:
    """What comes back for a statement."""

    def __init__(self, connection: Connection, take: Take, rows_at_once: int, bytes_max: int) -> None:
        self.touched = 0
        # Bytes are in hexadecimal on their way, and JSON may be written with more characters than it holds.
        self.bytes_max = 2 * bytes_max + _SLACK_BYTES
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


def _names(result: Any) -> Iterator[str]:
    return ((result.fname(place) or b"").decode() for place in range(result.nfields))
