"""A TCP relay between a handler and its server, which does on demand what networks and servers in trouble do."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.processes import reserved_port

_CHUNK_BYTES = 65_536
_TURNS = 5
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing resets the connection."""


@dataclass
class Wire:
    """Relays connections from `port` of the loopback, any free one by default, to a server's.

    - `away` refuses connections and resets those that are open, as a server does that is gone; `back` ends it.
    - `stall` takes connections and lets nothing through, as a server does that hangs; `flow` ends it.
    - `rubbish`, where it is set, answers new connections in the server's place, and `{sent}` in it is what was sent.
    - `cut_after` resets each new connection after so many bytes of the server's answers.
    """

    upstream: int
    port: int = 0
    rubbish: bytes | None = None
    cut_after: int | None = None
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first bytes that reach the wire after it was cleared."""
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Wire"]:
        """Relay while the context is open. The port stays ours also while the wire is away."""
        self._flowing.set()
        with reserved_port(self.port) as self.port:
            await self.back()
            try:
                yield self
            finally:
                await self.away()

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def away(self) -> None:
        """Refuse connections, and reset those that are open."""
        if self._server is not None:
            server, self._server = self._server, None
            for listener in server.sockets:
                asyncio.get_running_loop().remove_reader(listener)
            for _ in range(_TURNS):
                # What was accepted just now becomes a connection, and is reset with the others. It has to find the
                # server open: of one that is closed meanwhile, asyncio leaves the socket to the garbage collector.
                await asyncio.sleep(0)
            server.close()
        await self.reset()

    async def back(self) -> None:
        """Take connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, reuse_port=True)

    async def reset(self) -> None:
        """Reset the connections that are open."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def stall(self) -> None:
        """Let nothing through."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything through, also what was held back."""
        self._flowing.set()

    async def until_idle(self, *, within_s: float = 5.0) -> None:
        """Wait until no connection is open. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while self._open:  # noqa: ASYNC110 - a connection ends in its own time, and only tests wait for it
                await asyncio.sleep(0.005)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._converse(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        # One that is cancelled before its first step has closed nothing.
        task.add_done_callback(lambda _: writer.transport.is_closing() or _end(writer, reset=True))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended_well = False
        try:
            if self.rubbish is not None:
                await self._answer_rubbish(reader, writer, self.rubbish)
            else:
                await self._relay(reader, writer)
            ended_well = True
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            _end(writer, reset=not ended_well)

    async def _answer_rubbish(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rubbish: bytes) -> None:
        sent = await reader.read(_CHUNK_BYTES)
        self.arrived.set()
        writer.write(rubbish.replace(b"{sent}", sent))
        await writer.drain()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        pumps = [
            asyncio.create_task(self._pump(reader, there_writer, cut_after=None)),
            asyncio.create_task(self._pump(there_reader, writer, cut_after=self.cut_after)),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                pump.result()
        finally:
            # Before anything is awaited: a reset may cancel this too.
            _end(there_writer, reset=True)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, cut_after: int | None) -> None:
        left = cut_after
        while chunk := await source.read(_CHUNK_BYTES):
            self.arrived.set()
            await self._flowing.wait()
            sink.write(chunk if left is None else chunk[:left])
            await sink.drain()
            if left is not None and (left := left - len(chunk)) <= 0:
                raise ConnectionResetError


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    else:
        writer.close()
