"""A real HTTP/2 server: hypercorn with a small application, over TLS."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.support.identity import Identity

NAME = f"hypercorn {version('hypercorn')} (HTTP/2 over TLS)"
Send = Callable[[dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def http2_server(identity: Identity, *, protocols: tuple[str, ...] = ("h2", "http/1.1")) -> AsyncIterator[int]:
    """Serve on a free port of the loopback while the context is open; gives the port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    config = Config()
    # The server closes what it was given.
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile, config.keyfile = str(identity.certificate), str(identity.key)
    config.alpn_protocols = list(protocols)
    config.errorlog = config.accesslog = None
    config.graceful_timeout = 0.1
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(_application, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    try:
        yield port
    finally:
        stop.set()
        await serving


async def _application(scope: Any, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    """Report the version of HTTP and repeat the body; or send one without end, or none at all."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    if scope["path"] == "/silent":
        await asyncio.Event().wait()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"x-http-version", scope["http_version"].encode())],
        }
    )
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
    await send({"type": "http.response.body", "body": body})
