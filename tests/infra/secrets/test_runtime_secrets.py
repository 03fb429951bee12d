"""Secrets that are received at run time: nothing that a host says repeats them, in whatever spelling a server does."""

import asyncio
import io
import json
from base64 import b64encode
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest

from omnibase_core.contracts.secrets import SecretSource, VaultSecret
from omnibase_infra.background_tasks import Troubles
from omnibase_infra.call_chain.redaction import RedactingHandler
from omnibase_infra.handlers.http import HttpRequest
from omnibase_infra.host.logs import open_log
from omnibase_infra.host.settings import EnvironmentSecrets
from omnibase_infra.secrets.reader import HostReader
from omnibase_infra.secrets.redaction import MASK, Redactor
from omnibase_infra.secrets.runtime_secrets import learner, taught
from omnibase_infra.secrets.vault.session import vault_session
from omnibase_infra.secrets.vault.target import VaultTarget
from omnibase_spi import HandlerError
from tests.support.openbao import OpenBao
from tests.support.scripted_http import Seen, Server, call_of, opened, reply

TOKENS = ["first/token+of~the=issuer", "second/token+of~the=issuer", "third/token+of~the=issuer"]


def spellings(token: str) -> list[str]:
    """Spell a token as servers do."""
    return [
        token,
        quote(token, safe=""),
        quote(token, safe="").replace("%2F", "%2f"),
        token.replace("/", "\\/"),
        b64encode(token.encode()).decode(),
    ]


def test_access_tokens_vanish_from_whatever_a_server_makes_of_them() -> None:
    """The one in force and the one before, from errors, log and health."""
    issued: list[str] = []
    redactor = Redactor()

    async def issue(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        issued.append(TOKENS[len(issued)])
        grant = {"access_token": issued[-1], "token_type": "bearer", "expires_in": 3600}
        writer.write(reply(json.dumps(grant).encode(), "content-type: application/json"))

    async def api(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        said = " ".join(f"<{it}>" for token in issued for it in spellings(token))
        writer.write(reply(f"not you: {said}".encode(), status="401 Unauthorized"))

    async def scenario() -> HandlerError:
        async with AsyncExitStack() as stack:
            tokens = await stack.enter_async_context(Server(issue).listen())
            server = await stack.enter_async_context(Server(api).listen())
            auth = {"type": "oauth2", "token_url": f"http://127.0.0.1:{tokens.port}/token"}
            auth |= {"client_id": "ada", "client_secret": "secret-of-ada"}
            with taught(redactor.learn):
                handler = await stack.enter_async_context(opened(server.port, auth=auth))
            # The host teaches while it opens; the tokens arrive later, in the tasks of calls.
            with pytest.raises(HandlerError) as caught:
                await RedactingHandler(handler, redactor).execute(call_of(HttpRequest(path="/", expect=[200])))
            return caught.value

    error = asyncio.run(scenario())
    assert issued == TOKENS[:2]
    everything = said_of(redactor, f"{error} {json.dumps(error.details)}")
    everything += said_of(redactor, " ".join(it for token in issued for it in spellings(token)))
    assert MASK in everything
    for token in issued:
        assert not [it for it in spellings(token) if it.rstrip("=") in everything]


def said_of(redactor: Redactor, text: str) -> str:
    """Return what a host's log and health say of a text, and the text redacted."""
    stream = io.StringIO()
    log, _ = open_log(host="demo", level="info", form="json", stream=stream, redact=redactor.redacted_tree)
    log.event("error", "broken", error=RuntimeError(text), deep={"said": [text]})

    async def health() -> object:
        troubles = Troubles(log, redact=redactor.redacted)
        loop = asyncio.get_running_loop()
        troubles.take(loop, {"message": "vault renewal", "exception": RuntimeError(text)})
        return troubles.latest(loop.time())

    return f"{stream.getvalue()} {asyncio.run(health())} {redactor.redacted(text)}"


@pytest.fixture
def role(openbao: OpenBao) -> dict[str, str]:
    """Return the credentials of a role."""
    return openbao.approle("received", token_policies=["default"])


def test_the_token_of_a_login_is_known_before_it_is_used(openbao: OpenBao, role: dict[str, str]) -> None:
    """By the sessions of the handler."""
    redactor = Redactor()

    async def scenario() -> str:
        target = VaultTarget.model_validate({"address": openbao.address, "approle": role})
        with taught(redactor.learn):
            context = vault_session(target)
            session = await context.__aenter__()
        try:
            answer = await session.ask("GET", "auth/token/lookup-self", repeatable=True)
        finally:
            await context.__aexit__(None, None, None)
        return str(answer.data["id"])

    token = asyncio.run(scenario())
    # As it is, a token of Vault is known by its shape; in base64 by its value alone.
    encoded = b64encode(token.encode()).decode().rstrip("=")
    assert encoded in said_of(Redactor(), encoded)
    for spelled in (token, encoded):
        assert spelled not in said_of(redactor, f"x {spelled} y")


def test_the_host_knows_the_tokens_of_its_own_logins(openbao: OpenBao) -> None:
    """Those with which it reads its secrets."""
    openbao.write("received", password="of-the-host")  # noqa: S106 - it opens nothing
    openbao.ask("PUT", "sys/policies/acl/received", {"policy": 'path "secret/*" { capabilities = ["read"] }'})
    role = openbao.approle("received-host", token_policies=["received"])
    learnt: dict[str, str] = {}

    async def scenario() -> Any:
        sources: dict[str, SecretSource] = {"KEY": VaultSecret(vault="main", kv="received", field="password")}
        target = VaultTarget.model_validate({"address": openbao.address, "approle": role})
        resolver = EnvironmentSecrets({}, sources)
        reader = HostReader(resolver, sources, {"main": target}, learn=learnt.__setitem__)
        try:
            return await reader.read(["KEY"], anew=True)
        finally:
            await reader.close()

    assert asyncio.run(scenario()) == {"KEY": "of-the-host"}
    [(name, token)] = learnt.items()
    assert token.startswith(("s.", "hvs."))
    assert role["role_id"] in name


def test_nobody_is_told_where_there_is_no_host() -> None:
    """And what was said around one opening does not hold for the next."""
    learnt: dict[str, str] = {}
    with taught(learnt.__setitem__):
        inside = learner()
    learner()("a", "b")
    assert not learnt
    inside("a", "b")
    assert learnt == {"a": "b"}
