"""Connections to one Vault server: one exchange at a time on each, and one that was not left in order is thrown away.

httpcore's own pool is not used: a call that is cancelled at a bad moment takes its place in that pool with it for good
(https://github.com/encode/httpcore/issues/1093), and any call can be cancelled.
"""

import ssl
from asyncio import Semaphore
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import certifi
import httpcore

from omnibase_core.errors import HandlerError
from omnibase_infra.vault.target import VaultTarget

_KEEPALIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Connection:
    """One connection, from its first use on."""

    http: httpcore.AsyncHTTPConnection
    network: "_NotedNetwork"

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
class Connections:
    """As many connections at a time as the target allows; the last used is the first used again."""

    target: VaultTarget
    tls: ssl.SSLContext
    _places: Semaphore = field(init=False)
    _idle: list[Connection] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Make room for as many as the target allows."""
        self._places = Semaphore(self.target.connections_max)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        """Give a connection for one exchange, as soon as there is one. Raising inside throws it away."""
        async with self._places:
            connection = await self._kept() or self._fresh()
            try:
                yield connection
            except BaseException:
                await connection.close()
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        """Close those that are idle."""
        while self._idle:
            await self._idle.pop().close()

    async def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            await connection.close()
        return None

    def _fresh(self) -> Connection:
        network = _NotedNetwork()
        scheme, host, port = self.target.origin
        http = httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(scheme.encode(), host.encode(), port),
            ssl_context=self.tls,
            keepalive_expiry=_KEEPALIVE_S,
            network_backend=network,
        )
        return Connection(http, network)


class _NotedNetwork(httpcore.AsyncNetworkBackend):
    """Connects, and keeps the stream from before its TLS handshake on."""

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


async def exchange(
    connection: Connection, target: VaultTarget, method: str, path: str, headers: Mapping[str, str], content: bytes
) -> Reply:
    """Send one request and read its whole reply. Raises what httpcore does, or HandlerError for a reply too large."""
    scheme, host, port = target.origin
    connect_s = target.connect_timeout_s
    request = httpcore.Request(
        method,
        httpcore.URL(scheme=scheme.encode(), host=host.encode(), port=port, target=path.encode("ascii")),
        headers=[("host", target.authority), *headers.items(), ("content-length", str(len(content)))],
        content=content,
        extensions={"timeout": {"connect": connect_s}},
    )
    response = await connection.http.handle_async_request(request)
    body = bytearray()
    try:
        stream: Any = response.aiter_stream()
        async for piece in stream:
            body += piece
            if len(body) > target.response_bytes_max:
                limit = f"{target.response_bytes_max} bytes (response_bytes_max of the target)"
                raise HandlerError("response_too_large", f"the reply is over {limit}")
    finally:
        await response.aclose()
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Reply(response.status, found, bytes(body))


def tls_context(target: VaultTarget) -> ssl.SSLContext:
    """Give what a target's connections trust. Raises HandlerError for a file that cannot be used."""
    if not target.uses_tls:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Trusts nobody, and costs nothing.
    try:
        return ssl.create_default_context(cafile=target.tls_ca_file or certifi.where())
    except OSError as error:
        message = f"tls_ca_file {target.tls_ca_file!r} cannot be used: {error}"
        raise HandlerError("tls_ca_file_unusable", message) from error
