"""An HTTP server on the loopback that says what a test scripts, byte by byte, and the handler with it as its target."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from omnibase_infra.handlers.http import HttpHandlerFactory, HttpRequest, HttpResponse, HttpSettings, HttpTarget
from omnibase_spi import Handler, HandlerCall, HandlerError
from tests.support.listening import listening

# --- The server ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One request as it arrived, by the number of its connection."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def reply(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """Spell a whole response."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(data: bytes) -> Script:
    """Answer every request with the same bytes."""

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script


def says_and_ends(data: bytes) -> Script:
    """Answer with the bytes and end the connection."""

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return script


@dataclass
class Server:
    """A server that notes what arrives and lets a script answer it, byte by byte."""

    script: Script
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def listen(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Server"]:
        """Serve on `port`, or a free one, while the context is open."""
        async with listening(self._converse, port=self.port, tls=tls) as self.port:
            yield self

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            while True:
                seen = await self._read(reader, number)
                self.seen.append(seen)
                self.arrived.set()
                await self.script(seen, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1
            self.ended.set()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Seen:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Seen(method, target, headers, body, number)


# --- Using the handler --------------------------------------------------------------------------------------------


def call_of(request: HttpRequest, *, target: str = "api", timeout_s: float = 10.0) -> HandlerCall:
    """Plan a call as the runtime does."""
    return HandlerCall(
        handler_type="http",
        operation="request",
        request=request,
        target=target,
        timeout_s=timeout_s,
        call_id=UUID(int=1),
    )


def opened(port: int, **written: Any) -> Any:
    """Open the handler with one target, `api`, on the loopback."""
    target = HttpTarget.model_validate({"base_url": f"http://127.0.0.1:{port}"} | written)
    return HttpHandlerFactory().open(settings=HttpSettings(), targets={"api": target})


def run_with(script: Script, use: Callable[[Server, Handler], Awaitable[Any]], **target: Any) -> Any:
    """Run a scenario with a server and a handler whose target it is."""

    async def scenario() -> Any:
        async with Server(script).listen() as server, opened(server.port, **target) as handler:
            return await use(server, handler)

    return asyncio.run(scenario())


def ask(script: Script, target: Mapping[str, Any] | None = None, **request: Any) -> tuple[Mapping[str, Any], Seen]:
    """Do one call; gives the result and what the server saw."""

    async def use(server: Server, handler: Handler) -> tuple[Mapping[str, Any], Seen]:
        result = await handler.execute(call_of(HttpRequest.model_validate({"path": "/"} | request)))
        HttpResponse.model_validate(result)
        return result, server.seen[-1]

    found: tuple[Mapping[str, Any], Seen] = run_with(script, use, **(target or {}))
    return found


def refusal(script: Script, target: Mapping[str, Any] | None = None, **request: Any) -> HandlerError:
    """Do one call that fails; gives its error."""
    with pytest.raises(HandlerError) as caught:
        ask(script, target, **request)
    return caught.value


async def outcome(handler: Handler, request: HttpRequest | None = None) -> str:
    """Do a call; gives its status or its error's code."""
    try:
        return str((await handler.execute(call_of(request or PLAIN)))["status"])
    except HandlerError as error:
        return error.code


OK = says(reply(b"{}", "content-type: application/json"))
PLAIN = HttpRequest(path="/")
