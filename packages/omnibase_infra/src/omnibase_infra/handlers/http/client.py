"""What the `http` handler does: a request out, a typed result back. The only importer of httpx.

It uses httpx's transport rather than its client: a client would remember cookies from one command to the next, read
proxies from the environment, and judge the redirects that are results here.
"""

import ssl
from asyncio import Semaphore, get_running_loop, timeout
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

import httpx

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.http.bodies import Unpacker, content_of, is_json, json_of, query_of, text_of
from omnibase_infra.handlers.http.models import HttpRequest, HttpSettings, HttpTarget
from omnibase_infra.handlers.http.verdicts import is_expected, is_repeatable, status_error, timeout_error

_SECRET_LENGTH_MIN = 8


@asynccontextmanager
async def http_handler(*, settings: HttpSettings, targets: Mapping[str, HttpTarget]) -> AsyncIterator["HttpHandler"]:
    """Give the handler with connections of its own for each target; nothing connects before the first call."""
    async with AsyncExitStack() as stack:
        opened: dict[str, _OpenTarget] = {}
        for name, target in targets.items():
            connections = _Connections(target, _tls_context(name, target))
            stack.push_async_callback(connections.close_idle)
            opened[name] = _OpenTarget(name, target, settings.user_agent, connections)
        yield HttpHandler(opened)


class HttpHandler:
    """Sends requests to the targets. A Handler; used concurrently, and usable after any cancellation.

    Raises HandlerError with one of these codes:

    - `timeout`; `unreachable` (refused, reset, unknown name, untrusted certificate); `protocol_error` (what came is not
      HTTP, or ended early): retryable, unless a POST or PATCH may have been done.
    - `http_status`, by the rule at HttpRequest.expect; `details` holds the status and an excerpt of the body. Retryable
      where the status is, likewise; `Retry-After` says when.
    - `response_too_large`; `invalid_response` (the body is not what its headers say); `host_not_allowed`;
      `request_invalid`: not retryable.
    """

    def __init__(self, targets: "Mapping[str, _OpenTarget]") -> None:
        """Hold the opened targets by the names under which nodes know them."""
        self._targets = targets

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Send the request, read the reply within the target's limits, and judge it."""
        request, opened = call.request, self._targets.get(call.target or "")
        assert isinstance(request, HttpRequest)  # noqa: S101 - narrows the type; the runtime validated it
        if opened is None:
            raise HandlerError("request_invalid", f"there is no http target {call.target!r}")
        message = opened.message(request)
        what = f"{message.method} {message.url.copy_with(query=None)}"
        with _translated(opened, what, request, timeout_s=call.timeout_s):
            async with timeout(call.timeout_s):
                reply = await opened.exchange(message)
        if not is_expected(reply.status, request.expect):
            raise status_error(what, request, reply.status, reply.headers, opened.redacted(reply.text))
        if reply.fault is not None:
            raise HandlerError(reply.fault.code, f"{what}: {reply.fault}")
        return _result(what, reply)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back. `fault` says why `body` is not all of it; it counts only where the status is no error."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    fault: HandlerError | None

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def text(self) -> str:
        return text_of(self.body, self.content_type)


@dataclass(frozen=True, slots=True)
class _OpenTarget:
    """A target with its connections."""

    name: str
    target: HttpTarget
    user_agent: str
    connections: "_Connections"

    def message(self, request: HttpRequest) -> httpx.Request:
        """Build the message. Raises HandlerError for a request that goes beyond the target."""
        url = self._base_url(request) + request.escaped_path + query_of(request)
        try:
            content_headers, content = content_of(request)
            headers = {"user-agent": self.user_agent, "accept-encoding": "gzip", **content_headers}
            return httpx.Request(request.method, url, headers=headers | self._headers(request), content=content)
        except (httpx.InvalidURL, ValueError) as error:
            raise HandlerError("request_invalid", f"target {self.name!r}: {error}") from error

    async def exchange(self, message: httpx.Request) -> _Reply:
        """Send a message and read what comes back, no further than the target allows."""
        async with self.connections.one() as connection:
            message.extensions = {"timeout": self._timeouts(), "trace": connection.note}
            response = await connection.transport.handle_async_request(message)
            try:
                body, fault = await _read(response, bytes_max=self.target.response_bytes_max)
            finally:
                # Keeps the connection for the next request where all was read, and ends it otherwise.
                await response.aclose()
        return _Reply(response.status_code, _headers_of(response), body, fault)

    def redacted(self, text: str) -> str:
        """Give a text without the target's headers: servers and vendors like to repeat what they were sent."""
        secrets = {part for value in self.target.headers.values() for part in (value, *value.split())}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SECRET_LENGTH_MIN:
                text = text.replace(secret, "***")
        return text

    def _base_url(self, request: HttpRequest) -> str:
        host = request.host or self.target.host
        if host not in self.target.hosts:
            allowed = ", ".join(self.target.hosts)
            raise HandlerError("host_not_allowed", f"target {self.name!r} allows the hosts {allowed}; found {host!r}")
        return self.target.base_url_at(host)

    def _headers(self, request: HttpRequest) -> dict[str, str]:
        """Give the headers of the contracts. A request cannot replace what the host contract has set."""
        for name in request.headers.keys() & self.target.headers.keys():
            raise HandlerError("request_invalid", f"header {name!r} is set by the target {self.name!r}; leave it out")
        return {name: value for name, value in request.headers.items() if value is not None} | self.target.headers

    def _timeouts(self) -> Mapping[str, float | None]:
        silence_s = self.target.read_timeout_s
        return httpx.Timeout(self.target.connect_timeout_s, read=silence_s, write=silence_s).as_dict()


