"""The client of JSON APIs: connections, limits, TLS, and what its errors tell. Handlers' own tests show the rest."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omnibase_infra.http import RestRequest, RestServer
from omnibase_infra.http.json_client import RestClient, rest_client
from omnibase_spi import HandlerError
from tests.support.identity import Identity, identity_in
from tests.support.scripted_http import Script, Server, reply, says, says_and_ends

OK = says(reply(b"{}", "x-index: 7"))
GET = RestRequest(method="GET", path=["v1", "thing"], repeatable=True)
POST = RestRequest(method="POST", path=["v1", "thing"], content=b"{}", repeatable=False)
SECRET = "a-secret-of-the-suite"  # noqa: S105 - it opens nothing


@asynccontextmanager
async def serving(script: Script, **written: Any) -> AsyncIterator[tuple[Server, RestClient]]:
    """Yield a server that says this, and a client of it."""
    tls = written.pop("tls", None)
    async with Server(script).listen(tls) as server:
        scheme = "http" if tls is None else "https"
        told = {"name": "thing 'main'", "url": f"{scheme}://127.0.0.1:{server.port}", **written}
        async with rest_client(RestServer(**told)) as client:
            yield server, client


def error_of(script: Script, request: RestRequest = GET, *, timeout_s: float = 5.0, **written: Any) -> HandlerError:
    """Send a request that fails, and give its error."""

    async def scenario() -> HandlerError:
        async with serving(script, **written) as (_, client):
            with pytest.raises(HandlerError) as raised:
                await client.send(request, timeout_s=timeout_s)
            return raised.value

    return asyncio.run(scenario())


async def silent(_seen: object, _writer: object) -> None:
    """Answer nothing."""


def test_a_request_arrives_as_it_was_written() -> None:
    """Escaped, with the server's headers and its own, and the length of a body."""

    async def scenario() -> None:
        async with serving(OK, headers={"x-token": SECRET}) as (server, client):
            request = RestRequest(
                method="PUT",
                path=["v1", "a b", "ü/?"],
                query=[("recurse", None), ("tag", "a&b"), ("tag", "c")],
                headers={"content-type": "application/json"},
                content=b"[1]",
                repeatable=True,
            )
            answer = await client.send(request, timeout_s=5.0)
            assert (answer.status, answer.headers["x-index"], answer.json("it")) == (200, "7", {})
            await client.send(GET, timeout_s=5.0)
            put, get = server.seen
            assert (put.method, put.target) == ("PUT", "/v1/a%20b/%C3%BC%2F%3F?recurse&tag=a%26b&tag=c")
            assert (put.body, put.headers["x-token"]) == (b"[1]", SECRET)
            assert put.headers["host"] == f"127.0.0.1:{server.port}"
            assert (get.target, "content-length" in get.headers) == ("/v1/thing", False)

    asyncio.run(scenario())


def test_connections_are_few_and_kept() -> None:
    """A hundred requests at once use as many as the server may have, and the next one of these."""

    async def scenario() -> None:
        async with serving(OK, connections_max=3) as (server, client):
            await asyncio.gather(*(client.send(GET, timeout_s=5.0) for _ in range(100)))
            await client.send(GET, timeout_s=5.0)
            assert server.connections == 3
        assert server.open <= 3

    asyncio.run(scenario())


def test_an_idle_connection_ends_in_time() -> None:
    """It is not used again when it has been idle for longer than the server may keep it."""

    async def scenario() -> None:
        async with serving(OK, keepalive_s=0.05) as (server, client):
            await client.send(GET, timeout_s=5.0)
            await asyncio.sleep(0.2)
            await client.send(GET, timeout_s=5.0)
            assert server.connections == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("status", ["301 Moved\r\nlocation: http://127.0.0.1:1/", "404 Not Found", "500 Oh"])
def test_every_status_is_a_reply(status: str) -> None:
    """A redirect too: it is followed nowhere."""

    async def scenario() -> None:
        async with serving(says(reply(b"no", status=status))) as (server, client):
            answer = await client.send(POST, timeout_s=5.0)
            assert (answer.status, answer.text, len(server.seen)) == (int(status[:3]), "no", 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (silent, "timeout"),
        (says_and_ends(b""), "protocol_error"),
        (says_and_ends(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), "protocol_error"),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol_error"),
    ],
    ids=["silent", "ends", "cut", "ssh"],
)
def test_what_ends_after_it_was_sent_is_repeated_only_where_that_is_safe(script: Script, code: str) -> None:
    """A request that is not repeatable may have been served."""
    for request in (GET, POST):
        error = error_of(script, request, timeout_s=0.2)
        assert (error.code, error.retryable) == (code, request.repeatable)
        assert str(error).startswith(f"thing 'main': {request.method} /v1/thing: ")


