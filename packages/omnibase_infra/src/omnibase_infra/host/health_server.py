"""A small HTTP/1.1 server for a few pages: bounded in connections, in time and in bytes, whoever connects.

h11 has the protocol; here are the sockets, the bounds, and the check of `Host`. What a page says is its caller's.
"""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple

import h11

from omnibase_core.ports import Observer

CONNECTIONS_MAX = 64
"""How many clients are connected at most."""
HEAD_S = 5.0
"""How long a connection may be without a whole head of a request, after it began and after each answer."""
HEAD_BYTES_MAX = 8 * 1024
"""How large the head of a request may be, give or take what one read brings."""
_ANSWER_S = 10.0
"""How long an answer may take to be made and to be taken."""
_LINGER_S = 1.0
_CLOSE_S = 1.0
_READ_BYTES = 4096
_HOST = re.compile(r"(?P<name>\[[^\[\]]*\]|[^:\[\]]*)(:[0-9]*)?")
_RESERVED = (".local", ".internal", ".localhost")
"""Ends of names that nobody can register on the internet. Names of services in Kubernetes are among them."""
# No name is given away: it is a stranger who reads this.
_EXPECTED = "a Host that is an IP address, localhost, health.address or this machine's own name"


class Page(NamedTuple):
    """What is answered. `headers` are more than those of its type and length."""

    status: int
    content_type: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


Pages = Mapping[str, Callable[[], Awaitable[Page]]]
"""What makes each page, by its path."""


def json_page(document: Any, status: int = 200, *headers: tuple[str, str]) -> Page:
    """Return a page of JSON, in ASCII: half a surrogate pair, which an error's text may hold, has no form in UTF-8."""
    return Page(status, "application/json", json.dumps(document), headers)


@asynccontextmanager
async def page_server(
    listener: socket.socket, pages: Pages, *, address: str, observer: Observer
) -> AsyncIterator[None]:
    """Serve pages while the context is open, which ends within a second. `address` is a name that clients may use.

    A page that cannot be made is answered with status 500, and `observer` is told why (`health_page_failed`).
    """
    connections = _Connections(pages, address, observer)
    server = await asyncio.start_server(connections.begin, sock=listener, limit=HEAD_BYTES_MAX)
    try:
        yield
    finally:
        server.close()
        await connections.close()


