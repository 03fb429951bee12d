"""The demo's greetings service, spoken to over real sockets."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnibase_infra.demo.server import demo_server

Reply = tuple[int, dict[bytes, bytes], bytes]


class Client:
    """One connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak HTTP over the streams."""
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def request(self, target: str, *, method: str = "GET", body: bytes = b"") -> Reply:
        """Send a request and read its whole answer; the connection is then ready for the next."""
        headers = [("host", "demo"), ("content-length", str(len(body)))]
        for event in (h11.Request(method=method, target=target, headers=headers), h11.Data(body), h11.EndOfMessage()):
            self.writer.write(self._http.send(event) or b"")
        reply = await self._reply()
        self._http.start_next_cycle()
        return reply

    async def _reply(self) -> Reply:
        status, headers, content = 0, {}, b""
        while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.reader.read(65536))
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                content += event.data
        return status, headers, content

    async def raw(self, data: bytes) -> bytes:
        """Send bytes as they are, and read until the service ends the connection."""
        self.writer.write(data)
        return await self.reader.read()


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[Client]:
    """Yield a connection to the service at a base URL."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def served() -> AsyncIterator[Client]:
    """Yield a connection to a fresh service."""
    async with demo_server() as base_url, connect(base_url) as client:
        yield client


def replies(*targets: str, method: str = "GET", body: bytes = b"") -> list[Reply]:
    """Send requests one after the other over one connection."""

    async def scenario() -> list[Reply]:
        async with served() as client:
            return [await client.request(target, method=method, body=body) for target in targets]

    return asyncio.run(scenario())


def exchange(data: bytes) -> bytes:
    """Send bytes to a fresh service and read all that comes back."""

    async def scenario() -> bytes:
        async with served() as client:
            return await client.raw(data)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("target", "greeting", "language"),
    [
        ("/greetings/Ada", "Hello, Ada", "en"),
        ("/greetings/Ada?language=fr", "Bonjour, Ada", "fr"),
        ("/greetings/Ada?language=de", "Hallo, Ada", "de"),
        ("/greetings/J%C3%B8rgen%20%26%20Co", "Hello, Jørgen & Co", "en"),
        ("/greetings/AC%2FDC", "Hello, AC/DC", "en"),
    ],
)
def test_greets(target: str, greeting: str, language: str) -> None:
    """A name is greeted in the language that was asked for, English by default."""
    [(status, headers, content)] = replies(target)
    assert status == 200
    assert headers[b"content-type"] == b"application/json"
    assert json.loads(content) == {"greeting": greeting, "language": language}


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("/greetings/Ada?language=xx", {"error": "unknown_language", "language": "xx"}),
        ("/greetings/Ada?language=", {"greeting": "Hello, Ada", "language": "en"}),
        ("/greetings/", {"error": "not_found"}),
        ("/greetings/a/b", {"error": "not_found"}),
        ("/", {"error": "not_found"}),
        ("*", {"error": "not_found"}),
    ],
)
def test_answers_what_it_does_not_know_with_404(target: str, content: dict[str, str]) -> None:
    """An unknown language or path is 404 as JSON; an empty language counts as none."""
    [(status, _, body)] = replies(target)
    assert json.loads(body) == content
    assert status == (404 if "error" in content else 200)


def test_serves_a_page() -> None:
    """As HTML, with a tag that a client may come back with."""
    [(status, headers, content)] = replies("/about")
    assert (status, headers[b"content-type"], headers[b"etag"]) == (200, b"text/html; charset=utf-8", b'"1"')
    assert content.startswith(b"<!doctype html>")


def test_a_page_that_is_known_is_not_sent_again() -> None:
    """304, and nothing after it: the connection serves the next request."""
    both = exchange(
        b'GET /about HTTP/1.1\r\nhost: demo\r\nif-none-match: "1"\r\n\r\n'
        b'GET /about HTTP/1.1\r\nhost: demo\r\nif-none-match: "0"\r\nconnection: close\r\n\r\n'
    )
    known, _, sent = both.partition(b"HTTP/1.1 200")
    assert known.startswith(b"HTTP/1.1 304")
    assert (known.count(b"doctype"), sent.count(b"doctype")) == (0, 1)


def test_keeps_the_connection() -> None:
    """One connection serves requests in a row, after errors too."""
    statuses = [status for status, _, _ in replies("/greetings/Ada", "/nowhere", "/greetings/Bob")]
    assert statuses == [200, 404, 200]


