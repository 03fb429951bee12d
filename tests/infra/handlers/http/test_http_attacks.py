"""Where no command, name server or reply may lead the `http` handler: each attempt is refused, and says why."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from omnibase_infra.handlers.http import HttpHandlerFactory, HttpRequest, HttpSettings, HttpTarget
from omnibase_infra.handlers.http.addresses import kind_of
from omnibase_spi import HandlerCall, HandlerError


def call_of(**request: Any) -> HandlerCall:
    """Plan a call as the runtime does."""
    return HandlerCall(
        handler_type="http",
        operation="request",
        request=HttpRequest.model_validate({"path": "/"} | request),
        target="api",
        timeout_s=5.0,
        call_id=UUID(int=1),
    )


def ask(answers: list[list[str]], calls: Sequence[HandlerCall], **target: Any) -> list[str]:
    """Do calls with a resolver that gives one answer after the other; gives the code of each, or its status."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    async def scenario() -> list[str]:
        found = []
        targets = {"api": HttpTarget.model_validate(target)}
        async with HttpHandlerFactory(resolve=resolve).open(settings=HttpSettings(), targets=targets) as handler:
            for call in calls:
                try:
                    found.append(str((await handler.execute(call))["status"]))
                except HandlerError as error:
                    found.append("retryable" if error.retryable else error.code)
        return found

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        *(("127.0.0.1", "loopback"), ("127.8.8.8", "loopback"), ("::1", "loopback"), ("::ffff:127.0.0.1", "loopback")),
        *(("10.1.2.3", "private"), ("172.31.0.1", "private"), ("192.168.0.1", "private"), ("100.64.0.1", "private")),
        *(("fd12::1", "private"), ("::ffff:10.0.0.1", "private"), ("64:ff9b::10.0.0.1", "private")),
        *(("2002:0a00:0001::1", "private"), ("::10.0.0.1", "private")),
        *(("169.254.1.1", "link_local"), ("fe80::1%eth0", "link_local")),
        *(("169.254.169.254", "metadata"), ("::ffff:169.254.169.254", "metadata"), ("fd00:ec2::254", "metadata")),
        *(("100.100.100.200", "metadata"), ("168.63.129.16", "metadata")),
        *(("0.0.0.0", "reserved"), ("::", "reserved"), ("224.0.0.1", "reserved"), ("255.255.255.255", "reserved")),  # noqa: S104 - nothing binds to it
        *(("240.0.0.1", "reserved"), ("ff02::1", "reserved"), ("192.0.2.1", "reserved"), ("2001::1", "reserved")),
        *(("93.184.216.34", "public"), ("2606:2800:220:1::1", "public"), ("::ffff:93.184.216.34", "public")),
    ],
)
def test_an_address_is_judged_by_where_it_leads(address: str, kind: str) -> None:
    """Whatever notation it comes in, IPv4 within IPv6 included."""
    assert kind_of(address) == kind


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "1.0x1", "127.0.0.1.", "a.0x7f"]
)
def test_other_notations_of_an_address_are_refused(host: str) -> None:
    """Decimal, octal, hexadecimal and short forms are no host, in a host contract or from a command."""
    with pytest.raises(ValidationError):
        HttpTarget(base_url=f"http://{host}")
    with pytest.raises(ValidationError):
        HttpRequest.model_validate({"path": "/", "host": host})


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0"],  # noqa: S104 - nothing binds to it
)
def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    """A name server cannot turn an allowed host against its own network."""
    assert ask([[address]], [call_of()], base_url="http://api.example") == ["address_refused"]


