"""A real HTTP server for the `http` handler: uvicorn with a small application, on a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

NAME = f"uvicorn {version('uvicorn')} (HTTP/1.1, on a thread of the tests)"
_STARTS_S = 10


@contextmanager
def http_server() -> Iterator[int]:
    """Serve on a free port of the loopback while the context is open; gives the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(_application(), log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # What a test left waiting is of no interest any more.
            server.should_exit = server.force_exit = True
            thread.join(_STARTS_S)


def _application() -> Starlette:
    routes = [
        Route("/numbers/{number:int}", _number, methods=["GET", "POST"]),
        Route("/slow", _slow),
        Route("/refused", _refuse),
    ]
    return Starlette(routes=routes)


async def _number(request: Request) -> JSONResponse:
    return JSONResponse({"number": request.path_params["number"]})


async def _slow(request: Request) -> Response:
    while not await request.is_disconnected():  # noqa: ASYNC110 - that is how Starlette tells it
        await asyncio.sleep(0.05)
    return Response()


async def _refuse(request: Request) -> JSONResponse:
    """Repeat what was sent, as some servers do in their errors."""
    return JSONResponse({"error": "not for you", "sent": dict(request.headers)}, status_code=403)
