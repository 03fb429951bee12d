"""The `http` handler over HTTP/2, against a real server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from omnibase_infra.handlers.http import HttpRequest
from omnibase_spi import Handler, HandlerError
from tests.support.http2_server import http2_server
from tests.support.identity import Identity, identity_in
from tests.support.scripted_http import call_of, opened

pytestmark = pytest.mark.usefixtures("uses_http2")


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return the server's certificate."""
    return identity_in(tmp_path_factory.mktemp("tls"))


def run_with(
    identity: Identity,
    use: Callable[[Handler], Awaitable[Any]],
    *,
    protocols: tuple[str, ...] = ("h2", "http/1.1"),
    **target: Any,
) -> Any:
    """Run a scenario with the server and a handler that speaks HTTP/2."""

    async def scenario() -> Any:
        async with http2_server(identity, protocols=protocols) as port:
            written = {"base_url": f"https://127.0.0.1:{port}", "tls_ca_file": str(identity.certificate), "http2": True}
            async with opened(port, **{**written, **target}) as handler:
                return await use(handler)

    return asyncio.run(scenario())


async def version_of(handler: Handler) -> str:
    """Do a call; gives the version of HTTP that the server saw."""
    result = await handler.execute(call_of(HttpRequest(path="/", method="POST", text="body")))
    assert result["text"] == "body"
    return str(result["headers"]["x-http-version"])


def test_speaks_the_best_that_both_know(identity: Identity) -> None:
    """HTTP/2 where the target says so and the server knows it."""
    assert run_with(identity, version_of) == "2"
    assert run_with(identity, version_of, http2=False) == "1.1"
    assert run_with(identity, version_of, protocols=("http/1.1",)) == "1.1"


def test_many_calls_at_once_each_have_their_answer(identity: Identity) -> None:
    """And the connections serve the next ones too."""

    async def use(handler: Handler) -> None:
        for _ in range(3):
            requests = [HttpRequest(path="/", method="POST", text=f"call {number}") for number in range(20)]
            results = await asyncio.gather(*(handler.execute(call_of(request)) for request in requests))
            assert [result["text"] for result in results] == [request.text for request in requests]

    run_with(identity, use, connections_max=4)


@pytest.mark.parametrize(("path", "code"), [("/endless", "response_too_large"), ("/silent", "timeout")])
def test_trouble_ends_one_call_alone(identity: Identity, path: str, code: str) -> None:
    """A body without end and a silent server: the next call has its answer."""

    async def use(handler: Handler) -> str:
        with pytest.raises(HandlerError) as caught:
            await handler.execute(call_of(HttpRequest(path=path), timeout_s=1.0))
        assert await version_of(handler) == "2"
        return caught.value.code

    assert run_with(identity, use, connections_max=1, response_bytes_max=100_000) == code


def test_cancelling_leaves_the_handler_usable(identity: Identity) -> None:
    """Wherever it happens, the handshake included."""

    async def use(handler: Handler) -> None:
        for steps in range(0, 60, 3):
            task = asyncio.create_task(handler.execute(call_of(HttpRequest(path="/"))))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert await version_of(handler) == "2"

    run_with(identity, use, connections_max=1)
