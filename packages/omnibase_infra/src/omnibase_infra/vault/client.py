"""VaultClient: one request to a Vault server, and what its reply means. Every vendor's error is translated here."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore

from omnibase_core.errors import HandlerError
from omnibase_infra.vault.connections import Connection, Connections, Reply, exchange, tls_context
from omnibase_infra.vault.target import VaultTarget

_EXCERPT_LENGTH_MAX = 300
_DONE = 204
_NOT_FOUND = 404
_STANDBYS = {307: "is a standby", 429: "asks for patience", 472: "is a standby", 473: "is a standby"}
_SEALED = 503
_BEHIND = 412
"""The server has not yet seen what the token was given for."""


@dataclass(frozen=True, slots=True)
class Answer:
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

    def __init__(self, target: VaultTarget, connections: Connections) -> None:
        """Hold what `vault_client` opens."""
        self._target = target
        self._connections = connections

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None,
        body: Mapping[str, Any] | None = None,
        repeatable: bool,
    ) -> Answer:
        """Send one request to a path below `/v1/`, which is escaped already, and judge the reply."""
        headers = {"x-vault-request": "true"}
        if token is not None:
            headers["x-vault-token"] = token
        if self._target.namespace is not None:
            headers["x-vault-namespace"] = self._target.namespace
        content = b"" if body is None else json.dumps(body).encode()
        what = f"vault {method} {path}"
        made = _Made()
        with _translated(what, self._target, made, repeatable=repeatable):
            async with self._connections.one() as made.connection:
                reply = await exchange(made.connection, self._target, method, f"/v1/{path}", headers, content)
        return _judged(what, reply, repeatable=repeatable)


@asynccontextmanager
async def vault_client(target: VaultTarget) -> AsyncIterator[VaultClient]:
    """Give the client; nothing connects before it is asked. Raises HandlerError for an unusable `tls_ca_file`."""
    connections = Connections(target, tls_context(target))
    try:
        yield VaultClient(target, connections)
    finally:
        await connections.close()


@dataclass(slots=True)
class _Made:
    """How far a request has come."""

    connection: Connection | None = None

    @property
    def may_have_acted(self) -> bool:
        return self.connection is not None and self.connection.is_made


def _judged(what: str, reply: Reply, *, repeatable: bool) -> Answer:
    """Give the answer that a reply is. Raises HandlerError for one that is none."""
    if reply.status in _STANDBYS:
        retry_after = reply.headers.get("retry-after", "")
        raise HandlerError(
            "unavailable",
            f"{what}: the server {_STANDBYS[reply.status]}",
            retryable=True,
            retry_after_s=float(retry_after[:6]) if retry_after.isascii() and retry_after.isdigit() else None,
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


def _document(what: str, reply: Reply, *, repeatable: bool) -> Mapping[str, Any]:
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


def _answer(said: Mapping[str, Any], *, found: bool) -> Answer:
    lease_s = said.get("lease_duration")
    return Answer(
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


@contextmanager
def _translated(what: str, target: VaultTarget, made: _Made, *, repeatable: bool) -> Iterator[None]:
    """Turn what httpcore raises into HandlerErrors: the one place that knows its exceptions."""
    try:
        yield
    except httpcore.ConnectTimeout as error:
        message = f"{what}: no connection within {target.connect_timeout_s:g} s (connect_timeout_s)"
        raise HandlerError("unreachable", message, retryable=True) from error
    except httpcore.LocalProtocolError as error:
        # The vendor's text is left out: it quotes the header that it refuses.
        raise HandlerError("request_invalid", f"{what}: the request has no form in HTTP") from error
    except (httpcore.RemoteProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
        raise HandlerError(
            "protocol_error", f"{what}: the reply is no HTTP, or not whole", retryable=repeatable
        ) from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ConnectionNotAvailable, OSError) as error:
        reason = str(error) or type(error).__name__
        retryable = repeatable or not made.may_have_acted
        raise HandlerError("unreachable", f"{what}: no connection: {reason}", retryable=retryable) from error
