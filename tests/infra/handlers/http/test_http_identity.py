"""How the `http` handler shows who it is: basic, bearer, OAuth2 client credentials, and its own certificate."""

import asyncio
import json
import ssl
from base64 import b64decode
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from pydantic import ValidationError

from omnibase_core.testing.virtual_time import run
from omnibase_infra.handlers.http import HttpRequest, HttpTarget
from omnibase_infra.handlers.http.messages import HttpMessage, Reply
from omnibase_infra.handlers.http.oauth2_tokens import Tokens
from omnibase_infra.handlers.http.target import OAuth2Auth
from omnibase_spi import Handler, HandlerError
from tests.support.identity import Identity, identity_in
from tests.support.scripted_http import OK, PLAIN, Seen, Server, ask, call_of, opened, outcome, refusal, reply, says

SECRET = "p\u00e4ss: w+rd/of&the host"  # noqa: S105 - it opens nothing

# --- Written in the host contract ---------------------------------------------------------------------------------


def test_shows_a_name_and_a_password() -> None:
    """RFC 7617: as UTF-8, and a password may hold a colon."""
    _, seen = ask(OK, {"auth": {"type": "basic", "username": "ada", "password": SECRET}})
    scheme, _, credentials = seen.headers["authorization"].partition(" ")
    assert (scheme, b64decode(credentials).decode()) == ("Basic", f"ada:{SECRET}")


def test_shows_a_token() -> None:
    """RFC 6750."""
    assert ask(OK, {"auth": {"type": "bearer", "token": "abc.def"}})[1].headers["authorization"] == "Bearer abc.def"


@pytest.mark.parametrize(
    "target",
    [
        {"auth": {"type": "basic", "username": "a:b", "password": "c"}},
        {"auth": {"type": "basic", "username": "a\r\nb", "password": "c"}},
        {"auth": {"type": "bearer", "token": "a\r\nhost: evil"}},
        {"auth": {"type": "bearer", "token": "z\u00fcrich"}},
        {"auth": {"type": "bearer", "token": "a"}, "headers": {"Authorization": "b"}},
        {"auth": {"type": "digest"}},
        {"tls_key_file": "key.pem", "base_url": "https://a.example"},
        {"tls_cert_file": "certificate.pem"},
    ],
)
def test_refuses_what_cannot_be_shown(target: Mapping[str, Any]) -> None:
    """Before the host starts; the message does not repeat the value."""
    with pytest.raises(ValidationError) as caught:
        HttpTarget.model_validate({"base_url": "http://a.example", **target})
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "basic", "username": "ada", "password": "s3cr3t-password"},
        {"type": "bearer", "token": "s3cr3t-token"},
        {"type": "oauth2", "token_url": "http://127.0.0.1", "client_id": "ada", "client_secret": "s3cr3t-of-client"},
    ],
)
def test_no_request_can_say_who_it_is_from_and_none_is_told(auth: Mapping[str, Any]) -> None:
    """The header is the host contract's; neither the target's text nor an error holds what is secret."""
    error = refusal(OK, {"auth": auth}, headers={"Authorization": "Basic mine"})
    assert (error.code, error.retryable) == ("request_invalid", False)
    target = HttpTarget.model_validate({"base_url": "http://a.example", "auth": auth})
    assert "s3cr3t" not in f"{target!r} {target} {error}"


def test_a_server_that_repeats_credentials_does_not_make_us_tell_them() -> None:
    """The excerpt of its body in an error has stars in their place, the encoded form too."""

    async def repeats(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(f"you sent {seen.headers['authorization']}".encode(), status="500 Oh"))

    for auth in (
        {"type": "basic", "username": "ada", "password": "s3cr3t-password"},
        {"type": "bearer", "token": "s3cr3t-token"},
    ):
        error = refusal(repeats, {"auth": auth})
        assert "you sent" in error.details["body"]
        assert "s3cr3t" not in str(error.details)
        assert "czNjcjN0" not in str(error.details), "the same in base64"


# --- OAuth2 client credentials ------------------------------------------------------------------------------------