def test_allowing_one_kind_allows_no_other() -> None:
    """`link_local` does not include the metadata service, and nothing includes what is reserved."""
    found = ask(
        [["169.254.169.254"], ["10.0.0.1"], ["224.0.0.1"]],
        [call_of()] * 3,
        base_url="http://api.example",
        allow=["link_local", "loopback"],
    )
    assert found == ["address_refused"] * 3


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "redirect_refused"),
        ("http://[::ffff:169.254.169.254]:{port}/", "redirect_refused"),
        ("http://2130706433:{port}/v1/", "redirect_refused"),
        ("//evil.example:{port}/v1/", "redirect_refused"),
        ("http://127.0.0.1:{port}@evil.example/v1/", "redirect_refused"),
        ("https://127.0.0.1:{port}/v1/", "redirect_refused"),
        ("http://127.0.0.1:1/v1/", "redirect_refused"),
        ("file:///etc/passwd", "redirect_refused"),
        ("gopher://127.0.0.1:{port}/", "redirect_refused"),
        ("/admin", "redirect_refused"),
        ("/v1/../admin", "redirect_refused"),
        ("/v1/%2e%2e/admin", "redirect_refused"),
        ("/v1/..%5cadmin", "redirect_refused"),
        ("/v1/..;/admin", "redirect_refused"),
        ("/v1/..;x=1;y/admin", "redirect_refused"),
        ("/v1/a;/.;/..;/../admin", "redirect_refused"),
        ("/v1/%252e%252e/admin", "redirect_refused"),
        ("/v1/%25252e%25252e%25252fadmin", "redirect_refused"),
        ("/v1/..%3b/admin", "redirect_refused"),
        ("/v1/..%253bx%252fadmin", "redirect_refused"),
        ("/v1/%252e%252e%255cadmin", "redirect_refused"),
        ("/v1/%" + "25" * 20_000, "redirect_refused"),
        ("/v1/%2525252525252525252e%2525252525252525252e/admin", "redirect_refused"),
        ("/v1x", "redirect_refused"),
        ("/v1/start", "redirect_refused"),
        ("/v1/a\\b", "redirect_refused"),
        ("/v1/end;a=..;b/a%2Fb/100%25/..a/...;x", "200"),
        ("/v1/end", "200"),
        ("end?q=1#part", "200"),
        ("http://127.0.0.1:{port}/v1/end", "200"),
    ],
)
def test_a_redirect_stays_within_the_target(location: str, code: str) -> None:
    """It is checked as the first request was, and one that goes round in circles ends."""

    async def scenario() -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /v1/start"):
                there = location.replace("{port}", str(port))
                writer.write(
                    f"HTTP/1.1 302 X\r\nlocation: {there}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
                )
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        targets = {"api": HttpTarget(base_url=f"http://127.0.0.1:{port}/v1")}
        async with server, HttpHandlerFactory().open(settings=HttpSettings(), targets=targets) as handler:
            try:
                return str((await handler.execute(call_of(path="/start", redirects=3)))["status"])
            except HandlerError as error:
                return "retryable" if error.retryable else error.code

    assert asyncio.run(scenario()) == code


def test_a_name_that_changes_its_address_is_checked_each_time() -> None:
    """What was resolved is what is connected to; a new connection is checked anew (DNS rebinding)."""

    async def scenario() -> tuple[str, str, int]:
        connections = 0

        def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()

        answers = [["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1"]]

        async def resolve(_host: str, _port: int) -> Sequence[str]:
            return answers.pop(0)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        targets = {"api": HttpTarget(base_url=f"http://api.example:{port}", allow=["loopback"])}
        async with (
            server,
            HttpHandlerFactory(resolve=resolve).open(settings=HttpSettings(), targets=targets) as handler,
        ):
            first = await handler.execute(call_of())
            with pytest.raises(HandlerError) as caught:
                await handler.execute(call_of())
            # One answer a connection was asked for: nobody looked a second time after the check.
            return str(first["status"]), caught.value.code, len(answers)

    assert asyncio.run(scenario()) == ("200", "address_refused", 1)


@pytest.mark.parametrize(
    ("address", "code"),
    [("10.0.0.1", "address_refused"), ("169.254.169.254", "address_refused"), ("::ffff:a00:1", "address_refused")],
)
def test_a_redirect_is_connected_to_as_a_first_request_is(address: str, code: str) -> None:
    """To a host that the target allows, whose name leads inside: the address is checked there too."""

    async def scenario() -> str:
        def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = f"http://other.example:{port}/"
            writer.write(f"HTTP/1.1 307 X\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n".encode())
            writer.close()

        async def resolve(_host: str, _port: int) -> Sequence[str]:
            return [address]

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        written = {"base_url": f"http://127.0.0.1:{port}", "allowed_hosts": ["127.0.0.1", "other.example"]}
        targets = {"api": HttpTarget.model_validate(written)}
        factory = HttpHandlerFactory(resolve=resolve)
        async with server, factory.open(settings=HttpSettings(), targets=targets) as handler:
            with pytest.raises(HandlerError) as caught:
                await handler.execute(call_of(redirects=1))
            assert address in str(caught.value)
            return caught.value.code

    assert asyncio.run(scenario()) == code


@pytest.mark.parametrize(
    "headers", [{"x": "a\r\nhost: evil"}, {"x\r\ny": "a"}, {"x": "a\nb"}, {"x": "a\0"}, {"host": "evil"}]
)
def test_no_header_leaves_its_line(headers: dict[str, str]) -> None:
    """Neither a name nor a value can begin a second header, or a second request; the message names the header."""
    with pytest.raises(ValidationError, match="header"):
        HttpRequest.model_validate({"path": "/", "headers": headers})


@pytest.mark.parametrize(
    "path",
    [
        ["../x"],
        ["a/b"],
        ["a\\b"],
        ["%2e%2e"],
        ["..;"],
        "/..;/b",
        [".."],
        ["a", "..", "b"],
        ["."],
        [""],
        "/a/../b",
        "/a//b",
        "/%2e%2e",
        "//evil.example/",
        "http://evil/",
    ],
)
def test_no_path_leaves_its_place(path: Any) -> None:
    """A segment is one for every server, and a text of the contract plain; what a segment may hold is escaped."""
    with pytest.raises(ValidationError, match="path"):
        HttpRequest.model_validate({"path": path})
    assert HttpRequest.model_validate({"path": ["..x", "a;b?c#d", "a%2Fb"]}).escaped_path == (
        "/..x/a%3Bb%3Fc%23d/a%252Fb"
    )
