"""Connections over HTTP: each serves one exchange at a time, and is kept a while. The only importer of httpcore.

httpcore's own pool is not used: a call that is cancelled at a bad moment takes its place in that pool with it for good
(https://github.com/encode/httpcore/issues/1093), and any call can be cancelled. Here a connection that was not left
in order is thrown away, and its place is free. In order is one on which nothing is left: see `trailing_data`.
"""

import asyncio
import ssl
from asyncio import Semaphore, get_running_loop
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

import certifi
import httpcore

from omnibase_core.errors import HandlerError
from omnibase_infra.http.trailing_data import frames_twice, is_clean

Locate = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives what to connect to for a host and a port, in that order. Raises OSError, UnicodeError or HandlerError."""

PUBLIC_AUTHORITIES_FILE = certifi.where()


class Peer(NamedTuple):
    """Whom a connection is with; `host` is without the brackets of IPv6."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it goes over the wire: `target` is its path and query. `headers` are all of them."""

    peer: Peer
    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """What comes back: header names are in lower case, `pieces` are the body as it arrives."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


@dataclass(slots=True)
class CallProgress:
    """How far a call has come: what fails before anything can have been done may be repeated."""

    connection: "HttpConnection | None" = None
    has_acted: bool = False

    @property
    def may_have_acted(self) -> bool:
        """Whether the server may have begun to do what was asked."""
        return self.has_acted or (self.connection is not None and self.connection.is_made)


async def as_named(host: str, port: int) -> Sequence[str]:  # noqa: ARG001 - a Locate
    """Leave the name to the system."""
    return [host]


@dataclass(slots=True, kw_only=True)
class Connections:
    """As many connections at a time as there may be; the last used is the first used again.

    - `connections_max`: further exchanges wait for a place; an idle connection is kept for `keepalive_s`.
    - `connect_timeout_s`: how long one may take to come about; `read_timeout_s`: the longest silence.
    - `locate`: what is connected to, whatever a resolver says next.
    """

    tls: ssl.SSLContext
    connections_max: int
    keepalive_s: float
    connect_timeout_s: float
    read_timeout_s: float | None = None
    http2: bool = False
    locate: Locate = as_named
    _places: Semaphore = field(init=False)
    _idle: "deque[HttpConnection]" = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        """Make room for as many as there may be."""
        self._places = Semaphore(self.connections_max)

    @asynccontextmanager
    async def exchange(self, request: Request, progress: CallProgress) -> AsyncIterator[Response]:
        """Send a request as soon as there is a connection for it, and give what comes back while it arrives."""
        progress.connection = None
        wire_request = self._wire_request(request)
        async with self._one(request.peer) as connection:
            progress.connection = connection
            with _blaming_the_server():
                response = await connection.http.handle_async_request(wire_request)
                stream: Any = response.aiter_stream()
                try:
                    async with aclosing(stream) as pieces:
                        headers = _headers_of(response)
                        connection.is_doubtful = frames_twice(response.status, headers)
                        yield Response(response.status, headers, pieces)
                finally:
                    # Keeps the connection for the next request where all was read, and ends it otherwise.
                    await response.aclose()

    async def close_idle(self, *, since_s: float = inf) -> None:
        """Close the connections that have been idle since then, or all."""
        while self._idle and self._idle[0].idle_since_s <= since_s:
            await self._idle.popleft().close()

    @contextmanager
    def translated(
        self,
        what: str,
        progress: CallProgress,
        *,
        repeatable: bool,
        redacted: Callable[[str], str],
        timeout_s: float | None = None,
    ) -> Iterator[None]:
        """Turn what an exchange raises, and a TimeoutError after `timeout_s`, into HandlerErrors.

        What ends after the request may have been sent is retryable only where it is `repeatable`. What the vendor or
        the server says is told as `redacted`.
        """
        try:
            yield
        except TimeoutError as error:
            within = "in time" if timeout_s is None else f"within {timeout_s:g} s"
            retryable = repeatable or not progress.may_have_acted
            raise HandlerError("timeout", f"{what}: not done {within}", retryable=retryable) from error
        except httpcore.ConnectTimeout as error:
            message = f"{what}: no connection within {self.connect_timeout_s:g} s (connect_timeout_s)"
            raise HandlerError("timeout", message, retryable=repeatable or not progress.has_acted) from error
        except httpcore.TimeoutException as error:
            message = f"{what}: silent for {self.read_timeout_s or inf:g} s (read_timeout_s)"
            raise HandlerError("timeout", message, retryable=repeatable) from error
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol) as error:
            # The vendor's text is left out: it quotes the header that it refuses.
            raise HandlerError("request_invalid", f"{what}: the request has no form in HTTP") from error
        except httpcore.ProtocolError as error:
            message = f"{what}: broken reply: {redacted(str(error))}"
            raise HandlerError("protocol_error", message, retryable=repeatable) from error
        except (httpcore.NetworkError, httpcore.ConnectionNotAvailable, OSError) as error:
            undone = isinstance(error, httpcore.ConnectError | httpcore.ConnectionNotAvailable)
            retryable = repeatable or (undone and not progress.has_acted)
            message = f"{what}: no connection: {redacted(str(error)) or type(error).__name__}"
            raise HandlerError("unreachable", message, retryable=retryable) from error

    @asynccontextmanager
    async def _one(self, peer: Peer) -> "AsyncIterator[HttpConnection]":
        """Yield a connection for one exchange, as soon as there is one. Raising inside throws it away."""
        async with self._places:
            connection = await self._kept(peer) or self._fresh(peer)
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
            await self.close_idle(since_s=connection.idle_since_s - self.keepalive_s)

    async def _kept(self, peer: Peer) -> "HttpConnection | None":
        while (connection := next((it for it in reversed(self._idle) if it.peer == peer), None)) is not None:
            self._idle.remove(connection)
            if connection.is_usable:
                return connection
            await connection.close()
        return None

    def _fresh(self, peer: Peer) -> "HttpConnection":
        network = _Network(self.locate)
        http = httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(peer.scheme.encode(), peer.host.encode(), peer.port),
            ssl_context=self.tls,
            keepalive_expiry=self.keepalive_s,
            http2=self.http2,
            network_backend=network,
        )
        return HttpConnection(peer, http, network)

    def _wire_request(self, request: Request) -> httpcore.Request:
        scheme, host, port = request.peer
        silence_s = self.read_timeout_s
        return httpcore.Request(
            request.method,
            httpcore.URL(scheme=scheme.encode(), host=host.encode(), port=port, target=request.target.encode("ascii")),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in request.headers.items()],
            content=request.content,
            extensions={"timeout": {"connect": self.connect_timeout_s, "read": silence_s, "write": silence_s}},
        )


@dataclass(slots=True)
class HttpConnection:
    """One connection, from its first use on."""

    peer: Peer
    http: httpcore.AsyncHTTPConnection
    network: "_Network"
    idle_since_s: float = -inf
    is_doubtful: bool = False

    @property
    def is_made(self) -> bool:
        """Whether there is a server at the other end, so that a request may have been sent."""
        return self.network.stream is not None

    @property
    def is_usable(self) -> bool:
        """Whether it was left in order, and the other side has neither ended it nor sent anything since."""
        is_kept = self.http.is_idle() and not self.http.is_closed() and not self.http.has_expired()
        return is_kept and not self.is_doubtful and is_clean(self.http)

    async def close(self) -> None:
        """End it, wherever it is."""
        try:
            await self.http.aclose()
        finally:
            # httpcore forgets a stream whose TLS handshake is cancelled: it would stay open for ever.
            if self.network.stream is not None:
                await self.network.stream.aclose()


class _Network(httpcore.AsyncNetworkBackend):
    """Connects to what was located, and remembers what it connected."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
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
        ends_s = get_running_loop().time() + (timeout or inf)
        addresses = await self._located(host, port, timeout)
        for index, address in enumerate(addresses, start=1):
            # An address that does not answer leaves its share of the time to the others.
            left_s = (ends_s - get_running_loop().time()) / (len(addresses) + 1 - index)
            try:
                self.stream = await self._network.connect_tcp(
                    address, port, max(left_s, 0), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if index == len(addresses):
                    raise
            else:
                return self.stream
        raise httpcore.ConnectError(f"{host} has no address")

    async def _located(self, host: str, port: int, timeout_s: float | None) -> Sequence[str]:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._locate(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} is not known: {error}") from error


def tls_context(
    what: str, *, needed: bool, ca_file: str | None, cert_file: str | None, key_file: str | None
) -> ssl.SSLContext:
    """Return what connections trust, by default the system's authorities, and what they show.

    Raises HandlerError `tls_ca_file_unusable` or `tls_cert_file_unusable`.
    """
    if not needed:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Trusts nobody, and costs nothing.
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        message = f"{what}: tls_ca_file cannot be used: {ca_file!r}: {error}"
        raise HandlerError("tls_ca_file_unusable", message) from error
    if cert_file is not None:
        try:
            # Without a password of our own, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
        except OSError as error:
            message = f"{what}: tls_cert_file (or its key) cannot be used: {cert_file!r}: {error}"
            raise HandlerError("tls_cert_file_unusable", message) from error
    return context


@contextmanager
def _blaming_the_server() -> Iterator[None]:
    """Raise RemoteProtocolError for frames that HTTP/2 forbids: httpcore lets h2's error out, or calls it ours."""
    try:
        yield
    except Exception as error:
        inner = error.args[0] if isinstance(error, httpcore.LocalProtocolError) and error.args else error
        if type(inner).__module__.partition(".")[0] == "h2":
            raise httpcore.RemoteProtocolError(str(inner) or type(inner).__name__) from error
        raise


def _headers_of(response: httpcore.Response) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
