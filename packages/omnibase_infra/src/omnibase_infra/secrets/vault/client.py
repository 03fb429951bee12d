"""VaultClient: one request to a Vault server, and what its reply means."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from omnibase_core.errors import HandlerError
from omnibase_infra.http.connections import PUBLIC_AUTHORITIES_FILE
from omnibase_infra.http.json_client import RestClient, rest_client
from omnibase_infra.http.json_messages import RestReply, RestRequest, RestServer
from omnibase_infra.secrets.vault.target import VaultTarget

_KEEPALIVE_S = 30.0
_EXCERPT_LENGTH_MAX = 300
_DONE = 204
_NOT_FOUND = 404
_STANDBYS = {307: "is a standby", 429: "asks for patience", 472: "is a standby", 473: "is a standby"}
_SEALED = 503
_BEHIND = 412
"""The server has not yet seen what the token was given for."""


@dataclass(frozen=True, slots=True)
class VaultReply:
    """What Vault said: `data` with its lease, or nothing at all. `found` is false for what does not exist."""

    found: bool
    data: Mapping[str, Any]
    auth: Mapping[str, Any]
    lease_id: str = ""
    lease_duration_s: float = 0.0
    renewable: bool = False


class Denied(HandlerError):
    """Vault refused a token, or what it may do: only asking for the token itself tells which."""


class VaultClient:
    """Asks one server. Used concurrently, and usable after any cancellation.

    Raises HandlerError, and nothing else. What has surely not been done is retryable; what may have been done, only
    where it is `repeatable`. No message holds a token.
    """

    def __init__(self, client: RestClient) -> None:
        """Keep what `vault_client` opens."""
        self._client = client

    async def ask(
        self,
        method: str,
        path: str | Sequence[str],
        *,
        query: Sequence[tuple[str, str]] = (),
        token: str | None,
        body: Mapping[str, Any] | None = None,
        repeatable: bool,
    ) -> VaultReply:
        """Send one request to a path below `/v1/`, a plain text or any segments, and judge the reply."""
        request = RestRequest(
            method=method,
            path=["v1", *(path.split("/") if isinstance(path, str) else path)],
            query=query,
            headers={} if token is None else {"x-vault-token": token},
            content=None if body is None else json.dumps(body).encode(),
            repeatable=repeatable,
        )
        what = f"vault: {request}"
        try:
            reply = await self._client.send(request, timeout_s=None)
        except HandlerError as error:
            if error.code == "timeout":
                # Time for the reply is the caller's affair: what was late is the connection.
                raise HandlerError("unreachable", str(error), retryable=error.retryable) from error
            if error.code == "protocol_error":
                # What came is not quoted: it may hold a secret.
                message = f"{what}: the reply is not HTTP, or is incomplete"
                raise HandlerError("protocol_error", message, retryable=error.retryable) from error
            raise
        return _judged(what, reply, repeatable=repeatable)


@asynccontextmanager
async def vault_client(target: VaultTarget) -> AsyncIterator[VaultClient]:
    """Yield the client; nothing connects before it is asked. Raises HandlerError for an unusable `tls_ca_file`."""
    namespace = {} if target.namespace is None else {"x-vault-namespace": target.namespace}
    server = RestServer(
        name="vault",
        url=target.address,
        headers={"x-vault-request": "true", **namespace},
        connect_timeout_s=target.connect_timeout_s,
        response_bytes_max=target.response_bytes_max,
        connections_max=target.connections_max,
        keepalive_s=_KEEPALIVE_S,
        tls_ca_file=target.tls_ca_file or PUBLIC_AUTHORITIES_FILE,
    )
    async with rest_client(server) as client:
        yield VaultClient(client)


def _judged(what: str, reply: RestReply, *, repeatable: bool) -> VaultReply:
    """Return the answer that a reply is. Raises HandlerError for one that is none."""
    if reply.status in _STANDBYS:
        raise HandlerError(
            "unavailable",
            f"{what}: the server {_STANDBYS[reply.status]}",
            retryable=True,
            retry_after_s=reply.retry_after_s,
        )
    said = _document(what, reply, repeatable=repeatable)
    errors = _texts(said.get("errors"))
    why = "; ".join(errors)[:_EXCERPT_LENGTH_MAX] or "no reason given"
    if reply.status in range(200, 300):
        return _answer(said, found=True)
    if reply.status == _NOT_FOUND and not errors:
        return _answer(said, found=False)
    message = f"{what}: status {reply.status}: {why}"
    if reply.status in (_SEALED, _BEHIND):
        raise HandlerError("unavailable", message, retryable=True)
    if reply.status >= 500:
        raise HandlerError("unavailable", message, retryable=repeatable)
    if reply.status == 403:
        raise Denied("permission_denied", message)
    if "check-and-set" in why:
        raise HandlerError("cas_mismatch", message)
    raise HandlerError("refused", message, details={"status": reply.status})


def _document(what: str, reply: RestReply, *, repeatable: bool) -> Mapping[str, Any]:
    """Read the JSON object of a reply; what was done without a word is an empty one."""
    if reply.status == _DONE:
        return {}
    try:
        said = json.loads(reply.body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        return said
    # A proxy in between has its own pages for what is away.
    raise HandlerError("protocol_error", f"{what}: status {reply.status}, and no JSON of Vault", retryable=repeatable)


def _answer(said: Mapping[str, Any], *, found: bool) -> VaultReply:
    lease_s = said.get("lease_duration")
    return VaultReply(
        found=found,
        data=_mapping(said.get("data")),
        auth=_mapping(said.get("auth")),
        lease_id=str(said.get("lease_id") or ""),
        lease_duration_s=float(lease_s) if isinstance(lease_s, int) else 0.0,
        renewable=said.get("renewable") is True,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [" ".join(str(it).split()) for it in value] if isinstance(value, list) else []
