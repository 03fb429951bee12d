"""An HTTP/2 server over TLS that sends the frames that a test scripts, whatever the protocol allows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame

from tests.support.identity import Identity
from tests.support.listening import listening

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Conversation:
    """One connection: by its number, with its own table of headers."""

    number: int
    writer: asyncio.StreamWriter
    _headers: Encoder = field(default_factory=Encoder)

    def reply(self, stream: int, body: bytes) -> bytes:
        """Spell a whole reply on a stream."""
        return self.head(stream) + data(stream, body, ends=True)

    def head(self, stream: int) -> bytes:
        """Spell the headers of a reply on a stream."""
        block = self._headers.encode([(":status", "200"), ("content-type", "text/plain")])
        return HeadersFrame(stream, block, flags=["END_HEADERS"]).serialize()


Script = Callable[[Conversation, int], Awaitable[None]]
"""Answers a request on a stream."""


def data(stream: int, body: bytes, *, ends: bool) -> bytes:
    """Spell a piece of a body on a stream."""
    return DataFrame(stream, body, flags=["END_STREAM"] if ends else []).serialize()


async def by_number(conversation: Conversation, stream: int) -> None:
    """Answer with the number of the connection and that of the stream."""
    conversation.writer.write(conversation.reply(stream, f"{conversation.number}/{stream}".encode()))


@dataclass
class RawHttp2:
    """A server whose script can be exchanged while it serves."""

    script: Script
    port: int = 0
    connections: int = 0

    @asynccontextmanager
    async def listen(self, identity: Identity) -> AsyncIterator["RawHttp2"]:
        """Serve on a free port of the loopback while the context is open."""
        tls = identity.context()
        tls.set_alpn_protocols(["h2"])

        async with listening(self._converse, tls=tls) as self.port:
            yield self

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        conversation = Conversation(self.connections, writer)
        try:
            await reader.readexactly(len(_PREFACE))
            writer.write(SettingsFrame(0).serialize())
            while True:
                frame, length = Frame.parse_frame_header(memoryview(await reader.readexactly(9)))
                await reader.readexactly(length)
                if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                    writer.write(SettingsFrame(0, flags=["ACK"]).serialize())
                if "END_STREAM" in frame.flags:
                    await self.script(conversation, frame.stream_id)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