class _Connections:
    """The connections there are. One more than allowed takes the place of the one that has waited longest.

    So connections that send nothing, however many, keep out nobody who asks at once. Where none waits for a request,
    since all are being answered, it is refused.
    """

    def __init__(self, pages: Pages, address: str, observer: Observer) -> None:
        self._pages = pages
        self._names = {address.lower(), socket.gethostname().lower()}
        self._observer = observer
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._waiting: dict[asyncio.Task[None], None] = {}
        """Those without a request, in the order in which they began to wait."""
        self._closing = False

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, or refuse it."""
        if self._closing or (len(self._open) >= CONNECTIONS_MAX and not self._waiting):
            busy = json_page(_named(HTTPStatus.SERVICE_UNAVAILABLE), HTTPStatus.SERVICE_UNAVAILABLE)
            writer.write(_written(h11.Connection(h11.SERVER), busy, ends=True))
            writer.close()
            return
        if len(self._open) >= CONNECTIONS_MAX:
            self._end(next(iter(self._waiting)))
        # An answer counts as taken when all of it is, and not when half of it has room here.
        writer.transport.set_write_buffer_limits(0)
        task = asyncio.create_task(self._converse(reader, writer))
        self._open[task] = writer
        self._waiting[task] = None
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """End all: those that wait at once, the others when they are answered, and after a second in any case."""
        self._closing = True
        for task in tuple(self._waiting):
            self._end(task)
        if self._open:
            await asyncio.wait(self._open, timeout=_CLOSE_S)
        for task in tuple(self._open):
            self._end(task)
        # One turn of the loop, in which the sockets of those that were just cut off are closed.
        await asyncio.sleep(0)

    def _end(self, task: "asyncio.Task[None]") -> None:
        """Cut a connection off. A task that has not even begun would not do so itself."""
        self._waiting.pop(task, None)
        self._open.pop(task).transport.abort()
        task.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._waiting.pop(task, None)
        if (writer := self._open.pop(task, None)) is not None:
            writer.transport.abort()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observer.event("error", "health_connection_failed", error=error)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other, until one of the two wants the end or takes too long."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is a task that begins this
        try:
            while True:
                async with asyncio.timeout(HEAD_S):
                    request = await _request(http, reader)
                if request is None:
                    return
                del self._waiting[task]
                async with asyncio.timeout(_ANSWER_S):
                    page = request if isinstance(request, Page) else await self._page(request)
                    with_body = isinstance(request, Page) or request.method != b"HEAD"
                    ends = self._closing or http.their_state is not h11.DONE
                    writer.write(_written(http, page, ends=ends, with_body=with_body))
                    await writer.drain()
                self._waiting[task] = None
                if self._closing or http.our_state is not h11.DONE:
                    await _part(reader, writer)
                    return
                http.start_next_cycle()
                # Requests that came all at once are answered in as many turns.
                await asyncio.sleep(0)
        except OSError:
            return  # It has taken too long or has hung up: there is nobody to tell.

    async def _page(self, request: h11.Request) -> Page:
        host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
        if not is_ours(host, self._names):
            status = HTTPStatus.MISDIRECTED_REQUEST
            return json_page({**_named(status), "expected": _EXPECTED}, status)
        path = request.target.decode("ascii").partition("?")[0]
        there_are = {"there_are": list(self._pages)}
        if path not in self._pages:
            return json_page({**_named(HTTPStatus.NOT_FOUND), **there_are}, HTTPStatus.NOT_FOUND)
        if request.method not in (b"GET", b"HEAD"):
            status = HTTPStatus.METHOD_NOT_ALLOWED
            return json_page({**_named(status), **there_are}, status, ("allow", "GET, HEAD"))
        try:
            return await self._pages[path]()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client hears no more than that it failed
            self._observer.event("error", "health_page_failed", path=path, error=error)
            return json_page(_named(HTTPStatus.INTERNAL_SERVER_ERROR), HTTPStatus.INTERNAL_SERVER_ERROR)


def is_ours(host: str, names: set[str]) -> bool:
    """Return whether a `Host` is one that no stranger can have pointed at this machine; none at all is one, too.

    A page of a stranger that a browser shows may read whatever has its own name, and by DNS it can give that name any
    address (DNS rebinding). It can use neither an address in place of a name nor a name that is not its own: one of
    `names`, one without a dot, or one that nobody can register.
    """
    if (match := _HOST.fullmatch(host.strip().lower())) is None:
        return False
    name = match["name"].removesuffix(".")
    if name in names or "." not in name or name.endswith(_RESERVED):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | Page | None:
    """Read the head of the next request. A page is the answer to what is none; None: the client has hung up."""
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(_READ_BYTES))
        if not isinstance(event, h11.Request):
            return None
        # The end of a request without a body. A body is not read: the connection ends after its answer.
        http.next_event()
    except h11.RemoteProtocolError as error:
        status = HTTPStatus(error.error_status_hint)
        return json_page({**_named(status), "found": str(error)}, status)
    return event


def _written(http: h11.Connection, page: Page, *, ends: bool, with_body: bool = True) -> bytes:
    body = page.text.encode()
    headers = [
        ("date", formatdate(usegmt=True)),
        ("content-type", page.content_type),
        ("content-length", str(len(body))),
        *page.headers,
        *([("connection", "close")] if ends else []),
    ]
    head = h11.Response(status_code=page.status, headers=headers, reason=HTTPStatus(page.status).phrase)
    events = [head, *([h11.Data(data=body)] if with_body else []), h11.EndOfMessage()]
    return b"".join(http.send(event) or b"" for event in events)


async def _part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Report that nothing more comes, and let the client hang up first: one that is hung up on may lose the answer."""
    writer.write_eof()
    async with asyncio.timeout(_LINGER_S):
        while await reader.read(_READ_BYTES):
            pass


def _named(status: HTTPStatus) -> dict[str, str]:
    return {"error": status.phrase}
