"""The access token of a target with `auth: {type: oauth2}`: asked for once, kept until shortly before it ends."""

from asyncio import Lock, get_running_loop
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any
from urllib.parse import quote_plus

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.http.bodies import form_of, json_of
from omnibase_infra.handlers.http.messages import HttpMessage, Reply
from omnibase_infra.handlers.http.target import BasicAuth, OAuth2Auth, origin_of
from omnibase_infra.handlers.http.values import checked_token
from omnibase_infra.secrets.runtime_secrets import Learn, learner

_LEAST_S = 1.0
_EARLY_S = 30.0
_UNSAID_S = 300.0
"""For how long a token is kept of which the server does not say how long it holds."""
_OK = 200
_TRANSIENT = frozenset({408, 429, *range(500, 600)})
_NOT_LET_IN = frozenset({400, 401, 403})
"""By which token servers refuse a client: RFC 6749 has 400 and 401, and some say 403."""
_UNAUTHORIZED = 401
_ASKED_WRONGLY = frozenset({"invalid_request", "invalid_scope", "unauthorized_client", "unsupported_grant_type"})
"""Errors of RFC 6749, section 5.2, that no other secret cures, unless the status is 401."""


class _Grant(BaseModel):
    """A successful answer of a token server (RFC 6749, section 5.1)."""

    model_config = ConfigDict(hide_input_in_errors=True)

    access_token: SecretStr
    token_type: str
    expires_in: float = _UNSAID_S


@dataclass(slots=True)
class Tokens:
    """Gives the token of one target. Many may ask at once: one fetches, and a cancelled one leaves it to the next.

    Raises HandlerError: `token_unavailable`, and `token_refused` where the server gives none. That is retryable where
    it does not let us in, for another secret may cure it; not where it was asked wrongly, or gives what is no token.
    """

    name: str
    auth: OAuth2Auth
    send: Callable[[HttpMessage], Awaitable[Reply]]
    learn: Learn = field(default_factory=learner)
    _token: str | None = None
    _ends_s: float = -inf
    _turn: Lock = field(default_factory=Lock)

    @property
    def secrets(self) -> list[str]:
        """The token that is held."""
        return [] if self._token is None else [self._token]

    async def token(self, *, instead_of: str | None = None) -> str:
        """Return a token that holds, and is another than the one that was refused."""
        async with self._turn:
            if self._token is None or self._token == instead_of or get_running_loop().time() >= self._ends_s:
                await self._fetch()
            return self._token or ""

    async def _fetch(self) -> None:
        asked_s = get_running_loop().time()
        message = _message(self.auth)
        reply = await self.send(message)
        what = f"the token server of target {self.name!r} ({message})"
        if reply.status != _OK or reply.fault is not None:
            word = _error_of(reply)
            told = f"{what}: status {reply.status}{f', {word}' if word else ''}"
            if reply.status in _TRANSIENT:
                raise HandlerError("token_unavailable", told, retryable=True)
            raise HandlerError("token_refused", told, retryable=_may_be_cured(reply.status, word))
        try:
            grant = _Grant.model_validate(json_of(reply.body))
            checked_token(grant.access_token)
        except (ValueError, ValidationError):
            # Not chained: the text of that error could hold the token.
            raise HandlerError("token_refused", f"{what}: the reply holds no access token") from None
        if grant.token_type.lower() != "bearer":
            raise HandlerError("token_refused", f"{what}: expected a token of type Bearer")
        self._token = grant.access_token.get_secret_value()
        self.learn(f"the access token of http target {self.name}", self._token)
        early_s = min(_EARLY_S, grant.expires_in / 10)
        self._ends_s = asked_s + max(grant.expires_in - early_s, _LEAST_S)


def basic(auth: BasicAuth) -> str:
    """Return the header of RFC 7617."""
    return _basic(auth.username, auth.password)


def _basic(username: str, password: SecretStr) -> str:
    return "Basic " + b64encode(f"{username}:{password.get_secret_value()}".encode()).decode()


def _message(auth: OAuth2Auth) -> HttpMessage:
    origin, path = origin_of(auth.token_url)
    form: dict[str, Any] = {"grant_type": "client_credentials", **auth.parameters}
    if auth.scopes:
        form["scope"] = " ".join(auth.scopes)
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    if auth.client_auth == "body":
        form |= {"client_id": auth.client_id, "client_secret": auth.client_secret.get_secret_value()}
    else:
        # RFC 6749, section 2.3.1: both are escaped as in a form before they are joined.
        secret = SecretStr(quote_plus(auth.client_secret.get_secret_value()))
        headers["authorization"] = _basic(quote_plus(auth.client_id), secret)
    content = form_of(form)
    headers["content-length"] = str(len(content))
    return HttpMessage(method="POST", origin=origin, target=path or "/", headers=headers, content=content)


def _may_be_cured(status: int, word: str) -> bool:
    """Check whether another secret may be all that is wanted."""
    return status in _NOT_LET_IN and (status == _UNAUTHORIZED or word not in _ASKED_WRONGLY)


def _error_of(reply: Reply) -> str:
    """Return the server's error code (RFC 6749, section 5.2), which is a word; its description is not repeated."""
    try:
        said = json_of(reply.body)
    except ValueError:
        return ""
    code = said.get("error") if isinstance(said, dict) else None
    return code if isinstance(code, str) and code.isidentifier() else ""
