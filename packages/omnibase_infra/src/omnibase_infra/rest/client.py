"""RestClient: sends requests to one server over connections that are kept. No retries, no redirects, no cookies.

httpcore's own pool is not used: a call that is cancelled at a bad moment takes its place in that pool with it for good
(https://github.com/encode/httpcore/issues/1093), and any call can be cancelled. Here a connection that was not left
in order is thrown away, and its place is free.
"""

import ssl
from asyncio import Semaphore, get_running_loop, timeout
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import httpcore

from omnibase_core.errors import HandlerError
from omnibase_infra.rest.messages import RestReply, RestRequest, RestServer


@asynccontextmanager
async def rest_client(server: RestServer) -> AsyncIterator["RestClient"]:
    """Give a client of the server; nothing connects before the first request.

    Raises HandlerError `tls_file_unusable`.
    """
    client = RestClient(server, tls=_tls_context(server))
    try:
        yield client
    finally:
        await client.close_idle()


class RestClient:
    """Sends requests to one server. Used concurrently, and usable after any cancellation.

    Raises HandlerError with one of these codes:

    - `timeout`; `unreachable` (refused, reset, unknown name, untrusted certificate); `protocol_error` (what came is not
      HTTP, or ended early): retryable, unless the request is not repeatable and may have been served.
    - `response_too_large`, `request_invalid` (it has no form in HTTP): not retryable.

    Every status is a reply: what it means is the caller's affair.
    """

    def __init__(self, server: RestServer, *, tls: ssl.SSLContext) -> None:
        """Hold what connections are made with."""
        self._server = server
        self._tls = tls
        self._places = Semaphore(server.connections_max)
        self._idle: deque[_Connection] = deque()

    async def send(self, request: RestRequest, *, timeout_s: float) -> RestReply:
        """Send a request and read the whole reply, within the time and the server's limits."""
        attempt = _Attempt()
        with _translated(self._server, request, attempt, timeout_s=timeout_s):
            async with timeout(timeout_s), self._one() as connection:
                attempt.connection = connection
                return await self._exchange(connection, request)

    async def close_idle(self, *, since_s: float = inf) -> None:
        """Close the connections that have been idle since then, or all."""
        while self._idle and self._idle[0].idle_since_s <= since_s:
            await self._idle.popleft().close()

    @asynccontextmanager
    async def _one(self) -> AsyncIterator["_Connection"]:
        """Give a connection for one exchange, as soon as there is one. Raising inside throws it away."""
        async with self._places:
            connection = await self._kept() or self._fresh()
            try:
                yield connection
            except BaseException:
                await connection.close()
                raise
            if not connection.is_usable:
                await connection.close()
                return
            connection.idle_since_s = get_running_loop().time()
            self._idle.append(connection)
            await self.close_idle(since_s=connection.idle_since_s - self._server.keepalive_s)

    async def _kept(self) -> "_Connection | None":
        """Give the one that was used last, if the other side has not ended it since."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            await connection.close()
        return None

    def _fresh(self) -> "_Connection":
        server, network = self._server, _Network()
        http = httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(server.scheme.encode(), server.host.encode(), server.port),
            ssl_context=self._tls,
            keepalive_expiry=server.keepalive_s,
            network_backend=network,
        )
        return _Connection(http, network)

    async def _exchange(self, connection: "_Connection", request: RestRequest) -> RestReply:
        response = await connection.http.handle_async_request(self._wire_request(request))
        try:
            body = await _read(response, bytes_max=self._server.response_bytes_max)
        finally:
            # Keeps the connection for the next request where all was read, and ends it otherwise.
            await response.aclose()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return RestReply(status=response.status, headers=headers, body=body)

    def _wire_request(self, request: RestRequest) -> httpcore.Request:
        server = self._server
        host = f"[{server.host}]" if ":" in server.host else server.host
        headers = {"host": f"{host}:{server.port}", **server.headers, **request.headers}
        if request.content is not None or request.method != "GET":
            headers["content-length"] = str(len(request.content or b""))
        return httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=server.scheme.encode(), host=server.host.encode(), port=server.port, target=request.target
            ),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()],
            content=request.content or b"",
            extensions={"timeout": {"connect": server.connect_timeout_s}},
        )


@dataclass(slots=True)
class _Connection:
    http: httpcore.AsyncHTTPConnection
    network: "_Network"
    idle_since_s: float = -inf

    @property
    def is_made(self) -> bool:
        """Whether there is a server at the other end, so that a request may have been sent."""
        return self.network.stream is not None

    @property
    def is_usable(self) -> bool:
        """Whether it was left in order, and the other side has not ended it since."""
        return self.http.is_idle() and not self.http.is_closed() and not self.http.has_expired()

    async def close(self) -> None:
        """End it, wherever it is."""
        try:
            await self.http.aclose()
        finally:
            # httpcore forgets a stream whose TLS handshake is cancelled: it would stay open for ever.
            if self.network.stream is not None:
                await self.network.stream.aclose()


@dataclass(slots=True)
class _Attempt:
    """How far a request has come: what fails before there is a connection cannot have been served."""

    connection: _Connection | None = None

    @property
    def may_be_served(self) -> bool:
        return self.connection is not None and self.connection.is_made


class _Network(httpcore.AsyncNetworkBackend):
    """Connects, and remembers what it connected."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()
        self.stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return self.stream


