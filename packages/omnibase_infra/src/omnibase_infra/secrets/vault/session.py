"""Session: the token with which a Vault server is asked. It is renewed in time, and fetched anew when it must be."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from omnibase_core.errors import HandlerError
from omnibase_core.policies import RetryPolicy
from omnibase_infra.background_tasks import in_background
from omnibase_infra.secrets.runtime_secrets import learner
from omnibase_infra.secrets.vault.client import Denied, VaultClient, VaultReply, vault_client
from omnibase_infra.secrets.vault.target import AppRole, VaultTarget

_RENEWED_AT = 2 / 3
"""The share of a token's time after which it is renewed: what fails then has time to be tried again."""
_WORTH_RENEWING_S = 2.0
_PAUSE_LEAST_S = 0.5
_LEASE_MOST_S = 10 * 365 * 86_400
_LOGIN_S = 30.0
_RETRY = RetryPolicy(initial_s=0.5, max_s=15.0, jitter=0.0)


class Session:
    """Asks a Vault server with a token that is in force. Used concurrently, and usable after any cancellation.

    A token that was given is renewed while it can be. A login is made with the first request, and again when its token
    ends or is refused. Many requests that need one wait for the same login.
    """

    def __init__(self, client: VaultClient, target: VaultTarget) -> None:
        """Keep what `vault_session` opens; nobody is asked yet."""
        self._client = client
        self._target = target
        self._learn = learner()
        self._token = None if target.token is None else target.token.get_secret_value()
        self._logging_in: asyncio.Task[str] | None = None
        self._fresh = asyncio.Event()
        self._is_known = False
        """Whether Vault has said for how long the token is in force."""
        self._renewable = False
        self._due_s: float | None = None
        """When the token is to be renewed, by the loop's clock; None: never."""

    async def ask(
        self,
        method: str,
        path: str | Sequence[str],
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        repeatable: bool,
    ) -> VaultReply:
        """Ask, as `VaultClient.ask` does. A refusal is `permission_denied` or, retryable, `credentials_refused`."""
        token = self._token or await self._login()
        try:
            return await self._client.ask(method, path, query=query, token=token, body=body, repeatable=repeatable)
        except Denied as denied:
            await self._blame(token, denied)
            raise HandlerError(denied.code, str(denied)) from denied

    async def renew_for_ever(self) -> None:
        """Renew the token before it ends, until cancelled."""
        attempt = 0
        while True:
            try:
                await self._renewed_in_time()
                attempt = 0
            except HandlerError:
                # Whoever asks meanwhile is told; what failed is tried again while the token is still in force.
                attempt += 1
                await asyncio.sleep(_RETRY.delay_s(attempt, chance=0.0))

    async def close(self) -> None:
        """End a login that is under way."""
        if self._logging_in is not None:
            self._logging_in.cancel()
            await asyncio.wait({self._logging_in})

    # --- Logging in -----------------------------------------------------------------------------------------------

    async def _login(self) -> str:
        """Wait for the one login that is under way, or begin it. Cancelling leaves it to the others."""
        if self._logging_in is None or self._logging_in.done():
            self._logging_in = asyncio.create_task(self._log_in(), name="vault login")
            # Where all who waited for it have left, nobody asks how it ended.
            self._logging_in.add_done_callback(lambda it: it.cancelled() or it.exception())
        return await asyncio.shield(self._logging_in)

    async def _log_in(self) -> str:
        role = self._target.approle
        if role is None:
            # The one token there is was refused: it may have been a mistake, and only asking tells.
            assert self._target.token is not None  # noqa: S101 - the model saw to it
            self._token = self._target.token.get_secret_value()
            self._fresh.set()
            return self._token
        try:
            async with asyncio.timeout(_LOGIN_S):
                answer = await self._client.ask(
                    "POST", f"auth/{role.mount}/login", token=None, body=_credentials(role), repeatable=True
                )
        except TimeoutError as error:
            raise HandlerError("unreachable", f"vault login: not done within {_LOGIN_S:g} s", retryable=True) from error
        except HandlerError as error:
            if error.code in ("refused", "permission_denied"):
                raise HandlerError("credentials_refused", f"vault login: {error}", retryable=True) from error
            raise
        return self._take(role, answer)

    def _take(self, role: AppRole, answer: VaultReply) -> str:
        token = answer.auth.get("client_token")
        if not isinstance(token, str) or not (token and token.isascii() and token.isprintable()):
            raise HandlerError("protocol_error", "vault login: the reply has no token", retryable=True)
        # Each role is a name of its own, lest the logins of one push those of another out of what is known.
        self._learn(f"the token of {role.role_id.get_secret_value()} at {self._target.address} {role.mount}", token)
        self._token = token
        self._note(answer.auth.get("lease_duration"), renewable=answer.auth.get("renewable"))
        self._fresh.set()
        return token

    async def _blame(self, token: str, denied: Denied) -> None:
        """Find out whether the token itself was refused; raises HandlerError if so, and forgets it."""
        try:
            await self._client.ask("GET", "auth/token/lookup-self", token=token, repeatable=True)
        except Denied:
            self._forget(token)
            message = f"{denied} (the token itself is not in force)"
            raise HandlerError("credentials_refused", message, retryable=True) from denied

    # --- Renewing -------------------------------------------------------------------------------------------------

    async def _renewed_in_time(self) -> None:
        """Wait until the token is to be renewed, and renew it; end sooner where there is another one."""
        self._fresh.clear()
        if self._token is None:
            await self._fresh.wait()
        elif not self._is_known:
            answer = await self._of_token("GET", "lookup-self", self._token)
            self._note(answer.data.get("ttl"), renewable=answer.data.get("renewable"))
        else:
            left_s = None if self._due_s is None else max(0.0, self._due_s - asyncio.get_running_loop().time())
            try:
                async with asyncio.timeout(left_s):
                    await self._fresh.wait()
            except TimeoutError:
                await self._renew(self._token)

    async def _renew(self, token: str) -> None:
        if self._renewable:
            answer = await self._of_token("POST", "renew-self", token)
            lease_s = self._note(answer.auth.get("lease_duration"), renewable=answer.auth.get("renewable"))
            if lease_s > _WORTH_RENEWING_S or self._target.approle is None:
                return
        # It can be renewed no further: a new one, while the old one still serves.
        await self._login()

    async def _of_token(self, method: str, operation: str, token: str) -> VaultReply:
        """Ask of the token itself. One that a login gave and that is refused is forgotten."""
        try:
            async with asyncio.timeout(_LOGIN_S):
                return await self._client.ask(method, f"auth/token/{operation}", token=token, repeatable=True)
        except TimeoutError as error:
            raise HandlerError("unreachable", "vault renewal: no reply", retryable=True) from error
        except Denied:
            if self._target.approle is not None:
                self._forget(token)
            raise

    def _note(self, lease_s: object, *, renewable: object) -> float:
        """Record for how long the token is in force, and when it is to be renewed; gives the seconds, 0 for good."""
        self._is_known = True
        self._renewable = renewable is True
        # A server may say any number.
        found_s = float(min(max(lease_s, 0), _LEASE_MOST_S)) if isinstance(lease_s, int) else 0.0
        can_be = self._renewable or self._target.approle is not None
        wait_s = max(found_s * _RENEWED_AT, _PAUSE_LEAST_S)
        self._due_s = asyncio.get_running_loop().time() + wait_s if found_s and can_be else None
        return found_s

    def _forget(self, token: str) -> None:
        if self._token == token:
            self._token = None
            self._is_known = False
            self._fresh.set()


@asynccontextmanager
async def vault_session(target: VaultTarget) -> AsyncIterator[Session]:
    """Yield a session with its own connections and its renewal, which ends with it."""
    async with vault_client(target) as client:
        session = Session(client, target)
        try:
            async with in_background("vault renewal", session.renew_for_ever):
                yield session
        finally:
            await session.close()


def _credentials(role: AppRole) -> Mapping[str, Any]:
    return {"role_id": role.role_id.get_secret_value(), "secret_id": role.secret_id.get_secret_value()}