@dataclass
class Issuer:
    """A token server that numbers its tokens, and an API that takes those which it was not told to refuse."""

    expires_in: float | None = 3600
    status: str = "200 OK"
    word: str = "invalid_client"
    asked: list[Seen] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def issue(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        """Return the next token."""
        self.asked.append(seen)
        grant = {"access_token": f"token-{len(self.asked)}", "token_type": "bearer", "expires_in": self.expires_in}
        body = json.dumps(grant if self.status == "200 OK" else {"error": self.word, "sent": seen.body.decode()})
        writer.write(reply(body.encode(), "content-type: application/json", status=self.status))

    async def api(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        """Report whose call it is."""
        token = seen.headers["authorization"].removeprefix("Bearer ")
        status = "401 Unauthorized" if token in self.refused else "200 OK"
        writer.write(reply(json.dumps({"token": token}).encode(), "content-type: application/json", status=status))


async def with_issuer(issuer: Issuer, use: Any, **auth: Any) -> Any:
    """Open the handler with a target that needs a token."""
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(Server(issuer.issue).listen())
        server = await stack.enter_async_context(Server(issuer.api).listen())
        written = {"type": "oauth2", "token_url": f"http://127.0.0.1:{tokens.port}/token"}
        written |= {"client_id": "a/da", "client_secret": SECRET, **auth}
        handler = await stack.enter_async_context(opened(server.port, auth=written, connections_max=2))
        return await use(handler)


async def token_of(handler: Handler) -> str:
    """Do a call; gives the token that it was made with."""
    result = await handler.execute(call_of(PLAIN))
    return str(result["json"]["token"])


def test_a_token_is_asked_for_once() -> None:
    """By the first of many calls at once, with the client's credentials; the others wait for it."""
    issuer = Issuer()

    async def use(handler: Handler) -> list[str]:
        return await asyncio.gather(*(token_of(handler) for _ in range(20)))

    assert asyncio.run(with_issuer(issuer, use, scopes=["read", "write"])) == ["token-1"] * 20
    [seen] = issuer.asked
    assert (seen.method, seen.target) == ("POST", "/token")
    assert dict(parse_qsl(seen.body.decode())) == {"grant_type": "client_credentials", "scope": "read write"}
    client, _, secret = b64decode(seen.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
    assert (unquote_plus(client), unquote_plus(secret)) == ("a/da", SECRET)


def test_credentials_may_stand_in_the_body() -> None:
    """For servers that want them there."""
    issuer = Issuer()
    asyncio.run(with_issuer(issuer, token_of, client_auth="body", parameters={"audience": "api"}))
    [seen] = issuer.asked
    assert dict(parse_qsl(seen.body.decode())) == {
        "grant_type": "client_credentials",
        "audience": "api",
        "client_id": "a/da",
        "client_secret": SECRET,
    }
    assert "authorization" not in seen.headers


def test_a_token_that_is_refused_is_replaced_once() -> None:
    """Many calls that meet the refusal share one new token; a call that is refused again is answered so."""
    issuer = Issuer()

    async def use(handler: Handler) -> tuple[str, list[str], str]:
        first = await token_of(handler)
        issuer.refused.add(first)
        others = await asyncio.gather(*(token_of(handler) for _ in range(5)))
        issuer.refused |= {f"token-{number}" for number in range(10)}
        return first, others, await outcome(handler, HttpRequest(path="/", expect=[200]))

    assert asyncio.run(with_issuer(issuer, use)) == ("token-1", ["token-2"] * 5, "http_status")
    assert len(issuer.asked) == 3


@pytest.mark.parametrize(
    ("status", "word", "code", "retryable"),
    [
        ("400 Bad Request", "invalid_client", "token_refused", True),
        ("401 Unauthorized", "invalid_client", "token_refused", True),
        ("401 Unauthorized", "unauthorized_client", "token_refused", True),
        ("403 Forbidden", "access_denied", "token_refused", True),
        ("400 Bad Request", "invalid_scope", "token_refused", False),
        ("400 Bad Request", "unsupported_grant_type", "token_refused", False),
        ("404 Not Found", "gone", "token_refused", False),
        ("503 Service Unavailable", "busy", "token_unavailable", True),
        ("429 Too Many Requests", "busy", "token_unavailable", True),
    ],
)
def test_a_token_server_that_gives_none_is_told(
    status: str,
    word: str,
    code: str,
    retryable: bool,  # noqa: FBT001 - a case
) -> None:
    """Retryable where it may give one later, or for another secret; what repeats the credentials is left out."""

    async def use(handler: Handler) -> HandlerError:
        with pytest.raises(HandlerError) as caught:
            await handler.execute(call_of(HttpRequest(path="/", method="POST")))
        return caught.value

    error = asyncio.run(with_issuer(Issuer(status=status, word=word), use, client_auth="body"))
    assert (error.code, error.retryable) == (code, retryable)
    assert word in str(error)
    assert "of&the" not in f"{error} {error.details}"
    assert "w%2Brd" not in f"{error} {error.details}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"access_token": "a\\r\\nb", "token_type": "bearer"}',
        b'{"access_token": "a", "token_type": "mac"}',
    ],
)
def test_what_is_no_token_is_refused(body: bytes) -> None:
    """A reply that could not stand in a header, or is of another kind, is never sent on."""

    async def scenario() -> HandlerError:
        async with Server(says(reply(body))).listen() as tokens, Server(OK).listen() as server:
            auth = {
                "type": "oauth2",
                "token_url": f"http://127.0.0.1:{tokens.port}",
                "client_id": "a",
                "client_secret": "b",
            }
            async with opened(server.port, auth=auth) as handler:
                with pytest.raises(HandlerError) as caught:
                    await handler.execute(call_of(HttpRequest(path="/")))
            assert server.seen == []
            return caught.value

    error = asyncio.run(scenario())
    assert (error.code, error.retryable) == ("token_refused", False)


def test_a_token_server_inside_is_reached_by_its_address_alone() -> None:
    """A name that leads inside is refused there too, unless the target allows it."""

    async def scenario() -> list[str]:
        async with Server(Issuer().issue).listen() as tokens, Server(OK).listen() as server:
            auth = {"type": "oauth2", "client_id": "a", "client_secret": "b"}
            auth["token_url"] = f"http://localhost:{tokens.port}"
            found = []
            for allow in ([], ["loopback"]):
                async with opened(server.port, auth=auth, allow=allow) as handler:
                    found.append(await outcome(handler))
            return found

    assert asyncio.run(scenario()) == ["address_refused", "200"]


AUTH = OAuth2Auth.model_validate(
    {"type": "oauth2", "token_url": "https://login.example", "client_id": "a", "client_secret": "b"}
)


@pytest.mark.parametrize(
    ("expires_in", "kept_s"), [(3600, 3570), (100, 90), (1, 1), (0, 1), (-5, 1), (None, 270)], ids=str
)
def test_a_token_is_renewed_before_it_ends(expires_in: float | None, kept_s: float) -> None:
    """Thirty seconds or a tenth of its life earlier, whichever is less; never more than once a second."""
    asked: list[float] = []

    async def send(_message: HttpMessage) -> Reply:
        asked.append(asyncio.get_running_loop().time())
        grant: dict[str, Any] = {"access_token": f"token-{len(asked)}", "token_type": "Bearer"}
        if expires_in is not None:
            grant["expires_in"] = expires_in
        return Reply(200, {}, json.dumps(grant).encode(), None)

    async def scenario() -> None:
        tokens = Tokens("api", AUTH, send)
        assert await tokens.token() == "token-1"
        await asyncio.sleep(kept_s - 0.01)
        assert await tokens.token() == "token-1"
        await asyncio.sleep(0.02)
        assert await tokens.token() == "token-2"

    run(scenario(), seed=1)
    assert len(asked) == 2


def test_a_cancelled_asker_leaves_the_token_to_the_next() -> None:
    """Whoever is first may go away: the others get their token all the same."""

    async def send(_message: HttpMessage) -> Reply:
        await asyncio.sleep(1)
        return Reply(200, {}, b'{"access_token": "t", "token_type": "bearer"}', None)

    async def scenario() -> None:
        tokens = Tokens("api", AUTH, send)
        askers = [asyncio.create_task(tokens.token()) for _ in range(3)]
        await asyncio.sleep(0.5)
        askers[0].cancel()
        assert await asyncio.gather(*askers[1:]) == ["t", "t"]

    for seed in range(5):
        run(scenario(), seed=seed)


# --- A certificate of our own -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Identity]:
    """Return a server's certificate and a client's."""
    return identity_in(tmp_path_factory.mktemp("server")), identity_in(tmp_path_factory.mktemp("client"))


def asked_over_mutual_tls(server_identity: Identity, trusted: Identity, **target: Any) -> str:
    """Ask a server that takes the clients of one authority alone; gives the status, or the error's code."""

    async def scenario() -> str:
        context = server_identity.context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(trusted.certificate)
        async with Server(OK).listen(context) as server:
            written = {"base_url": f"https://127.0.0.1:{server.port}", "tls_ca_file": str(server_identity.certificate)}
            async with opened(server.port, **written, **target) as handler:
                return await outcome(handler)

    return asyncio.run(scenario())


def test_shows_its_certificate(identities: tuple[Identity, Identity]) -> None:
    """To a server that asks for one; without it, or with another, there is no connection."""
    server, client = identities
    own = {"tls_cert_file": str(client.certificate), "tls_key_file": str(client.key)}
    assert asked_over_mutual_tls(server, client, **own) == "200"
    assert asked_over_mutual_tls(server, client) in ("unreachable", "protocol_error")
    other = {"tls_cert_file": str(server.certificate), "tls_key_file": str(server.key)}
    assert asked_over_mutual_tls(server, client, **other) in ("unreachable", "protocol_error")


def test_certificate_and_key_may_stand_in_one_file(identities: tuple[Identity, Identity], tmp_path: Path) -> None:
    """As many tools write them."""
    server, client = identities
    both = tmp_path / "both.pem"
    both.write_text(client.key.read_text() + client.certificate.read_text())
    assert asked_over_mutual_tls(server, client, tls_cert_file=str(both)) == "200"


def test_a_certificate_that_cannot_be_used_is_told_at_once(identities: tuple[Identity, Identity]) -> None:
    """Opening the handler names the file and the target; nobody is asked for a password on a terminal."""
    server, client = identities
    for certificate, key in ((client.certificate, server.key), (client.key, client.key), (Path("missing"), client.key)):

        async def scenario(cert_file: str = str(certificate), key_file: str = str(key)) -> None:
            async with opened(0, base_url="https://127.0.0.1", tls_cert_file=cert_file, tls_key_file=key_file):
                pass

        with pytest.raises(HandlerError, match="'api'") as caught:
            asyncio.run(scenario())
        assert caught.value.code == "tls_cert_file_unusable"