@dataclass(slots=True)
class _Connection:
    """A transport of its own for each connection: see _Connections."""

    transport: httpx.AsyncHTTPTransport
    idle_since_s: float = -inf
    stream: Any = None

    async def note(self, event: str, happening: Mapping[str, Any]) -> None:
        """Take what httpx's `trace` tells, to know the stream before its TLS handshake."""
        if event == "connection.connect_tcp.complete":
            self.stream = happening["return_value"]

    async def close(self) -> None:
        try:
            await self.transport.aclose()
        finally:
            # httpx forgets a stream whose TLS handshake is cancelled: it would stay open for ever.
            if self.stream is not None:
                await self.stream.aclose()


@dataclass(slots=True)
class _Connections:
    """The connections to one target, as many at a time as the target allows; the last used is the first used again.

    httpx's own pool is not used: a call that is cancelled at a bad moment takes its place in that pool with it for good
    (https://github.com/encode/httpcore/issues/1093), and any call can be cancelled. Here a connection that was not left
    in order is thrown away, and its place is free.
    """

    target: HttpTarget
    tls: ssl.SSLContext
    _places: Semaphore = field(init=False)
    _idle: deque[_Connection] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        self._places = Semaphore(self.target.connections_max)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[_Connection]:
        """Give a connection for one exchange, as soon as there is one. Raising inside throws it away."""
        async with self._places:
            connection = self._idle.pop() if self._idle else self._fresh()
            try:
                yield connection
            except BaseException:
                await connection.close()
                raise
            connection.idle_since_s = get_running_loop().time()
            self._idle.append(connection)
            await self.close_idle(since_s=connection.idle_since_s - self.target.keepalive_s)

    async def close_idle(self, *, since_s: float = inf) -> None:
        """Close the connections that have been idle since then, or all."""
        while self._idle and self._idle[0].idle_since_s <= since_s:
            await self._idle.popleft().close()

    def _fresh(self) -> _Connection:
        limits = httpx.Limits(max_connections=1, keepalive_expiry=self.target.keepalive_s)
        return _Connection(httpx.AsyncHTTPTransport(verify=self.tls, limits=limits))


def _tls_context(name: str, target: HttpTarget) -> ssl.SSLContext:
    if not target.uses_tls:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Trusts nobody, and costs nothing.
    if target.tls_ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=target.tls_ca_file)
    except OSError as error:
        where = f"tls_ca_file {target.tls_ca_file!r} of the http target {name!r}"
        raise HandlerError("tls_ca_file_unusable", f"{where} cannot be used: {error}") from error


@contextmanager
def _translated(opened: _OpenTarget, what: str, request: HttpRequest, *, timeout_s: float) -> Iterator[None]:
    """Turn what httpx raises into HandlerErrors: the one place that knows its exceptions.

    What ends after the request may have been sent is retryable only where it is repeatable.
    """
    repeatable = is_repeatable(request.method)
    connect_s, silence_s = opened.target.connect_timeout_s, opened.target.read_timeout_s
    try:
        yield
    except TimeoutError as error:
        raise timeout_error(what, request, timeout_s) from error
    except httpx.ConnectTimeout as error:
        message = f"{what}: no connection within {connect_s:g} s (connect_timeout_s)"
        raise HandlerError("timeout", message, retryable=True) from error
    except httpx.TimeoutException as error:
        message = f"{what}: silent for {silence_s:g} s (read_timeout_s)"
        raise HandlerError("timeout", message, retryable=repeatable) from error
    except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
        # The vendor's text is left out: it quotes the header that it refuses.
        raise HandlerError("request_invalid", f"{what}: the request has no form in HTTP") from error
    except httpx.ProtocolError as error:
        message = f"{what}: broken reply: {opened.redacted(str(error))}"
        raise HandlerError("protocol_error", message, retryable=repeatable) from error
    except (httpx.TransportError, OSError) as error:
        reason = opened.redacted(str(error)) or type(error).__name__
        undone = isinstance(error, httpx.ConnectError)
        raise HandlerError("unreachable", f"{what}: no connection: {reason}", retryable=undone or repeatable) from error


def _headers_of(response: httpx.Response) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _read(response: httpx.Response, *, bytes_max: int) -> tuple[bytes, HandlerError | None]:
    """Read and unpack the body up to the limit, and say why it is not whole if it is not."""
    body = bytearray()
    unpacker = Unpacker(response.headers.get("content-encoding", ""))
    try:
        async for piece in response.aiter_raw():
            body += unpacker.unpack(piece, bytes_max=bytes_max + 1 - len(body))
            if len(body) > bytes_max:
                message = f"the body is over {bytes_max} bytes (response_bytes_max of the target)"
                return bytes(body[:bytes_max]), HandlerError("response_too_large", message)
        unpacker.finish()
    except ValueError as error:
        return bytes(body), HandlerError("invalid_response", f"the body cannot be unpacked: {error}")
    return bytes(body), None


def _result(what: str, reply: _Reply) -> Mapping[str, Any]:
    """Give the result as JSON values, in the form of HttpResponse."""
    result = {"status": reply.status, "headers": reply.headers, "json": None, "text": None}
    if not reply.body or not is_json(reply.content_type):
        return result | {"text": reply.text}
    try:
        return result | {"json": json_of(reply.body)}
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise HandlerError("invalid_response", f"{what}: the body is not the JSON it says it is: {reason}") from error
