"""Bytes behind the end of a reply are never read as the reply to another command's request, whoever sends them.

Each case forges a reply on a connection that is kept, in time or late; the next request has to get its own answer, on a
connection of its own. Connections on which nothing is left are used again: `test_http`, `test_http2` and here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from omnibase_infra.handlers.http import HttpRequest
from omnibase_infra.http import RestRequest, RestServer
from omnibase_infra.http.json_client import rest_client
from omnibase_spi import Handler
from tests.infra.handlers.llm import calls
from tests.support.identity import Identity, identity_in
from tests.support.raw_http2 import Conversation, RawHttp2, by_number, data
from tests.support.scripted_http import PLAIN, Script, Seen, Server, call_of, opened, outcome, reply

FORGED = reply(b'{"forged": true}', "content-type: application/json")
POST = HttpRequest(path="/orders", method="POST", json={})
_RECORD_BYTES = 16_384
"""Of TLS: what is written at once beyond this is a record of its own."""
_READ_BYTES = 65_536
"""What the client reads at once."""

SPOILT = {
    "a reply nobody asked for": reply(b"ok") + FORGED,
    "more than the length says": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + FORGED,
    "a body with a 204": b"HTTP/1.1 204 No Content\r\n\r\n" + FORGED,
    "more behind the last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + FORGED,
    "a line's end": reply(b"ok") + b"\r\n",
    "a begun reply": reply(b"ok") + FORGED[:30],
    "a reply behind a record": reply(b"x" * (_RECORD_BYTES - len(reply(b"x" * 10_000)) + 10_000)) + FORGED,
    "a reply behind a read": reply(b"x" * (_READ_BYTES - len(reply(b"x" * 10_000)) + 10_000)) + FORGED,
}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return the server's certificate."""
    return identity_in(tmp_path_factory.mktemp("tls"))


