"""The server of the health pages, spoken to byte by byte: whoever connects, a probe has its answer."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from omnibase_core.testing import RecordingObserver
from omnibase_infra.host import health_server
from omnibase_infra.host.health_server import CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_S, Page, json_page, page_server

HERE = "127.0.0.1"
GET = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LARGE_BYTES = 32 * 1024 * 1024
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serving = tuple[int, RecordingObserver]


async def live() -> Page:
    """Report that the process turns."""
    return json_page({"status": "live"})


async def broken() -> Page:
    """Fail, with something that is no client's business."""
    raise ValueError("the password is 1234")


async def large() -> Page:
    """Describe more than the buffers of a connection hold."""
    return Page(200, "text/plain", "x" * LARGE_BYTES)


async def never() -> Page:
    """Be made for ever."""
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def serving(**more: Callable[[], Awaitable[Page]]) -> AsyncIterator[Serving]:
    """Serve the pages here; gives the port, and what is told."""
    events = RecordingObserver()
    pages = {"/live": live, **{f"/{name}": make for name, make in more.items()}}
    with socket.create_server((HERE, 0)) as listener:
        async with page_server(listener, pages, address="metrics.example.org", observer=events):
            yield listener.getsockname()[1], events


async def told(port: int, sent: bytes) -> bytes:
    """Send bytes on a connection of their own, and give all that comes until its end."""
    reader, writer = await asyncio.open_connection(HERE, port)
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def status(port: int, sent: bytes = LAST) -> int:
    """Return the status of the first answer."""
    return int((await told(port, sent)).split(b" ", 2)[1])


async def is_open(client: Client) -> bool:
    """Whether the server has neither said anything nor hung up."""
    try:
        async with asyncio.timeout(0.001):
            await client[0].read(1)
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    return False


@asynccontextmanager
async def clients(port: int, count: int, sent: bytes = b"") -> AsyncIterator[list[Client]]:
    """Connect so often, say so much, and wait."""
    async with AsyncExitStack() as stack:
        opened: list[Client] = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection(HERE, port)
            stack.callback(writer.close)
            writer.write(sent)
            opened.append((reader, writer))
        yield opened


def test_hundreds_of_idle_connections_keep_out_no_probe_and_take_no_descriptors() -> None:
    """The oldest of them make room, and what is left of them ends by itself."""

    async def scenario() -> None:
        async with serving() as (port, _), clients(port, 300) as idle:
            began_s = time.monotonic()
            assert [await status(port) for _ in range(3)] == [200] * 3
            assert time.monotonic() - began_s < 2
            kept = [await is_open(client) for client in idle]
            assert sum(kept) <= CONNECTIONS_MAX
            assert not any(kept[: 300 - CONNECTIONS_MAX])
            await asyncio.sleep(HEAD_S + 0.5)
            assert not any([await is_open(client) for client in idle])

    asyncio.run(scenario())


def test_where_all_connections_are_being_answered_one_more_is_told_so_until_one_ends() -> None:
    """None of them is cut off for it."""

    async def scenario() -> None:
        gate = asyncio.Event()

        async def gated() -> Page:
            await gate.wait()
            return json_page({})

        async with (
            serving(gated=gated) as (port, _),
            clients(port, CONNECTIONS_MAX, b"GET /gated HTTP/1.1\r\nHost: localhost\r\n\r\n") as busy,
        ):
            await asyncio.sleep(0.1)
            assert await status(port, b"") == 503
            gate.set()
            assert [await reader.read(12) for reader, _ in busy] == [b"HTTP/1.1 200"] * CONNECTIONS_MAX
            assert await status(port) == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("first", [b"", GET], ids=["a new connection", "after an answer"])
def test_a_head_that_comes_drop_by_drop_is_not_waited_for(first: bytes) -> None:
    """Five seconds for all of it, on a new connection as on one that has been used."""

    async def scenario() -> None:
        async with serving() as (port, _), clients(port, 1, first) as [(reader, writer)]:
            if first:
                assert (await reader.readuntil(b'{"status": "live"}')).startswith(b"HTTP/1.1 200 OK\r\n")
            began_s = time.monotonic()
            dripping = asyncio.create_task(drip(writer))
            try:
                async with asyncio.timeout(HEAD_S + 2):
                    assert await reader.read() == b""
            except ConnectionError:
                pass
            assert time.monotonic() - began_s > HEAD_S - 0.5
            dripping.cancel()

    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in GET:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.4)

    asyncio.run(scenario())


