"""A client secret that is changed at the token server first: what a host does before it reads the new one."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qsl

import pytest

from omnibase_core.testing import RecordingObserver
from omnibase_infra.secrets.current import CurrentSecrets
from omnibase_infra.secrets.redaction import Redactor
from omnibase_infra.secrets.rotation import Rotation
from omnibase_spi import Handler, HandlerError
from tests.infra.secrets.test_rotation import Kept, until
from tests.support.scripted_http import OK, PLAIN, Seen, Server, call_of, opened, reply

KEY = frozenset({"KEY"})


class Issuer:
    """A token server that knows the client by one secret, or refuses it by a word."""

    def __init__(self, secret: str, *, refusal: str = "invalid_client") -> None:
        """Know it."""
        self.secret = secret
        self.refusal = refusal

    async def issue(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        """Return a token to whoever has the secret."""
        form = dict(parse_qsl(seen.body.decode()))
        is_known = form["client_secret"] == self.secret
        said: Mapping[str, Any] = {"access_token": "a-token", "token_type": "bearer"} if is_known else self._refused
        status = "200 OK" if is_known else "400 Bad Request"
        writer.write(reply(json.dumps(said).encode(), "content-type: application/json", status=status))

    @property
    def _refused(self) -> Mapping[str, Any]:
        return {"error": self.refusal}


class Rotated:
    """A target of `http` whose client secret is one of the host's, which reads it once an hour, or when asked to."""

    def __init__(self, issuer: Issuer, secret: str) -> None:
        """Begin with the host's secret."""
        self.kept = Kept(KEY=secret)
        self.issuer = issuer
        self.rotation: Rotation

    async def run(self, scenario: Any) -> None:
        """Open the handler, and let the scenario use it."""
        secrets = CurrentSecrets(self.kept, Redactor(), observer=RecordingObserver())
        await secrets.load(self.kept.values)
        self.rotation = Rotation(secrets, observer=RecordingObserver(), poll_s=3600)
        async with AsyncExitStack() as stack:
            tokens = await stack.enter_async_context(Server(self.issuer.issue).listen())
            server = await stack.enter_async_context(Server(OK).listen())

            def open_() -> Any:
                auth = {"type": "oauth2", "token_url": f"http://127.0.0.1:{tokens.port}", "client_id": "host"}
                auth |= {"client_secret": secrets.resolve("KEY"), "client_auth": "body"}
                return opened(server.port, auth=auth)

            await stack.enter_async_context(self.rotation.watching())
            handler = await stack.enter_async_context(self.rotation.handler("http", open_, secrets=KEY, drain_s=1.0))
            await scenario(handler)


async def failure(handler: Handler) -> HandlerError:
    """Do a call that fails."""
    with pytest.raises(HandlerError) as caught:
        await handler.execute(call_of(PLAIN))
    return caught.value


def test_a_client_that_is_not_let_in_has_its_secret_read_at_once() -> None:
    """As a database's user has: the next attempt at the command is made with the new one."""
    rotated = Rotated(Issuer("new"), "old")

    async def refused(handler: Handler) -> None:
        await asyncio.sleep(0)
        rotated.kept.values["KEY"] = "new"
        error = await failure(handler)
        assert (error.code, error.retryable) == ("token_refused", True)
        await until(lambda: rotated.rotation.upkeep["http"].reopened == 1)
        assert (await handler.execute(call_of(PLAIN)))["status"] == 200

    asyncio.run(rotated.run(refused))


def test_what_no_secret_cures_has_none_read() -> None:
    """A scope that is not granted is the contract's affair: each command would have the secrets read."""
    rotated = Rotated(Issuer("new", refusal="invalid_scope"), "old")

    async def scenario(handler: Handler) -> None:
        await asyncio.sleep(0)
        readings = rotated.kept.readings
        error = await failure(handler)
        assert (error.code, error.retryable) == ("token_refused", False)
        await asyncio.sleep(0.5)
        assert rotated.kept.readings == readings

    asyncio.run(rotated.run(scenario))
