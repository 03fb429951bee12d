"""The connections on which the vendors' libraries speak: bounded, without memory. The only importer of httpx2.

The libraries' own way would follow redirects with the API key, remember cookies from one command to the next, read
proxies from the environment, and collect an event that never ends. httpx2's pool is not used either: a call that is
cancelled at a bad moment takes its place in that pool with it for good
(https://github.com/encode/httpcore/issues/1093), and any call can be cancelled. Here a connection that was not left in
order is thrown away, and so is one on which anything is left: see `http.trailing_data`.
"""

import asyncio
import ssl
from asyncio import get_running_loop
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

import httpx2

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.llm.failures import redacted, status_error
from omnibase_infra.handlers.llm.target import LlmTarget
from omnibase_infra.http.trailing_data import frames_twice, is_clean

T = TypeVar("T")


_KEEPALIVE_S = 4.0
_DRAIN_S = 0.1
_OK = 200
_FRAME_BYTES = 64 * 1024
"""What stands around the text of an event or an answer."""
_UNSAFE_GROWTH = 6
"""By how much JSON may write a byte of text longer: as a `\\u` with four digits."""
_KEPT_HEADERS = frozenset(
    {"accept", "anthropic-version", "connection", "content-length", "content-type", "host", "user-agent"}
)
"""The libraries add others, from the environment too, and could take credentials from there."""
_EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")


@asynccontextmanager
async def http_client(
    name: str, target: LlmTarget, credentials: Mapping[str, str]
) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield what a vendor's library sends its requests with; `credentials` are the headers that open the server.

    Raises HandlerError for an unusable `tls_ca_file`.
    """
    bytes_max = target.answer_bytes_max * _UNSAFE_GROWTH + _FRAME_BYTES
    transport = _Wire(_tls_context(name, target), bytes_max, credentials)
    async with httpx2.AsyncClient(
        transport=transport, timeout=timeouts(target), follow_redirects=False, trust_env=False
    ) as client:
        yield client


def timeouts(target: LlmTarget) -> httpx2.Timeout:
    """Return the times of a connection; how long an answer may take is the handler's own affair."""
    return httpx2.Timeout(None, connect=target.connect_timeout_s)


@contextmanager
def translated(vendor: Any, what: str, target: LlmTarget, secret: str | None) -> Iterator[None]:
    """Turn what a vendor's library, and httpx2 below it, raises into HandlerErrors: the one place that knows them.

    `vendor` is the library: those of OpenAI and Anthropic name their errors alike. Every call may be made again: it
    changes nothing but the bill.
    """
    try:
        with _without_wrapping(vendor):
            yield
    except HandlerError as error:
        raise _about(what, error) from error
    except vendor.APIStatusError as error:
        response = error.response
        body = response.text if error.body is None else error.body
        raise status_error(
            what, status=response.status_code, headers=response.headers, body=body, secret=secret
        ) from error
    except vendor.APIError as error:
        raise status_error(what, status=_OK, headers={}, body=error.body or str(error), secret=secret) from error
    except httpx2.ConnectTimeout as error:
        message = f"{what}: no connection within {target.connect_timeout_s:g} s (connect_timeout_s)"
        raise HandlerError("timeout", message, retryable=True) from error
    except httpx2.LocalProtocolError as error:
        # The vendor's text is left out: it quotes the header that it refuses.
        raise HandlerError("request_invalid", f"{what}: the request has no form in HTTP") from error
    except httpx2.ProtocolError as error:
        message = f"{what}: broken reply: {redacted(str(error), secret)}"
        raise HandlerError("protocol_error", message, retryable=True) from error
    except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
        reason = redacted(str(error), secret) or type(error).__name__
        raise HandlerError("unreachable", f"{what}: no connection: {reason}", retryable=True) from error
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        # The libraries build their values from whatever came, without a look at it.
        message = f"{what}: the reply is not in the form of the API ({type(error).__name__})"
        raise HandlerError("protocol_error", message, retryable=True) from error


@contextmanager
def _without_wrapping(vendor: Any) -> Iterator[None]:
    """Raise what the vendor's library met, and not that it met something."""
    try:
        yield
    except vendor.APIConnectionError as error:
        raise (error.__cause__ or HandlerError("unreachable", "no connection", retryable=True)) from None


def _about(what: str, error: HandlerError) -> HandlerError:
    return HandlerError(
        error.code,
        f"{what}: {error}",
        retryable=error.retryable,
        retry_after_s=error.retry_after_s,
        details=error.details,
    )