async def real(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Answer with what was asked, and on which connection."""
    writer.write(reply(f'"{seen.method} {seen.connection}"'.encode(), "content-type: application/json"))


def at_once(spoilt: bytes) -> Script:
    """Answer the first request with all of it, and any other as it should be."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await (real(seen, writer) if seen.method == "POST" else _write(writer, spoilt))

    return script


async def _write(writer: asyncio.StreamWriter, written: bytes) -> None:
    writer.write(written)


async def arrival() -> None:
    """Wait until what was written to the loopback has surely arrived, without a read of it by anybody."""
    await asyncio.sleep(0.05)


async def over_plain(script: Script, use: Callable[[Server, Handler], Awaitable[Any]], _identity: Identity) -> Any:
    """Use the handler with a server of this script."""
    async with Server(script).listen() as server, opened(server.port) as handler:
        return await use(server, handler)


async def over_tls(script: Script, use: Callable[[Server, Handler], Awaitable[Any]], identity: Identity) -> Any:
    """Use the handler with a server of this script behind TLS."""
    async with Server(script).listen(identity.context()) as server:
        written = {"base_url": f"https://127.0.0.1:{server.port}", "tls_ca_file": str(identity.certificate)}
        async with opened(server.port, **written) as handler:
            return await use(server, handler)


Over = Callable[[Script, Callable[[Server, Handler], Awaitable[Any]], Identity], Awaitable[Any]]
BOTH = pytest.mark.parametrize("over", [over_plain, over_tls])


@BOTH
@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_what_came_with_a_reply_answers_nobody_else(over: Over, identity: Identity, spoilt: bytes) -> None:
    """Whether it is in the parser's buffer, in TLS, in a queue or in the socket."""

    async def use(server: Server, handler: Handler) -> None:
        assert await outcome(handler) in ("200", "204")
        assert (await handler.execute(call_of(POST)))["json"] == "POST 2"
        assert server.connections == 2

    asyncio.run(over(at_once(spoilt), use, identity))


@BOTH
@pytest.mark.parametrize("late", [FORGED, FORGED[:30], b"\r\n"])
def test_what_comes_later_answers_nobody_else(over: Over, identity: Identity, late: bytes) -> None:
    """The connection is looked at once more when it is taken."""

    async def use(server: Server, handler: Handler) -> None:
        writers: list[asyncio.StreamWriter] = []

        async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await real(seen, writer)

        server.script = script
        assert (await handler.execute(call_of(PLAIN)))["json"] == "GET 1"
        writers[0].write(late)
        await arrival()
        assert (await handler.execute(call_of(POST)))["json"] == "POST 2"

    asyncio.run(over(real, use, identity))


@BOTH
def test_a_head_whose_body_comes_answers_nobody_else(over: Over, identity: Identity) -> None:
    """A reply to HEAD ends with its headers, whatever its server thinks."""

    async def use(_server: Server, handler: Handler) -> None:
        assert await outcome(handler, HttpRequest(path="/", method="HEAD")) == "200"
        assert (await handler.execute(call_of(POST)))["json"] == "POST 2"

    asyncio.run(over(at_once(reply(FORGED)), use, identity))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_reply_of_two_ends_is_the_last_on_its_connection(identity: Identity, head: bytes) -> None:
    """What its server counts to it may come at any time, so that no look at the connection is enough."""

    async def use(_server: Server, handler: Handler) -> None:
        await handler.execute(call_of(PLAIN))
        assert (await handler.execute(call_of(POST)))["json"] == "POST 2"

    asyncio.run(over_plain(at_once(head), use, identity))


@BOTH
def test_a_connection_on_which_nothing_is_left_is_used_again(over: Over, identity: Identity) -> None:
    """After replies of any framing: the tickets of TLS, for one, are nothing that is left."""
    framings = [
        reply(b"ok"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
        reply(b"x" * 300_000),
    ]

    async def use(server: Server, handler: Handler) -> None:
        for framing in framings:
            server.script = at_once(framing)
            await outcome(handler)
            await arrival()
        assert (await handler.execute(call_of(POST)))["json"] == "POST 1"

    asyncio.run(over(real, use, identity))


# --- Other clients of the same connections ------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_the_client_of_vault_and_consul_keeps_its_answers_apart(late: bool) -> None:  # noqa: FBT001 - a case
    """A write that follows a spoilt reply gets its own answer."""
    post = RestRequest(method="POST", path=["v1", "thing"], content=b"{}", repeatable=False)

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.method == "POST":
            await real(seen, writer)
            return
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n" + (b"" if late else FORGED))
        if late:
            asyncio.get_running_loop().call_later(0.01, writer.write, FORGED)

    async def scenario() -> None:
        async with (
            Server(script).listen() as server,
            rest_client(RestServer(name="thing", url=f"http://127.0.0.1:{server.port}")) as client,
        ):
            await client.send(RestRequest(method="GET", path=["v1"], repeatable=True), timeout_s=5.0)
            await arrival()
            assert (await client.send(post, timeout_s=5.0)).json("it") == "POST 2"

    asyncio.run(scenario())


def said(text: str) -> bytes:
    """Spell the reply of a model that says this."""
    event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": text}}
    events = f"data: {json.dumps({**event, 'choices': [choice]})}\n\ndata: [DONE]\n\n"
    return reply(events.encode(), "content-type: text/event-stream")


@pytest.mark.parametrize("spoils", ["at once", "later", "never"])
def test_an_answer_of_a_model_is_of_its_own_command(spoils: str) -> None:
    """The handler of models has connections of its own, under the same rule."""
    forged = said("forged")

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(said(f"by {seen.connection}") + (forged if spoils == "at once" else b""))
        if spoils == "later":
            asyncio.get_running_loop().call_later(0.01, writer.write, forged)

    async def scenario() -> list[str]:
        async with Server(script).listen() as server, calls.opened(server.port, "m") as handler:
            first = await calls.ask(handler, "m")
            await arrival()
            second = await calls.ask(handler, "m")
            return [first["text"], second["text"]]

    assert asyncio.run(scenario()) == ["by 1", "by 1" if spoils == "never" else "by 2"]


# --- HTTP/2 -------------------------------------------------------------------------------------------------------


def over_http2(identity: Identity, use: Callable[[RawHttp2, Handler], Awaitable[Any]]) -> Any:
    """Use the handler with a server of HTTP/2 that says any frames."""

    async def scenario() -> Any:
        async with RawHttp2(by_number).listen(identity) as server:
            written = {"base_url": f"https://127.0.0.1:{server.port}", "tls_ca_file": str(identity.certificate)}
            async with opened(server.port, http2=True, **written) as handler:
                return await use(server, handler)

    return asyncio.run(scenario())


FRAMES: dict[str, tuple[Callable[[Conversation], bytes], str]] = {
    "a reply on a stream that nobody opened": (lambda to: to.reply(3, b"forged"), "protocol_error"),
    "headers on a stream that nobody opened": (lambda to: to.head(3), "protocol_error"),
    "headers behind the end": (lambda to: to.head(1), "protocol_error"),
    "a begun frame of the next stream": (lambda to: to.reply(3, b"forged")[:10], "200"),
    "a begun frame": (lambda to: to.reply(3, b"forged")[:4], "200"),
    "a reply on a stream of the server": (lambda to: to.reply(2, b"forged"), "200"),
}
"""With how the request ends that they come with."""


@pytest.mark.usefixtures("uses_http2")
@pytest.mark.parametrize(("frames", "code"), FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("late", [False, True])
def test_frames_that_nobody_asked_for_answer_nobody(
    identity: Identity,
    frames: Callable[[Conversation], bytes],
    code: str,
    late: bool,  # noqa: FBT001 - a case
) -> None:
    """The next request is served on another connection, where it has its own answer."""

    async def use(server: RawHttp2, handler: Handler) -> None:
        server.script = _and_then(frames, late=late)
        assert await outcome(handler) == ("200" if late else code)
        await arrival()
        server.script = by_number
        assert (await handler.execute(call_of(POST)))["text"] == "2/1"

    over_http2(identity, use)


@pytest.mark.usefixtures("uses_http2")
@pytest.mark.parametrize(("late", "answer"), [(False, "1/3"), (True, "2/1")])
def test_data_behind_the_end_of_a_stream_is_of_nobody(identity: Identity, late: bool, answer: str) -> None:  # noqa: FBT001 - a case
    """What came with the end is answered by h2 with a reset of that stream, whose number is never used again."""

    async def use(server: RawHttp2, handler: Handler) -> None:
        server.script = _and_then(lambda _: data(1, b"more", ends=False), late=late)
        assert (await handler.execute(call_of(PLAIN)))["text"] == "first"
        await arrival()
        server.script = by_number
        assert (await handler.execute(call_of(POST)))["text"] == answer

    over_http2(identity, use)


@pytest.mark.usefixtures("uses_http2")
def test_frames_that_are_forbidden_amid_a_body_are_the_servers_fault(identity: Identity) -> None:
    """The call ends with an error of the server, and the next one is served."""

    async def use(server: RawHttp2, handler: Handler) -> None:
        async def script(to: Conversation, stream: int) -> None:
            to.writer.write(to.head(stream) + data(stream, b"some", ends=False))
            asyncio.get_running_loop().call_later(0.02, to.writer.write, to.head(7))

        server.script = script
        assert await outcome(handler) == "protocol_error"
        server.script = by_number
        assert (await handler.execute(call_of(POST)))["text"] == "2/1"

    over_http2(identity, use)


def _and_then(frames: Callable[[Conversation], bytes], *, late: bool) -> Callable[[Conversation, int], Awaitable[None]]:
    """Answer, and send these frames in the same breath or a little later."""

    async def script(to: Conversation, stream: int) -> None:
        answer, more = to.reply(stream, b"first"), frames(to)  # In this order: headers refer to earlier ones.
        to.writer.write(answer + (b"" if late else more))
        if late:
            asyncio.get_running_loop().call_later(0.01, to.writer.write, more)

    return script


@pytest.mark.usefixtures("uses_http2")
def test_a_connection_of_http2_on_which_nothing_is_left_is_used_again(identity: Identity) -> None:
    """One request after the other, each on a stream of its own."""

    async def use(_server: RawHttp2, handler: Handler) -> list[str]:
        answers = []
        for _ in range(3):
            answers.append((await handler.execute(call_of(POST)))["text"])
            await arrival()
        return answers

    assert over_http2(identity, use) == ["1/1", "1/3", "1/5"]