def test_refuses_other_methods() -> None:
    """Only GET and HEAD are served; the body of anything else is read and dropped."""
    [(status, headers, _), *_] = both = replies("/greetings/Ada", "/greetings/Ada", method="POST", body=b"x" * 100_000)
    assert status == 405
    assert headers[b"allow"] == b"GET, HEAD"
    assert [status for status, _, _ in both] == [405, 405]


def test_head_has_the_headers_of_get_and_no_body() -> None:
    """HEAD tells the length that GET would send."""
    [(_, of_get, content)] = replies("/greetings/Ada")
    [(status, of_head, nothing)] = replies("/greetings/Ada", method="HEAD")
    assert (status, nothing) == (200, b"")
    assert of_head == of_get
    assert int(of_head[b"content-length"]) == len(content)


def test_serves_pipelined_requests_in_order() -> None:
    """Requests sent at once are answered in their order; `connection: close` ends it."""
    first = b"GET /greetings/Ada HTTP/1.1\r\nhost: demo\r\n\r\n"
    last = b"GET /greetings/Bob HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n"
    received = exchange(first + last)
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.index(b"Hello, Ada") < received.index(b"Hello, Bob")


def test_answers_a_client_of_http_1_0_and_ends_the_connection() -> None:
    """HTTP/1.0 knows no kept connections: reading until the end terminates."""
    assert b"Hello, Ada" in exchange(b"GET /greetings/Ada HTTP/1.0\r\n\r\n")


def test_lets_a_client_that_waits_go_on() -> None:
    """A client that expects 100-continue is told to send its body."""

    async def scenario() -> tuple[bytes, bytes]:
        async with served() as client:
            head = b"POST / HTTP/1.1\r\nhost: demo\r\nexpect: 100-continue\r\ncontent-length: 2\r\n"
            client.writer.write(head + b"connection: close\r\n\r\n")
            return await client.reader.readuntil(b"\r\n\r\n"), await client.raw(b"{}")

    go_on, answer = asyncio.run(scenario())
    assert go_on.startswith(b"HTTP/1.1 100")
    assert answer.startswith(b"HTTP/1.1 405")


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 20_000,
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
)
def test_answers_what_is_no_request_with_an_error(data: bytes) -> None:
    """Nonsense gets one 4xx answer and the end of the connection; so does an attempt to use it as a proxy."""

    async def scenario() -> bytes:
        async with served() as client:
            client.writer.write(data)
            client.writer.write_eof()
            return await client.reader.read()

    received = asyncio.run(scenario())
    assert received.startswith(b"HTTP/1.1 4")
    assert received.count(b"HTTP/1.1") == 1


@given(data=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"GET /greetings/a HTTP/1.1\r\n" + tail))
@settings(max_examples=60)
def test_survives_any_bytes(data: bytes) -> None:
    """Whatever one client sends, the next is served."""

    async def scenario() -> Reply:
        async with demo_server() as base_url:
            async with connect(base_url) as client:
                client.writer.write(data)
                client.writer.write_eof()
                await client.reader.read()
            async with connect(base_url) as client:
                return await client.request("/greetings/Ada")

    assert asyncio.run(scenario())[0] == 200


@given(name=st.text(min_size=1, max_size=40))
@settings(max_examples=60)
def test_greets_any_name(name: str) -> None:
    """A name comes back as it was escaped into the path."""
    [(status, _, content)] = replies(f"/greetings/{quote(name, safe='')}")
    assert (status, json.loads(content)["greeting"]) == (200, f"Hello, {name}")


def test_ends_with_its_context() -> None:
    """Leaving the context ends open connections and gives the port back; signals stay the host's all along."""

    async def scenario() -> bytes:
        handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        async with demo_server() as base_url:
            assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
            address = urlsplit(base_url)
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            client = Client(reader, writer)
            await client.request("/greetings/Ada")
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(address.hostname, address.port)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    assert asyncio.run(scenario()) == b""


def test_two_services_stand_side_by_side() -> None:
    """Each takes a port of its own."""

    async def scenario() -> tuple[str, str]:
        async with demo_server() as one, demo_server() as other:
            return one, other

    one, other = asyncio.run(scenario())
    assert one != other
    assert one.startswith("http://127.0.0.1:")
