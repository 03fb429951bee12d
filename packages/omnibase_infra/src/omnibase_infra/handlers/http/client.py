"""What the `http` handler does: a request out, a typed result back, and every failure as a HandlerError."""

import socket
from asyncio import get_running_loop, timeout
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pydantic import JsonValue

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.http.addresses import is_allowed, kind_of
from omnibase_infra.handlers.http.bodies import is_json, json_of
from omnibase_infra.handlers.http.exchange import Exchange, OpenHttpTarget
from omnibase_infra.handlers.http.messages import HttpMessage, Reply, Writer
from omnibase_infra.handlers.http.models import Cursor, HttpRequest, Pages
from omnibase_infra.handlers.http.oauth2_tokens import Tokens
from omnibase_infra.handlers.http.response_errors import is_expected, is_repeatable, status_error
from omnibase_infra.handlers.http.target import HttpSettings, HttpTarget, OAuth2Auth, origin_of
from omnibase_infra.http.connections import PUBLIC_AUTHORITIES_FILE, CallProgress, Connections, tls_context

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name. Raises OSError."""


_TOKEN_BYTES_MAX = 65_536
_BAD_REQUEST = 400


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system, in the order in which it would connect."""
    found = await get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Lookup:
    """Finds the addresses of a target's hosts. `trusted` are those that the host contract itself wrote."""

    name: str
    target: HttpTarget
    resolve: Resolve
    trusted: frozenset[str]

    async def allowed(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses that may be connected to. Raises HandlerError where there are others alone."""
        found = [host] if _is_address(host) else await self.resolve(host, port)
        allowed = [it for it in found if is_allowed(it, self.target.allow) or (it == host and host in self.trusted)]
        if found and not allowed:
            kind = kind_of(found[0])
            hint = "never connected to" if kind == "reserved" else f"the host contract can allow it: allow: [{kind}]"
            raise HandlerError(
                "address_refused",
                f"target {self.name!r}: {host} leads to {found[0]}, which is not a public address but {kind}; {hint}",
            )
        return allowed


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@asynccontextmanager
async def http_handler(
    *, settings: HttpSettings, targets: Mapping[str, HttpTarget], resolve: Resolve
) -> AsyncIterator["HttpHandler"]:
    """Yield the handler with connections of its own for each target; nothing connects before the first call."""
    async with AsyncExitStack() as stack:
        opened: dict[str, OpenHttpTarget] = {}
        for name, target in targets.items():
            opened[name] = _open(name, target, settings, resolve)
            stack.push_async_callback(opened[name].connections.close_idle)
        yield HttpHandler(opened)


def _open(name: str, target: HttpTarget, settings: HttpSettings, resolve: Resolve) -> OpenHttpTarget:
    connections = _connections(name, target, resolve)
    writer = Writer(name, target, settings.user_agent)
    opened = OpenHttpTarget(name, target, writer, connections, None)
    if not isinstance(target.auth, OAuth2Auth):
        return opened

    async def send(message: HttpMessage) -> Reply:
        # No token changes anything: it may always be asked for again.
        progress = CallProgress()
        with connections.translated(str(message), progress, repeatable=True, redacted=opened.redacted):
            return await opened.roundtrip(message, bytes_max=_TOKEN_BYTES_MAX, progress=progress)

    return OpenHttpTarget(name, target, writer, connections, Tokens(name, target.auth, send))


def _connections(name: str, target: HttpTarget, resolve: Resolve) -> Connections:
    trusted = set(target.hosts)
    if isinstance(target.auth, OAuth2Auth):
        trusted.add(origin_of(target.auth.token_url)[0].host)
    return Connections(
        tls=tls_context(
            f"http target {name!r}",
            needed=target.uses_tls or target.auth is not None,
            ca_file=target.tls_ca_file or PUBLIC_AUTHORITIES_FILE,
            cert_file=target.tls_cert_file,
            key_file=target.tls_key_file,
        ),
        connections_max=target.connections_max,
        keepalive_s=target.keepalive_s,
        connect_timeout_s=target.connect_timeout_s,
        read_timeout_s=target.read_timeout_s,
        http2=target.http2,
        locate=Lookup(name, target, resolve, frozenset(host.strip("[]") for host in trusted)).allowed,
    )


class HttpHandler:
    """Sends requests to the targets. A Handler; used concurrently, and usable after any cancellation.

    Raises HandlerError with one of these codes:

    - `timeout`; `unreachable` (refused, reset, unknown name, untrusted certificate); `protocol_error` (what came is not
      HTTP, or ended early): retryable, unless a POST or PATCH may have been done.
    - `http_status`, by the rule at HttpRequest.expect; `details` holds the status and an excerpt of the body. Retryable
      where the status is, likewise; `Retry-After` says when.
    - `token_unavailable`: retryable; `token_refused`: where another secret may cure it.
    - `address_refused`, `host_not_allowed`, `redirect_refused`, `page_refused`; `response_too_large`;
      `invalid_response` (the body is not what its headers say); `request_invalid`: not retryable.
    """

    def __init__(self, targets: Mapping[str, OpenHttpTarget]) -> None:
        """Keep the opened targets by the names under which nodes know them."""
        self._targets = targets

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Send the request, read the reply within the target's limits, and judge it."""
        request, opened = call.request, self._targets.get(call.target or "")
        assert isinstance(request, HttpRequest)  # noqa: S101 - narrows the type; the runtime validated it
        if opened is None:
            raise HandlerError("request_invalid", f"there is no http target {call.target!r}")
        message = opened.writer.message(request, key=str(call.call_id))
        repeatable = is_repeatable(message.method) or opened.target.idempotency_header is not None
        progress = CallProgress()
        judge = _Judge(opened, request, repeatable)
        with opened.connections.translated(
            str(message), progress, repeatable=repeatable, redacted=opened.redacted, timeout_s=call.timeout_s
        ):
            async with timeout(call.timeout_s):
                exchange = Exchange(opened, progress)
                if request.pages is not None:
                    return await _read_pages(exchange, judge, message, request.pages)
                bytes_max = opened.target.response_bytes_max
                message, reply = await exchange.send(message, redirects=request.redirects, bytes_max=bytes_max)
        return judge.result(message, reply)


async def _read_pages(exchange: Exchange, judge: "_Judge", message: HttpMessage, pages: Pages) -> Mapping[str, Any]:
    """Read page after page, within the limit of one reply for all of them together."""
    bodies: list[JsonValue] = []
    left = exchange.opened.target.response_bytes_max
    following: HttpMessage | None = message
    result: Mapping[str, Any] = {}
    while following is not None and len(bodies) < pages.max:
        message, reply = await exchange.send(following, redirects=judge.request.redirects, bytes_max=left)
        result = judge.result(message, reply)
        if not is_json(reply.content_type) or result["text"]:
            told = f"{message}: status {reply.status}: a page has to be JSON, found {reply.content_type!r}"
            raise HandlerError("invalid_response", told, details=_details(reply))
        bodies.append(result["json"])
        left -= len(reply.body)
        following = _next_page(exchange.opened.writer, message, judge.request, reply, result["json"], pages)
    return {**result, "json": None, "pages": bodies, "more": following is not None}


def _next_page(
    writer: Writer, message: HttpMessage, request: HttpRequest, reply: Reply, body: JsonValue, pages: Pages
) -> HttpMessage | None:
    if not isinstance(pages.next, Cursor):
        link = reply.next_link
        return None if link is None else writer.elsewhere(message, link, what="page")
    value: JsonValue = body
    for name in pages.next.json_path:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None or value == "":
        return None
    if not isinstance(value, str | int):
        raise HandlerError("invalid_response", f"{message}: the next page's cursor is neither a text nor a number")
    query = {**request.query, pages.next.query: value}
    return writer.message(request.model_copy(update={"query": query}), key="")


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says what a reply means to a request."""

    opened: OpenHttpTarget
    request: HttpRequest
    repeatable: bool

    def result(self, message: HttpMessage, reply: Reply) -> Mapping[str, Any]:
        """Return the result as JSON values, in the form of HttpResponse. Raises HandlerError for what is none."""
        request = self.request
        if not is_expected(reply.status, request.expect):
            body = self.opened.redacted(reply.text)
            raise status_error(str(message), request, reply.status, reply.headers, body, repeatable=self.repeatable)
        if reply.fault is not None:
            told = f"{message}: status {reply.status}: {reply.fault}"
            raise HandlerError(reply.fault.code, told, details=_details(reply))
        result = {"status": reply.status, "headers": reply.headers, "json": None, "text": None, "bytes": None}
        result |= {"pages": None, "more": False}
        if self.request.read == "bytes":
            return result | {"bytes": b64encode(reply.body).decode()}
        if not reply.body or not is_json(reply.content_type):
            return result | {"text": reply.text}
        try:
            return result | {"json": json_of(reply.body)}
        except ValueError as error:
            if reply.status >= _BAD_REQUEST:
                # Proxies and gateways say JSON of a page of their own: that must not hide which error it was.
                return result | {"text": reply.text}
            reason = str(error).partition("\n")[0]
            text = f"{message}: status {reply.status}: the body is not the JSON it says it is: {reason}"
            raise HandlerError("invalid_response", text, details=_details(reply)) from error


def _details(reply: Reply) -> Mapping[str, Any]:
    return {"status": reply.status}
