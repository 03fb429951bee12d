"""Connections of one target: each is made to a checked address, serves one call at a time, is kept a while.

httpcore's own pool is not used: a call that is cancelled at a bad moment takes its place in that pool with it for good
(https://github.com/encode/httpcore/issues/1093), and any call can be cancelled. Here a connection that was not left
in order is thrown away, and its place is free.
"""

import asyncio
import socket
import ssl
from asyncio import Semaphore, get_running_loop
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import inf
from typing import Any

import certifi
import httpcore

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.http.addresses import is_allowed, kind_of
from omnibase_infra.handlers.http.target import HttpTarget, Origin

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name. Raises OSError."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system, in the order in which it would connect."""
    found = await get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(slots=True)
class Connection:
    """One connection to one origin, from its first use on."""

    origin: Origin
    http: httpcore.AsyncHTTPConnection
    network: "_CheckedNetwork"
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
class Connections:
    """The connections of one target, as many at a time as it allows; the last used is the first used again."""

    name: str
    target: HttpTarget
    tls: ssl.SSLContext
    resolve: Resolve
    trusted: frozenset[str]
    """The hosts that the host contract itself wrote, of which an address is allowed by that."""
    _places: Semaphore = field(init=False)
    _idle: deque[Connection] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        """Make room for as many as the target allows."""
        self._places = Semaphore(self.target.connections_max)

    @asynccontextmanager
    async def one(self, origin: Origin) -> AsyncIterator[Connection]:
        """Give a connection for one exchange, as soon as there is one. Raising inside throws it away."""
        async with self._places:
            connection = await self._kept(origin) or self._fresh(origin)
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
            await self.close_idle(since_s=connection.idle_since_s - self.target.keepalive_s)

    async def close_idle(self, *, since_s: float = inf) -> None:
        """Close the connections that have been idle since then, or all."""
        while self._idle and self._idle[0].idle_since_s <= since_s:
            await self._idle.popleft().close()

    async def _kept(self, origin: Origin) -> Connection | None:
        while (connection := next((it for it in reversed(self._idle) if it.origin == origin), None)) is not None:
            self._idle.remove(connection)
            if connection.is_usable:
                return connection
            await connection.close()
        return None

    def _fresh(self, origin: Origin) -> Connection:
        network = _CheckedNetwork(self)
        bare_host = origin.host.strip("[]")
        http = httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(origin.scheme.encode(), bare_host.encode(), origin.port),
            ssl_context=self.tls,
            keepalive_expiry=self.target.keepalive_s,
            http2=self.target.http2,
            network_backend=network,
        )
        return Connection(origin, http, network)


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses, never to names: what was checked is connected to, whatever a resolver says next."""

    def __init__(self, connections: Connections) -> None:
        self._of = connections
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
        addresses = await self._addresses(host, port, timeout)
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

    async def _addresses(self, host: str, port: int, timeout_s: float | None) -> Sequence[str]:
        """Give the addresses that may be connected to. Raises HandlerError where there are others alone."""
        found = [host] if _is_address(host) else await self._resolved(host, port, timeout_s)
        trusted = self._of.trusted
        allowed = [it for it in found if is_allowed(it, self._of.target.allow) or (it == host and host in trusted)]
        if found and not allowed:
            kind = kind_of(found[0])
            hint = "never connected to" if kind == "reserved" else f"the host contract can allow it: allow: [{kind}]"
            raise HandlerError(
                "address_refused",
                f"target {self._of.name!r}: {host} leads to {found[0]}, which is no public address but {kind}; {hint}",
            )
        return allowed

    async def _resolved(self, host: str, port: int, timeout_s: float | None) -> Sequence[str]:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._of.resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} is not known: {error}") from error


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def tls_context(name: str, target: HttpTarget) -> ssl.SSLContext:
    """Give what a target's connections trust and show. Raises HandlerError for a file that cannot be used."""
    needs_none = not target.uses_tls and target.auth is None
    if needs_none:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Trusts nobody, and costs nothing.
    try:
        context = ssl.create_default_context(cafile=target.tls_ca_file or certifi.where())
    except OSError as error:
        where = f"tls_ca_file {target.tls_ca_file!r} of the http target {name!r}"
        raise HandlerError("tls_ca_file_unusable", f"{where} cannot be used: {error}") from error
    if target.tls_cert_file is not None:
        try:
            # Without a password of our own, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(target.tls_cert_file, target.tls_key_file, password="")
        except OSError as error:
            where = f"tls_cert_file {target.tls_cert_file!r} of the http target {name!r}"
            raise HandlerError("tls_cert_file_unusable", f"{where} (or its key) cannot be used: {error}") from error
    return context