def test_nobody_at_the_port_is_safe_to_try_again() -> None:
    """Nothing was sent, whatever the request."""

    async def scenario() -> None:
        async with Server(OK).listen() as gone:
            pass
        async with rest_client(RestServer(name="gone", url=f"http://127.0.0.1:{gone.port}")) as client:
            for request in (GET, POST):
                with pytest.raises(HandlerError) as raised:
                    await client.send(request, timeout_s=5.0)
                assert (raised.value.code, raised.value.retryable) == ("unreachable", True)

    asyncio.run(scenario())


def test_a_body_over_the_limit_is_not_read_to_its_end() -> None:
    """However much there would be of it."""

    async def endless(_seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    error = error_of(endless, response_bytes_max=10_000)
    assert (error.code, error.retryable) == ("response_too_large", False)
    assert "10000 bytes (response_bytes_max)" in str(error)


def test_a_secret_that_comes_back_is_not_told() -> None:
    """Servers like to repeat what they were sent, and vendors to quote it."""

    async def echo(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + seen.headers["x-token"].encode() + b"\r\n\r\n")

    error = error_of(echo, headers={"x-token": SECRET}, secrets=(SECRET,))
    assert error.code == "protocol_error"
    assert SECRET not in str(error)
    assert "***" in str(error)
    assert SECRET not in repr(RestServer(name="it", url="http://it", headers={"x-token": SECRET}, secrets=(SECRET,)))


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return a certificate that nobody trusts by default."""
    return identity_in(tmp_path_factory.mktemp("tls"))


def test_the_authority_that_is_named_is_trusted_and_no_other(identity: Identity) -> None:
    """A certificate of anybody else ends the request before it is sent."""

    async def scenario() -> None:
        trusted = {"tls": identity.context(), "tls_ca_file": str(identity.certificate)}
        async with serving(OK, **trusted) as (_, client):
            assert (await client.send(POST, timeout_s=5.0)).status == 200

    asyncio.run(scenario())
    error = error_of(OK, POST, tls=identity.context())
    assert (error.code, error.retryable) == ("unreachable", True)


def test_a_server_may_ask_who_its_client_is(identity: Identity) -> None:
    """It is shown the certificate of the client."""
    asking = identity.context()
    asking.load_verify_locations(identity.certificate)
    asking.verify_mode = ssl.CERT_REQUIRED

    async def scenario() -> None:
        shown = {"tls_cert_file": str(identity.certificate), "tls_key_file": str(identity.key)}
        async with serving(OK, tls=asking, tls_ca_file=str(identity.certificate), **shown) as (_, client):
            assert (await client.send(GET, timeout_s=5.0)).status == 200

    asyncio.run(scenario())
    assert error_of(OK, tls=asking, tls_ca_file=str(identity.certificate)).code in ("unreachable", "protocol_error")


def test_cancelling_over_tls_leaves_nothing_open(identity: Identity) -> None:
    """Wherever it happens, the handshake included, the connection ends or serves the next request."""

    async def scenario() -> None:
        trusted = {"tls": identity.context(), "tls_ca_file": str(identity.certificate)}
        async with serving(OK, connections_max=1, **trusted) as (server, client):
            for steps in range(0, 60, 2):
                task = asyncio.create_task(client.send(GET, timeout_s=5.0))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert (await client.send(GET, timeout_s=5.0)).status == 200
        async with asyncio.timeout(5):
            while server.open:  # noqa: ASYNC110 - a connection ends in its own time
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_tls_file_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    """Opening the client names the setting."""

    async def scenario() -> None:
        async with rest_client(RestServer(name="it", url="https://it", tls_ca_file=str(tmp_path / "missing.pem"))):
            pass

    with pytest.raises(HandlerError, match="it: tls_ca_file cannot be used") as raised:
        asyncio.run(scenario())
    assert raised.value.code == "tls_ca_file_unusable"
