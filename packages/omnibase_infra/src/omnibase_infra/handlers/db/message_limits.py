"""Reads what a server sends, and stops where one part of an answer is larger than anybody wants.

libpq keeps a row until all of it is there, does not tell how much that is by then, and reads for as long as the server
keeps up. So it gets the rest of a large part by pieces: each is read here and counted, and libpq finds it in a pair of
local sockets that takes the place of the connection's for that moment.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Wait

UNBOUNDED = sys.maxsize
_PIECE_BYTES = 64 * 1024
"""Fits into the buffer of a local socket, as it is set below."""


class ResultTooLarge(psycopg.OperationalError):
    """More has arrived than was allowed, and its end is not there yet."""


class BoundedResults:
    """The results that a server sends, each bounded. Whatever reads the connection reads it through this."""

    def __init__(self, server: PGconn) -> None:
        """Expect a connection on which nothing is under way."""
        self._server = server
        self._is_fresh = True
        """Whether libpq holds no part of a row, for which it would have made room already."""

    def result(self, bytes_max: int) -> PQGen[PGresult | None]:
        """Yield the next result, or None after the last one of a command.

        Raises psycopg.Error, and TooMuch when over `bytes_max` have arrived for it, besides what libpq had room for.
        """
        server = self._server
        if server.is_busy() and self._is_fresh:
            yield from _readable()
            # Most answers are small, and there when the first of it is.
            server.consume_input()
            self._is_fresh = False
        if server.is_busy():
            with _pieces(server) as pieces:
                read_bytes = 0
                while server.is_busy():
                    if read_bytes > bytes_max:
                        raise ResultTooLarge
                    yield from _readable()
                    read_bytes += pieces.consume()
        result = server.get_result()
        if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
            self._is_fresh = True
        return result


def _readable() -> PQGen[None]:
    while not (yield Wait.R):
        continue


@contextmanager
def _pieces(server: PGconn) -> Iterator["_Pieces"]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _PIECE_BYTES)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _PIECE_BYTES)
        theirs.settimeout(0)
        # The server's socket has a second number, under which it is put back.
        kept = os.dup(server.socket)
        try:
            yield _Pieces(server, kept, ours, theirs)
        finally:
            os.close(kept)


class _Pieces:
    """What has arrived, handed to libpq a piece at a time."""

    def __init__(self, server: PGconn, kept: int, ours: socket.socket, theirs: socket.socket) -> None:
        self._server = server
        self._kept = kept
        self._ours = ours
        self._theirs = theirs

    def consume(self) -> int:
        """Let libpq read one piece, and return how many bytes it has. Raises psycopg.Error."""
        try:
            piece = os.read(self._kept, _PIECE_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            piece = b""
        if not piece:
            self._server.consume_input()  # It finds the end by itself, and says so.
            return 0
        self._ours.sendall(piece)
        descriptor = self._server.socket
        os.dup2(self._theirs.fileno(), descriptor, inheritable=False)
        try:
            while self._is_unread():
                self._server.consume_input()
        finally:
            os.dup2(self._kept, descriptor, inheritable=False)
        return len(piece)

    def _is_unread(self) -> bool:
        try:
            return bool(self._theirs.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