async def _read(response: httpcore.Response, *, bytes_max: int) -> bytes:
    """Read the body, no further than it may be."""
    body = bytearray()
    stream: Any = response.aiter_stream()
    async with aclosing(stream):
        async for piece in stream:
            body += piece
            if len(body) > bytes_max:
                raise _TooLarge
    return bytes(body)


class _TooLarge(Exception):
    """A body over the limit: it is not read to its end."""


@contextmanager
def _translated(server: RestServer, request: RestRequest, attempt: _Attempt, *, timeout_s: float) -> Iterator[None]:
    """Turn what httpcore raises into HandlerErrors: the one place that knows its exceptions."""
    what = f"{server.name}: {request}"
    try:
        yield
    except TimeoutError as error:
        retryable = request.repeatable or not attempt.may_be_served
        raise HandlerError("timeout", f"{what}: not done within {timeout_s:g} s", retryable=retryable) from error
    except _TooLarge as error:
        text = f"{what}: the reply is over {server.response_bytes_max} bytes (response_bytes_max)"
        raise HandlerError("response_too_large", text) from error
    except httpcore.ConnectTimeout as error:
        text = f"{what}: no connection within {server.connect_timeout_s:g} s (connect_timeout_s)"
        raise HandlerError("timeout", text, retryable=True) from error
    except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol) as error:
        # The vendor's text is left out: it quotes the header that it refuses.
        raise HandlerError("request_invalid", f"{what}: the request has no form in HTTP") from error
    except httpcore.ProtocolError as error:
        reason = server.redacted(str(error))
        raise HandlerError("protocol_error", f"{what}: broken reply: {reason}", retryable=request.repeatable) from error
    except (httpcore.NetworkError, OSError) as error:
        reason = server.redacted(str(error)) or type(error).__name__
        retryable = request.repeatable or isinstance(error, httpcore.ConnectError)
        raise HandlerError("unreachable", f"{what}: no connection: {reason}", retryable=retryable) from error


def _tls_context(server: RestServer) -> ssl.SSLContext:
    """Give what connections trust and show."""
    if server.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Trusts nobody, and costs nothing.
    files = [name for name in ("tls_ca_file", "tls_cert_file", "tls_key_file") if getattr(server, name)]
    try:
        context = ssl.create_default_context(cafile=server.tls_ca_file)
        if server.tls_cert_file is not None:
            # Without a password of our own, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(server.tls_cert_file, server.tls_key_file, password="")
    except OSError as error:
        text = f"{server.name}: {', '.join(files)} cannot be used: {error}"
        raise HandlerError("tls_file_unusable", text) from error
    return context