@pytest.mark.parametrize("ends", [b"", b"\r\n\r\n"], ids=["unended", "whole"])
def test_a_head_that_is_too_large_is_refused(ends: bytes) -> None:
    """Also one that comes at once; and nothing of it is kept."""

    async def scenario() -> None:
        async with serving() as (port, events):
            head = GET.removesuffix(b"\r\n") + b"X: " + b"x" * (3 * HEAD_BYTES_MAX) + ends
            answer = await told(port, head)
            assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "Request Header Fields Too Large"
            assert not events.events

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /live\r\n\r\n", 400),
        (b"POST /live HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegun", 405),
        (b"POST /live HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"GET http://evil.example/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        (b"GET /live?at=now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        (b"GET /live HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_whatever_is_sent_is_answered_as_json_and_the_connection_ends(sent: bytes, expected: int) -> None:
    """TLS on the wrong port, no `Host`, two, a body that nobody reads; HTTP/1.0, as load balancers probe."""

    async def scenario() -> None:
        async with serving() as (port, events):
            head, _, body = (await told(port, sent)).partition(b"\r\n\r\n")
            assert int(head.split(b" ")[1]) == expected
            assert b"connection: close" in head.lower().split(b"\r\n")
            assert isinstance(json.loads(body), dict)
            assert not events.events

    asyncio.run(scenario())


def test_who_still_sends_a_body_that_nobody_reads_has_the_answer_all_the_same() -> None:
    """Hung up on at once, the client would be reset, and lose what it has not read."""

    async def scenario() -> None:
        async with serving() as (port, _):
            head = f"POST /live HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE_BYTES // 4}\r\n\r\n".encode()
            assert await status(port, head + b"x" * (LARGE_BYTES // 4)) == 405

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8080", 200),
        ("10.1.2.3", 200),
        ("[::1]:8080", 200),
        ("[::ffff:10.1.2.3]", 200),
        ("localhost:1", 200),
        ("LocalHost.", 200),
        ("runtime-host:8080", 200),
        ("runtime-host.prod.svc.cluster.local:8080", 200),
        ("Metrics.Example.Org:8080", 200),
        (socket.gethostname(), 200),
        ("", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("user@evil.example", 421),
        ("evil.example:8080:127.0.0.1", 421),
        ("[::1].evil.example", 421),
        ("1.2.3", 421),
    ],
)
def test_a_host_that_a_stranger_may_have_named_is_refused(host: str, expected: int) -> None:
    """A page that a browser shows can point its own name here, and no other."""

    async def scenario() -> None:
        async with serving() as (port, _):
            for path in ("/live", "/nothing"):
                request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
                answer = await told(port, request)
                got = int(answer.split(b" ")[1])
                assert got == expected or (got, path, expected) == (404, "/nothing", 200)
                if got == 421:
                    body = json.loads(answer.partition(b"\r\n\r\n")[2])
                    assert body["error"] == "Misdirected Request"
                    assert "health.address" in body["expected"]
                    assert b"metrics.example.org" not in answer
                    assert socket.gethostname().encode() not in answer

    asyncio.run(scenario())


def test_requests_that_come_all_at_once_are_answered_in_order() -> None:
    """On one connection, which goes on until the client wants its end."""

    async def scenario() -> None:
        async with serving() as (port, _):
            answers = await told(port, GET * 50 + GET.replace(b"/live", b"/nothing") + LAST)
            statuses = [int(part[1:4]) for part in answers.split(b"HTTP/1.1")[1:]]
            assert statuses == [200] * 50 + [404, 200]

    asyncio.run(scenario())


def test_head_has_the_same_head_and_no_body() -> None:
    """Its length is that of the page."""

    async def scenario() -> None:
        async with serving() as (port, _):
            whole = await told(port, LAST)
            head, _, body = whole.partition(b"\r\n\r\n")
            alone, _, nothing = (await told(port, LAST.replace(b"GET", b"HEAD"))).partition(b"\r\n\r\n")
            assert nothing == b""
            assert without_date(alone) == without_date(head)
            assert f"content-length: {len(body)}".encode() in head.lower()

    def without_date(head: bytes) -> list[bytes]:
        return [line for line in head.split(b"\r\n") if not line.startswith(b"date")]

    asyncio.run(scenario())


def test_a_page_that_cannot_be_made_is_logged_and_the_client_hears_no_more_than_that() -> None:
    """The next request is served, on the same connection."""

    async def scenario() -> None:
        async with serving(broken=broken) as (port, events):
            answers = await told(port, GET.replace(b"/live", b"/broken") + LAST)
            assert answers.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
            assert b'\r\n\r\n{"error": "Internal Server Error"}HTTP/1.1 200 OK' in answers
            assert b"1234" not in answers
            [(level, name, fields)] = events.events
            assert (level, name, fields["path"], str(fields["error"])) == (
                "error",
                "health_page_failed",
                "/broken",
                "the password is 1234",
            )

    asyncio.run(scenario())


def test_clients_that_hang_up_at_any_moment_cost_nothing() -> None:
    """Before, within and after a head, in the middle of an answer; with a reset or without one."""

    async def scenario() -> None:
        async with serving(large=large) as (port, events):
            for sent in (b"", GET[:20], GET, GET.replace(b"/live", b"/large")):
                for reset in (False, True):
                    _, writer = await asyncio.open_connection(HERE, port)
                    writer.write(sent)
                    await asyncio.sleep(0.01)
                    writer.transport.abort() if reset else writer.close()
            assert await status(port) == 200
            assert not events.events

    asyncio.run(scenario())


def test_a_client_that_does_not_take_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would keep the answer in memory, and its place, for as long as it likes."""
    monkeypatch.setattr(health_server, "_ANSWER_S", 0.5)

    async def scenario() -> None:
        async with serving(large=large) as (port, _):
            with socket.create_connection((HERE, port)) as slow:
                slow.sendall(GET.replace(b"/live", b"/large"))
                await asyncio.sleep(1.5)
                slow.settimeout(5)
                assert await asyncio.to_thread(taken, slow) < LARGE_BYTES

    def taken(slow: socket.socket) -> int:
        count = 0
        try:
            while part := slow.recv(1 << 20):
                count += len(part)
        except ConnectionError:
            pass
        return count

    asyncio.run(scenario())


@pytest.mark.parametrize(("path", "within_s"), [(b"/live", 0.5), (b"/never", 1.5)])
def test_the_end_waits_for_nobody_longer_than_a_second(path: bytes, within_s: float) -> None:
    """Not at all for clients that wait or have been answered; a little for one whose answer is being made."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            context = serving(never=never)
            port, events = await context.__aenter__()
            idle = await stack.enter_async_context(clients(port, 40))
            asked = await stack.enter_async_context(clients(port, 5, GET.replace(b"/live", path)))
            await asyncio.sleep(0.1)
            began_s = time.monotonic()
            await context.__aexit__(None, None, None)
            assert time.monotonic() - began_s < within_s
            await asyncio.sleep(0.1)
            for reader, _ in asked:
                await reader.read(1000)
            assert not any([await is_open(client) for client in (*idle, *asked)])
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HERE, port)
            assert not events.events

    asyncio.run(scenario())


def test_what_is_being_answered_at_the_end_is_answered() -> None:
    """A scrape that began before is not cut off for it."""

    async def slow() -> Page:
        await asyncio.sleep(0.3)
        return json_page({"slow": True})

    async def scenario() -> None:
        async with serving(slow=slow) as (port, _):
            answer = asyncio.create_task(told(port, GET.replace(b"/live", b"/slow")))
            await asyncio.sleep(0.1)
        assert (await answer).endswith(b'{"slow": true}')

    asyncio.run(scenario())