@dataclass(slots=True)
class _Connection:
    """A transport of its own for each connection."""

    transport: httpx2.AsyncHTTPTransport
    idle_since_s: float = -inf
    stream: Any = None

    async def note(self, event: str, happening: Mapping[str, Any]) -> None:
        """Take what httpx2's `trace` tells, to know the stream before its TLS handshake."""
        if event == "connection.connect_tcp.complete":
            self.stream = happening["return_value"]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left on it."""
        return all(map(is_clean, self.transport._pool.connections))  # noqa: SLF001 - the one way to what it holds

    async def close(self) -> None:
        try:
            await self.transport.aclose()
        finally:
            # httpx2 forgets a stream whose TLS handshake is cancelled: it would stay open for ever.
            if self.stream is not None:
                await self.stream.aclose()


@dataclass
class _Wire(httpx2.AsyncBaseTransport):
    """Sends each request on a connection that nothing else uses meanwhile; the last used is the first used again."""

    tls: ssl.SSLContext
    bytes_max: int
    credentials: Mapping[str, str]
    _idle: deque[_Connection] = field(default_factory=deque)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; the reply comes unpacked, bounded, and without cookies."""
        kept = {name: value for name, value in request.headers.items() if name.lower() in _KEPT_HEADERS}
        request.headers = httpx2.Headers({**kept, "accept-encoding": "identity", **self.credentials})
        connection = await self._kept() or self._fresh()
        request.extensions = {**request.extensions, "trace": connection.note}
        try:
            response = await connection.transport.handle_async_request(request)
        except BaseException:
            await connection.close()
            raise
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"set-cookie"]
        reply = _Reply(response, connection, self)
        if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            await reply.aclose()
            # A few bytes could unfold to a few gigabytes.
            raise HandlerError(
                "protocol_error", "the response is compressed, though the request did not accept that", retryable=True
            )
        return httpx2.Response(response.status_code, headers=headers, stream=reply, extensions=response.extensions)

    async def aclose(self) -> None:
        """Close what is idle; what is in use ends with its call."""
        await self._close_idle(since_s=inf)

    async def put_back(self, connection: _Connection) -> None:
        """Keep a connection that was left in order, and close any other."""
        if not connection.is_clean:
            await connection.close()
            return
        connection.idle_since_s = get_running_loop().time()
        self._idle.append(connection)
        await self._close_idle(since_s=connection.idle_since_s - _KEEPALIVE_S)

    async def _close_idle(self, *, since_s: float) -> None:
        while self._idle and self._idle[0].idle_since_s <= since_s:
            await self._idle.popleft().close()

    async def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_clean:
                return connection
            await connection.close()
        return None

    def _fresh(self) -> _Connection:
        limits = httpx2.Limits(max_connections=1, keepalive_expiry=_KEEPALIVE_S)
        return _Connection(httpx2.AsyncHTTPTransport(verify=self.tls, limits=limits, trust_env=False))


class _Reply(httpx2.AsyncByteStream):
    """The body of a reply. Raises HandlerError where one event, or a reply that is none of events, is too large."""

    def __init__(self, response: httpx2.Response, connection: _Connection, wire: _Wire) -> None:
        self._body = response.stream
        self._is_events = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        self._connection: _Connection | None = connection
        self._wire = wire
        self._unended_bytes = 0
        self._tail = b""
        self._whole = False
        self._is_doubtful = frames_twice(response.status_code, response.headers)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._body, httpx2.AsyncByteStream)  # noqa: S101 - narrows the type
        async for piece in self._body:
            self._count(piece)
            yield piece
        self._whole = True

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not self._whole and b"[DONE]" in self._tail:
                await self._drain()
        finally:
            try:
                assert isinstance(self._body, httpx2.AsyncByteStream)  # noqa: S101 - narrows the type
                await self._body.aclose()
            except BaseException:
                self._whole = False
                raise
            finally:
                is_kept = self._whole and not self._is_doubtful
                await (self._wire.put_back(connection) if is_kept else connection.close())

    async def _drain(self) -> None:
        """Read the little that follows the last event, so that the connection can be used again."""
        try:
            async with asyncio.timeout(_DRAIN_S):
                async for _ in self:
                    pass
        except (TimeoutError, HandlerError, httpx2.HTTPError, httpx2.StreamError):
            self._whole = False

    def _count(self, piece: bytes) -> None:
        seen = self._tail + piece
        ends = max(seen.rfind(end) for end in _EVENT_ENDS) if self._is_events else -1
        # Of the piece, what follows the last end of an event counts.
        self._unended_bytes = self._unended_bytes + len(piece) if ends < 0 else len(seen) - ends
        self._tail = seen[-32:]
        if self._unended_bytes > self._wire.bytes_max:
            what = "one event of the answer" if self._is_events else "the reply"
            message = f"{what} is over {self._wire.bytes_max} bytes (by answer_bytes_max of the target)"
            raise HandlerError("response_too_large", message)


def _tls_context(name: str, target: LlmTarget) -> ssl.SSLContext:
    if (target.base_url or "https:").startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Trusts nobody, and costs nothing.
    if target.tls_ca_file is None:
        return httpx2.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=target.tls_ca_file)
    except OSError as error:
        where = f"tls_ca_file {target.tls_ca_file!r} of the llm target {name!r}"
        raise HandlerError("tls_ca_file_unusable", f"{where} cannot be used: {error}") from error


@dataclass(slots=True)
class Patience:
    """Waits for the first token as long as the target allows, and then for each that follows.

    What a server sends to keep the connection alive is no token. Raises HandlerError, `timeout`.
    """

    target: LlmTarget
    _ends_s: float = field(init=False)
    _began: bool = False

    def __post_init__(self) -> None:
        """Begin to wait."""
        self._ends_s = get_running_loop().time() + self.target.first_token_timeout_s

    async def wait(self, coming: Awaitable[T]) -> T:
        """Return what comes, if it comes in time."""
        try:
            async with asyncio.timeout_at(self._ends_s):
                return await coming
        except TimeoutError as error:
            raise HandlerError("timeout", self._told, retryable=True) from error

    async def each(self, stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield each token that comes."""
        while True:
            try:
                token = await self.wait(anext(stream))
            except StopAsyncIteration:
                return
            self._began = True
            self._ends_s = get_running_loop().time() + self.target.token_timeout_s
            yield token

    @property
    def _told(self) -> str:
        if self._began:
            return f"no token for {self.target.token_timeout_s:g} s (token_timeout_s)"
        return f"no token within {self.target.first_token_timeout_s:g} s (first_token_timeout_s)"
