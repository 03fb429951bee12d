"""RestClient: sends requests to one server over connections that are kept. No retries, no redirects, no cookies."""

from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from omnibase_core.errors import HandlerError
from omnibase_infra.http.connections import CallProgress, Connections, Peer, Request, tls_context
from omnibase_infra.http.json_messages import RestReply, RestRequest, RestServer


@asynccontextmanager
async def rest_client(server: RestServer) -> AsyncIterator["RestClient"]:
    """Yield a client of the server; nothing connects before the first request.

    Raises HandlerError `tls_ca_file_unusable` or `tls_cert_file_unusable`.
    """
    tls = tls_context(
        server.name,
        needed=server.scheme == "https",
        ca_file=server.tls_ca_file,
        cert_file=server.tls_cert_file,
        key_file=server.tls_key_file,
    )
    connections = Connections(
        tls=tls,
        connections_max=server.connections_max,
        keepalive_s=server.keepalive_s,
        connect_timeout_s=server.connect_timeout_s,
    )
    try:
        yield RestClient(server, connections)
    finally:
        await connections.close_idle()


class RestClient:
    """Sends requests to one server. Used concurrently, and usable after any cancellation.

    Raises HandlerError with one of these codes:

    - `timeout`; `unreachable` (refused, reset, unknown name, untrusted certificate); `protocol_error` (what came is not
      HTTP, or ended early): retryable, unless the request is not repeatable and may have been served.
    - `response_too_large`, `request_invalid` (it has no form in HTTP): not retryable.

    Every status is a reply: what it means is the caller's affair.
    """

    def __init__(self, server: RestServer, connections: Connections) -> None:
        """Keep what `rest_client` opens."""
        self._server = server
        self._connections = connections

    async def send(self, request: RestRequest, *, timeout_s: float | None) -> RestReply:
        """Send a request and read the whole reply, within the server's limits and the time (None: the caller's own)."""
        what, progress = f"{self._server.name}: {request}", CallProgress()
        with self._connections.translated(
            what, progress, repeatable=request.repeatable, redacted=self._server.redacted, timeout_s=timeout_s
        ):
            async with timeout(timeout_s):
                return await self._exchange(what, request, progress)

    async def _exchange(self, what: str, request: RestRequest, progress: CallProgress) -> RestReply:
        body, bytes_max = bytearray(), self._server.response_bytes_max
        async with self._connections.exchange(self._wire_request(request), progress) as response:
            async for piece in response.pieces:
                body += piece
                if len(body) > bytes_max:
                    text = f"{what}: the reply is over {bytes_max} bytes (response_bytes_max)"
                    raise HandlerError("response_too_large", text)
        return RestReply(status=response.status, headers=response.headers, body=bytes(body))

    def _wire_request(self, request: RestRequest) -> Request:
        server = self._server
        headers = {"host": server.authority, **server.headers, **request.headers}
        if request.content is not None or request.method != "GET":
            headers["content-length"] = str(len(request.content or b""))
        return Request(
            peer=Peer(server.scheme, server.host, server.port),
            method=request.method,
            target=request.target,
            headers=headers,
            content=request.content or b"",
        )
