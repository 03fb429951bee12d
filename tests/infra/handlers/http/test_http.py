"""The `http` handler against a real server on the loopback, which says what each test scripts. Nothing is mocked."""

import asyncio
import gzip
import json
import re
import socket
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from omnibase_infra.demo.server import demo_server
from omnibase_infra.handlers.http import HttpHandlerFactory, HttpRequest, HttpSettings, HttpTarget
from omnibase_spi import Handler, HandlerError, HandlerFactory
from tests.support.identity import Identity, identity_in
from tests.support.scripted_http import (
    OK,
    PLAIN,
    Script,
    Seen,
    Server,
    ask,
    call_of,
    opened,
    outcome,
    refusal,
    reply,
    run_with,
    says,
    says_and_ends,
)

SECRET = "Bearer s3cr3t-t0ken-of-the-host"  # noqa: S105 - it opens nothing

# --- Requests -----------------------------------------------------------------------------------------------------


def test_factory_is_a_handler_factory() -> None:
    """What the host's wiring asks of a factory is there."""
    factory: HandlerFactory = HttpHandlerFactory()
    assert factory.description.handler_type == "http"
    assert next(iter(factory.description.operations)) == "request"


def test_sends_a_plain_get() -> None:
    """Without more, a request is a GET of its path with the handler's own headers and nothing else."""
    result, seen = ask(OK, path="/users")
    assert (seen.method, seen.target, seen.body) == ("GET", "/users", b"")
    assert seen.headers.keys() == {"host", "user-agent", "accept-encoding"}
    assert seen.headers["user-agent"] == "onex-runtime-host"
    assert seen.headers["accept-encoding"] == "gzip"
    assert result["status"] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_sends_the_method(method: str) -> None:
    """Each method arrives as it was asked for."""
    assert ask(says(b"HTTP/1.1 204 No Content\r\n\r\n"), method=method)[1].method == method


@pytest.mark.parametrize(
    ("base_path", "path", "target"),
    [
        ("", "/", "/"),
        ("", "/a/b/", "/a/b/"),
        ("", "/v1/a:b@c,(d)'e!$&*+;=~_-.f", "/v1/a:b@c,(d)'e!$&*+;=~_-.f"),
        ("/api/", "/users", "/api/users"),
        ("/api", "/", "/api/"),
        ("/api", [], "/api"),
        ("", [], "/"),
        ("/api", ["users", 7], "/api/users/7"),
        ("", ["a b", "c?d", "ü"], "/a%20b/c%3Fd/%C3%BC"),
    ],
)
def test_puts_the_path_behind_the_base_url(base_path: str, path: Any, target: str) -> None:
    """A text stays as it is written; segments are escaped; an empty list is the base URL itself."""

    async def scenario() -> str:
        async with Server(OK).listen() as server:
            base_url = f"http://127.0.0.1:{server.port}{base_path}"
            async with opened(server.port, base_url=base_url) as handler:
                await handler.execute(call_of(HttpRequest(path=path)))
            return server.seen[0].target

    assert asyncio.run(scenario()) == target


HOSTILE = ["/", "?", "#", "..", "../..", "./a", "a/../b", "%2e%2e", "%", "\\", "\r\nHost: evil", "\0", "//evil.com/"]
HOSTILE += [
    "..;",
    "..;/x",
    "%252e%252e",
    "..%2f..",
    "a%2fb",
    "%" + "25" * 9,
    "%2525252525252525252e.",
    ";",
    "..%3b",
    "%00",
]


SEGMENT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1)
SEGMENT |= st.text(st.sampled_from(["%", "2", "5", "e", "f", ".", ";", "a"]), min_size=1)


def stays(segment: str) -> bool:
    """Check whether no server takes a segment for anything else: looks at every round of unescaping by itself."""
    if not segment or re.search(r"[/\\]", segment) or not segment.isprintable():
        return False
    for _ in range(8):
        resolved = [part.split(";")[0] for part in re.split(r"[/\\]", segment)]
        if "." in resolved or ".." in resolved or re.search(r"[\x00-\x1f]", segment):
            return False
        if unquote(segment) == segment:
            return True
        segment = unquote(segment)
    return False


@settings(max_examples=300)
@given(segments=st.lists(SEGMENT | st.text(st.characters(codec="utf-8")) | st.sampled_from(HOSTILE), max_size=4))
@example(segments=["@evil.com", ":80@evil.com", "http://evil.com"])
@example(segments=["..;", ".\t.", "\u3002\u3002", "\uff0e\uff0e"])
def test_a_segment_stays_one_segment(loopback: "Loopback", segments: list[str]) -> None:
    """Any text arrives as the one segment that it was written as, on the same host; what may not is refused."""
    if not all(map(stays, segments)):
        with pytest.raises(ValidationError, match=r"would name another path|cannot be printed"):
            HttpRequest(path=["users", *segments, "end"])
        return
    seen = loopback.send(HttpRequest(path=["users", *segments, "end"], query={"q": "1"}))
    path, _, query = seen.target.partition("?")
    assert [unquote(segment) for segment in path.split("/")] == ["", "users", *segments, "end"]
    assert query == "q=1"
    assert seen.headers["host"] == f"127.0.0.1:{loopback.server.port}"


@settings(max_examples=200)
@given(parameters=st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))))
def test_parameters_arrive_as_they_were(loopback: "Loopback", parameters: dict[str, str]) -> None:
    """Whatever stands in a query or a form is read back by the server as the same names and values."""
    seen = loopback.send(HttpRequest(method="POST", path="/form", query={**parameters}, form={**parameters}))
    assert dict(parse_qsl(seen.target.partition("?")[2], keep_blank_values=True)) == parameters
    assert dict(parse_qsl(seen.body.decode(), keep_blank_values=True)) == parameters
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"


class Loopback:
    """A server and a handler that live through the many examples of a property."""

    def __init__(self) -> None:
        """Open both on a loop of their own."""
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.server = Server(OK)
        self._handler = self._runner.run(self._open())

    async def _open(self) -> Handler:
        await self._stack.enter_async_context(self.server.listen())
        handler: Handler = await self._stack.enter_async_context(opened(self.server.port))
        return handler

    def send(self, request: HttpRequest) -> Seen:
        """Do a call; gives what the server saw."""
        self._runner.run(self._handler.execute(call_of(request)))
        return self.server.seen.pop()

    def receive(self, request: HttpRequest) -> Mapping[str, Any]:
        """Do a call; gives its result."""
        return self._runner.run(self._handler.execute(call_of(request)))

    def close(self) -> None:
        """Close both."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def loopback() -> Any:
    """Yield a server and a handler to a whole module."""
    pair = Loopback()
    yield pair
    pair.close()


def test_spells_each_kind_of_parameter() -> None:
    """Booleans are lower case, lists repeat their name, nulls are left out."""
    query = {"t": True, "f": False, "i": 3, "d": 1.5, "l": ["a", None, 2, False], "n": None, "e": [], "s": "x&y=z w"}
    assert ask(OK, query=query)[1].target == "/?t=true&f=false&i=3&d=1.5&l=a&l=2&l=false&s=x%26y%3Dz%20w"


@pytest.mark.parametrize("value", [{"a": [1, "ü", None]}, [], "text", 0, None, False])
def test_sends_json(value: Any) -> None:
    """Any JSON value is a body, null too."""
    _, seen = ask(OK, method="POST", json=value)
    assert json.loads(seen.body) == value
    assert seen.headers["content-type"] == "application/json"


def test_a_request_may_say_what_its_body_is() -> None:
    """The header of a request goes before the one that follows from its body."""
    _, seen = ask(OK, method="PATCH", json={}, headers={"Content-Type": "application/merge-patch+json", "X-None": None})
    assert seen.headers["content-type"] == "application/merge-patch+json"
    assert "x-none" not in seen.headers


def test_sends_the_targets_headers() -> None:
    """The host contract's headers go with each request."""
    _, seen = ask(OK, {"headers": {"Authorization": SECRET}}, headers={"X-Trace": "abc"})
    assert seen.headers["authorization"] == SECRET
    assert seen.headers["x-trace"] == "abc"


def test_a_request_cannot_replace_a_header_of_the_target() -> None:
    """Who the host is stands in its own contract; the refusal does not tell it."""
    error = refusal(OK, {"headers": {"Authorization": SECRET}}, headers={"AUTHORIZATION": "Bearer mine"})
    assert (error.code, error.retryable) == ("request_invalid", False)
    assert "s3cr3t" not in str(error)


def test_keeps_no_cookies() -> None:
    """What one command's server sets is not sent along with the next command."""

    async def use(server: Server, handler: Handler) -> list[Seen]:
        await handler.execute(call_of(PLAIN))
        await handler.execute(call_of(PLAIN))
        return server.seen

    for seen in run_with(says(reply(b"", "set-cookie: session=1; Path=/")), use):
        assert "cookie" not in seen.headers


def test_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy nor a .netrc of the environment changes where a request goes or what it holds."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    _, seen = ask(OK)
    assert seen.target == "/"


# --- What cannot be written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "users",
            "//evil.com",
            "/a//b",
            "/a/../b",
            "/..",
            "/.",
            "/a?b",
            "/a#b",
            "/a\\b",
            "/a\r\nb",
            "/a\0",
            "/a b",
        ),
        *("/%2e%2e/b", "/a%2Fb", "/ü", "http://evil.com/", "@evil.com", "/a/..", None, 7),
        *(["a", ""], [""], ["."], [".."], ["a", None], ["a", True], ["a", 1.5], ["a", ["b"]], ["\ud800"]),
        *("/..;/b", "/a/.;x=1", ["a/b"], ["../b"], ["a\\b"], ["..;x"], ["%2e%2e"], ["%252e."], ["..%2Fb"], ["..%5cb"]),
        *(["%" + "25" * 9], ["a\nb"], ["%0d%0a"]),
    ],
)
def test_refuses_a_path_that_could_leave_its_place(path: Any) -> None:
    """A path of text is plain; a segment is text that no server takes for another path."""
    with pytest.raises(ValidationError):
        HttpRequest(path=path)


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "upgrade", "TE", "expect"]
)
def test_refuses_headers_that_frame_the_message(name: str) -> None:
    """They are the handler's own, in requests and targets."""
    with pytest.raises(ValidationError, match="the handler's own"):
        HttpRequest(path="/", headers={name: "x"})
    with pytest.raises(ValidationError, match="the handler's own"):
        HttpTarget(base_url="http://a", headers={name: "x"})


@pytest.mark.parametrize(
    "headers",
    [
        *({"x": "a\r\nevil: 1"}, {"x": "a\nb"}, {"x": "a\0"}, {"x": " a"}, {"x": "a\t"}, {"x": "ü"}, {"x": "a\x7f"}),
        *({"a b": "1"}, {"": "1"}, {"a:": "1"}, {"a\r\n": "1"}, {"ü": "1"}, {"X-A": "1", "x-a": "2"}),
    ],
)
def test_refuses_headers_that_could_leave_their_line(headers: dict[str, str]) -> None:
    """Names are tokens, values printable; no message repeats a value."""
    with pytest.raises(ValidationError) as caught:
        HttpRequest.model_validate({"path": "/", "headers": headers})
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("secret\r\nx-evil: 1", "the value of header 'X-Name' holds a control character at place 7"),
        ("secr\u00e9t", "the value of header 'X-Name' holds a character beyond ASCII at place 5"),
        (" secret", "the value of header 'X-Name' has a blank at an end"),
    ],
)
def test_it_is_told_why_a_value_cannot_stand_in_a_header(value: str, told: str) -> None:
    """By its name and a place, without the value."""
    with pytest.raises(ValidationError) as caught:
        HttpRequest.model_validate({"path": "/", "headers": {"X-Name": value}})
    assert f"{told}; expected printable ASCII without blanks at its ends" in str(caught.value)
    assert "secr" not in str(caught.value)


def test_a_number_stands_in_a_header_as_in_a_query() -> None:
    """So do true and false; a list has no form there."""
    _, seen = ask(OK, headers={"X-I": 3, "X-D": 1.5, "X-B": True, "X-None": None})
    assert {name: value for name, value in seen.headers.items() if name.startswith("x-")} == {
        "x-i": "3",
        "x-d": "1.5",
        "x-b": "true",
    }
    with pytest.raises(ValidationError):
        HttpRequest.model_validate({"path": "/", "headers": {"x-l": ["a"]}})


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_any_method_may_have_a_body(method: str) -> None:
    """Search engines want one with GET."""
    _, seen = ask(OK, method=method, json={"q": 1})
    assert (seen.method, seen.body, seen.headers["content-length"]) == (method, b'{"q":1}', "7")


@given(name=st.text(max_size=20), value=st.text(max_size=20))
def test_a_header_is_sound_or_refused(name: str, value: str) -> None:
    """Whatever is let through is one line of ASCII."""
    try:
        request = HttpRequest.model_validate({"path": "/", "headers": {name: value}})
    except ValidationError:
        return
    [(kept, held)] = request.headers.items()
    assert re.fullmatch(r"[!-9;-~]+", kept)
    assert re.fullmatch(r"[\t -~]*", held or "")
    assert held == (held or "").strip()


@pytest.mark.parametrize(
    "request_",
    [
        *({"json": 1, "form": {}}, {"query": {"a": {}}}, {"query": {"a": float("nan")}}, {"form": {"a": "\ud800"}}),
        *({"method": "TRACE"}, {"method": "get"}, {"expect": []}, {"expect": [99]}, {"expect": ["200"]}, {"url": "x"}),
        *({"host": "a/b"}, {"host": "a@b"}, {"host": ""}, {"json": float("inf")}),
    ],
)
def test_refuses_what_is_no_request(request_: dict[str, Any]) -> None:
    """One body at most, known methods and statuses, values that have a form in a query; nothing unknown."""
    with pytest.raises(ValidationError):
        HttpRequest.model_validate({"path": "/"} | request_)


@pytest.mark.parametrize(
    "base_url",
    [
        *("", "example.com", "ftp://a", "http://", "http:///a", "http://user:hunter2@a", "http://a@b", "http://a?q=1"),
        *(
            "http://a#f",
            "http://a?",
            "http://a:0",
            "http://a:65536",
            "http://a:x",
            "http://a:",
            "http://a/..",
            "http://a//",
        ),
        *(
            "http://a b",
            "http://ü.de",
            "http://-a",
            "http://a..b",
            "http://" + "a" * 64,
            "http://1.2.3",
            "http://1.2.3.400",
        ),
        *(
            "http://[::1",
            "http://[x]",
            "http://a\\b",
            "http://a\n",
            " http://a",
            "http://[fe80::1%25e]",
            "http://a/%2e",
        ),
    ],
)
def test_refuses_a_base_url_that_is_more_than_an_address(base_url: str) -> None:
    """A scheme, a host, a port and a plain path; a password that stands in it is not repeated."""
    with pytest.raises(ValidationError) as caught:
        HttpTarget(base_url=base_url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("HTTP://Example.COM/", "http://example.com"),
        ("https://a-b_c.example:8443/api/v1/", "https://a-b_c.example:8443/api/v1"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://127.0.0.1", "http://127.0.0.1"),
    ],
)
def test_reads_a_base_url(written: str, read: str) -> None:
    """Scheme and host are in lower case, and no slash stands at its end."""
    assert HttpTarget(base_url=written).base_url == read


def test_a_target_agrees_with_itself() -> None:
    """The base URL's host is among the allowed; an authority file is for TLS; what is unknown is an error."""
    with pytest.raises(ValidationError, match="'a', is not in allowed_hosts"):
        HttpTarget(base_url="http://a", allowed_hosts=["b"])
    with pytest.raises(ValidationError, match="for an https base_url"):
        HttpTarget(base_url="http://a", tls_ca_file="ca.pem")
    with pytest.raises(ValidationError, match="verify"):
        HttpTarget.model_validate({"base_url": "https://a", "verify": False})


def test_a_target_does_not_show_its_headers() -> None:
    """Its text holds no secret, and neither does the error for a faulty one."""
    assert "s3cr3t" not in repr(HttpTarget(base_url="http://a", headers={"authorization": SECRET}))
    with pytest.raises(ValidationError) as caught:
        HttpTarget(base_url="http://a", headers={"authorization": SECRET + "\n"})
    assert "s3cr3t" not in str(caught.value)


# --- Hosts --------------------------------------------------------------------------------------------------------


def test_a_request_may_name_an_allowed_host() -> None:
    """The other host is called on the same port, with the same headers."""
    hosts = ["127.0.0.1", "localhost"]
    target = {"allowed_hosts": hosts, "allow": ["loopback"], "headers": {"authorization": SECRET}}
    _, seen = ask(OK, target, host="LOCALHOST")
    assert seen.headers["host"].startswith("localhost:")
    assert seen.headers["authorization"] == SECRET


@pytest.mark.parametrize("allowed", [[], ["127.0.0.1", "example.com"]])
def test_nothing_else_is_called(allowed: list[str]) -> None:
    """A host that the host contract does not name is refused before anything connects."""

    async def use(server: Server, handler: Handler) -> int:
        with pytest.raises(HandlerError, match="'localhost'") as caught:
            await handler.execute(call_of(HttpRequest(path="/", host="localhost")))
        assert (caught.value.code, caught.value.retryable) == ("host_not_allowed", False)
        return server.connections

    assert run_with(OK, use, allowed_hosts=allowed) == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_a_result(status: str) -> None:
    """Nobody follows it, wherever it leads and however it is spelled."""

    async def use(server: Server, handler: Handler) -> Mapping[str, Any]:
        async with Server(OK).listen() as elsewhere:
            server.script = says(reply(b"", f"location: http://127.0.0.1:{elsewhere.port}/", status=status))
            result = await handler.execute(call_of(PLAIN))
            assert elsewhere.connections == 0
            return result

    result = run_with(OK, use)
    assert result["status"] == int(status[:3])
    assert result["headers"]["location"].startswith("http://127.0.0.1:")
    assert ask(says(reply(b"", "location: http://[:::/\x01", status=status)))[0]["status"] == int(status[:3])


# --- Results ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", b'{"a": [1, 2.5, null, "\xc3\xbc"]}', {"a": [1, 2.5, None, "ü"]}),
        ("Application/JSON; charset=utf-8", b"[]", []),
        ("application/problem+json", b'"x"', "x"),
        ("application/json", b"\xef\xbb\xbf{}", {}),
        ("application/json", b" null ", None),
    ],
)
def test_reads_json(content_type: str, body: bytes, value: Any) -> None:
    """A body whose type is JSON is a JSON value."""
    result, _ = ask(says(reply(body, f"Content-Type: {content_type}")))
    assert (result["json"], result["text"]) == (value, None)


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", "grün".encode(), "grün"),
        ("text/plain; charset=iso-8859-1", "grün".encode("latin-1"), "grün"),
        ('text/html; boundary=x; Charset="UTF-16LE"', "grün".encode("utf-16le"), "grün"),
        ("text/plain", b"gr\xfcn", "gr�n"),
        ("text/plain; charset=punycode", b"abc-", "abc-"),
        ("text/plain; charset=zip", b"abc", "abc"),
        ("text/plain; charset=no-such", b"abc", "abc"),
        ("application/jsonlines", b"{}", "{}"),
        ("application/json", b"", ""),
    ],
)
def test_reads_text(content_type: str, body: bytes, text: str) -> None:
    """Any other body is text in its charset, with a sign for each byte that is none; an empty one is no JSON."""
    result, _ = ask(says(reply(body, f"content-type: {content_type}")))
    assert (result["text"], result["json"]) == (text, None)


def test_reads_headers() -> None:
    """Names are in lower case, repeated ones are joined, bytes beyond ASCII do not matter."""
    data = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-Odd: \xfc\r\nContent-Length: 0\r\n\r\n"
    result, _ = ask(says(data))
    assert result["headers"] == {"x-a": "1, 2", "x-odd": "ü", "content-length": "0"}


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\ncontent-type: application/json\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\ncontent-type: application/json\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5000000\r\n\r\n"),
    ],
)
def test_a_response_may_have_no_body(method: str, data: bytes) -> None:
    """What HEAD, 204 and 304 say of a body that does not come is no fault, and the connection is kept."""

    async def use(server: Server, handler: Handler) -> Mapping[str, Any]:
        await handler.execute(call_of(HttpRequest.model_validate({"method": method, "path": "/"})))
        result = await handler.execute(call_of(HttpRequest.model_validate({"method": method, "path": "/"})))
        assert server.connections == 1
        return result

    result = run_with(says(data), use)
    assert (result["text"], result["json"]) == ("", None)


def test_reads_a_body_of_any_framing() -> None:
    """Chunks, and a body that ends with its connection, are read like one of a known length."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: 1\r\n\r\n"
    assert ask(says(chunked))[0]["text"] == "abcde"
    assert ask(says_and_ends(b"HTTP/1.1 200 OK\r\n\r\nabcde"))[0]["text"] == "abcde"
    assert ask(says_and_ends(b"HTTP/1.0 200 OK\r\n\r\nabcde"))[0]["text"] == "abcde"
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    assert ask(says(early + reply(b"abcde")))[0]["text"] == "abcde"


@settings(max_examples=50)
@given(bodies=st.lists(st.binary(max_size=3000), min_size=1, max_size=3))
def test_unpacks_gzip(loopback: "Loopback", bodies: list[bytes]) -> None:
    """A packed body is read as what was packed, also where it comes in several members."""
    packed = b"".join(gzip.compress(body, mtime=0) for body in bodies)
    loopback.server.script = says(reply(packed, "content-encoding: GZIP", "content-type: text/plain; charset=latin-1"))
    try:
        text = b"".join(bodies).decode("utf-8", errors="replace").removeprefix("\ufeff")
        assert loopback.receive(PLAIN)["text"] == text
    finally:
        loopback.server.script = OK


@pytest.mark.parametrize(
    "headers", [("content-type: application/json",), ("content-encoding: br",), ("content-encoding: gzip",)]
)
@pytest.mark.parametrize("body", [b'{"a":', b"<html>", b'{"a": 1e999}', b"NaN", b'"\\ud800"', b"[" * 100_000])
def test_a_body_that_is_not_what_it_says_is_invalid(headers: tuple[str, ...], body: bytes) -> None:
    """Broken JSON, broken gzip and a packing that was not asked for fail for good."""
    error = refusal(says(reply(body, *headers)))
    assert (error.code, error.retryable) == ("invalid_response", False)
    assert "status 200" in str(error)
    assert error.details == {"status": 200}


def test_an_error_page_that_says_it_is_json_does_not_hide_its_status() -> None:
    """A contract can still tell a 403 from a 404; a reply that is cut off tells its status in the error."""
    page = reply(b"<html>no", "content-type: application/json", status="403 Forbidden")
    result, _ = ask(says(page))
    assert (result["status"], result["json"], result["text"]) == (403, None, "<html>no")
    error = refusal(says(reply(b"no gzip", "content-encoding: gzip", status="403 Forbidden")))
    assert (error.code, error.details) == ("invalid_response", {"status": 403})
    assert "status 403" in str(error)
    error = refusal(says(page), pages={})
    assert (error.code, error.details) == ("invalid_response", {"status": 403})


def test_a_gzip_stream_that_ends_early_is_invalid() -> None:
    """Half of a body is not given for the whole."""
    packed = gzip.compress(b"a" * 1000)[:-9]
    assert refusal(says(reply(packed, "content-encoding: gzip"))).code == "invalid_response"


# --- Statuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 300, 304, 400, 401, 404, 409, 418, 499])
def test_a_status_is_a_result(status: int) -> None:
    """Without `expect`, what the server decided is for the contract to judge."""
    assert ask(says(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode()))[0]["status"] == status


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 599])
def test_a_status_that_may_pass_is_a_retryable_error(status: int) -> None:
    """The server could not serve: the error tells the status and what the body began with."""
    error = refusal(says(reply(b"x" * 10_000, status=f"{status} X")), path="/a", query={"key": "private"})
    assert (error.code, error.retryable) == ("http_status", True)
    assert error.details == {"status": status, "body": "x" * 500}
    assert f"/a: status {status}" in str(error)
    assert "private" not in str(error)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    ("script", "retryable"),
    [
        (says(reply(b"", status="500 X")), False),
        (says(reply(b"", status="502 X")), False),
        (says(reply(b"", status="503 X")), True),
        (says(reply(b"", status="429 X")), True),
        (says_and_ends(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"), False),
    ],
)
def test_what_may_have_been_done_is_not_asked_again(method: str, script: Script, retryable: bool) -> None:  # noqa: FBT001 - a case
    """A POST is repeated only where the server says that it has not done it (RFC 9110, section 9.2.2)."""
    assert refusal(script, method=method, json={}).retryable is retryable
    assert refusal(script, method="PUT", json={}).retryable


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("1" * 5000, 111_111_111.0),
    ],
)
def test_retry_after_is_read(written: str, seconds: float | None) -> None:
    """Seconds or a date; anything else is as if it were not there."""
    assert refusal(says(reply(b"", f"retry-after: {written}", status="503 X"))).retry_after_s == seconds


@pytest.mark.parametrize(("status", "retryable"), [(201, False), (302, False), (404, False), (429, True), (503, True)])
def test_expect_says_which_statuses_are_results(status: int, retryable: bool) -> None:  # noqa: FBT001 - a parameter
    """Any other is an error, and its kind alone says whether it is retryable."""
    script = says(reply(b"", status=f"{status} X"))
    assert ask(script, expect=[200, status])[0]["status"] == status
    error = refusal(script, expect=[200, 404 if status != 404 else 410])
    assert (error.code, error.retryable) == ("http_status", retryable)
    assert "expected 200 or 4" in str(error)


@pytest.mark.parametrize(
    "response",
    [
        reply(b"x" * 5000, status="503 X"),
        reply(b"<html>", "content-type: application/json", status="503 X"),
        reply(b"<html>", "content-encoding: br", status="503 X"),
        reply(b"<html>", "content-encoding: gzip", status="503 X"),
    ],
)
def test_the_status_goes_before_faults_of_the_body(response: bytes) -> None:
    """A server in trouble often sends an odd page: the command is still retryable."""
    error = refusal(says(response), {"response_bytes_max": 1000})
    assert (error.code, error.retryable) == ("http_status", True)


def test_an_error_does_not_tell_the_targets_headers() -> None:
    """A server that repeats what it was sent does not carry a secret into an error answer."""

    async def repeats(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(f"you sent {seen.headers} {SECRET.split()[1]}".encode(), status="500 X"))

    async def repeats_raw(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{seen.headers['authorization']}\r\n\r\n".encode())

    target = {"headers": {"authorization": SECRET}}
    error = refusal(repeats, target)
    assert "you sent" in str(error.details)
    assert "s3cr3t" not in f"{error} {error.details}"
    broken = refusal(repeats_raw, target)
    assert broken.code == "protocol_error"
    assert "s3cr3t" not in f"{broken} {broken.details}"


# --- Limits -------------------------------------------------------------------------------------------------------


async def never_ends(_seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Send a body for ever, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


def lies(length: int, body: bytes) -> Script:
    """Announce one length and send another."""
    return says_and_ends(f"HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n".encode() + body)


BOMB = gzip.compress(b"\0" * 50_000_000, mtime=0)
"""Fifty megabytes in fifty kilobytes."""


@pytest.mark.parametrize(
    "script",
    [
        says(reply(b"x" * 1001)),
        never_ends,
        lies(10**15, b"x" * 5000),
        says(reply(gzip.compress(b"x" * 1001), "content-encoding: gzip")),
        says(reply(gzip.compress(b"x" * 500) * 1000, "content-encoding: gzip")),
        says(reply(BOMB, "content-encoding: gzip")),
    ],
    ids=["one byte over", "never ends", "claims a petabyte", "unpacks to one over", "many members", "bomb"],
)
def test_refuses_a_body_over_the_limit(script: Script) -> None:
    """Whatever its headers claim, no more is read than the target allows, and the connection is broken off."""

    async def use(server: Server, handler: Handler) -> HandlerError:
        with pytest.raises(HandlerError) as caught:
            await handler.execute(call_of(PLAIN))
        await server.ended.wait()
        return caught.value

    error = run_with(script, use, response_bytes_max=1000)
    assert (error.code, error.retryable) == ("response_too_large", False)
    assert "1000 bytes" in str(error)


def test_takes_a_body_of_the_limit() -> None:
    """The limit itself is allowed, packed or not."""
    target = {"response_bytes_max": 1000}
    assert len(ask(says(reply(b"x" * 1000)), target)[0]["text"]) == 1000
    packed = gzip.compress(b"x" * 1000)
    assert len(ask(says(reply(packed, "content-encoding: gzip")), target)[0]["text"]) == 1000


def test_a_bomb_is_never_unfolded() -> None:
    """What is small on the wire and huge unpacked costs memory by the limit, not by its claim."""
    script = says(reply(BOMB, "content-encoding: gzip"))
    refusal(script, {"response_bytes_max": 1000})
    tracemalloc.start()
    try:
        refusal(script, {"response_bytes_max": 1000})
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_an_url_beyond_what_can_be_sent_is_refused() -> None:
    """A command cannot make the handler build an address without end."""
    error = refusal(OK, path=["x" * 100_000])
    assert (error.code, error.retryable) == ("request_invalid", False)


# --- Time and trouble ---------------------------------------------------------------------------------------------


async def silent(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def breaks_off(_seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Reset the connection in the middle of the body."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def drips(_seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then: never silent for long, and never done."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.01)


def trouble(script: Script, *, timeout_s: float = 10.0, **target: Any) -> HandlerError:
    """Do one call within a time; gives its error. The same handler has to serve the next call."""

    async def use(server: Server, handler: Handler) -> HandlerError:
        with pytest.raises(HandlerError) as caught:
            await handler.execute(call_of(PLAIN, timeout_s=timeout_s))
        server.script = OK
        assert (await handler.execute(call_of(PLAIN)))["status"] == 200
        return caught.value

    error: HandlerError = run_with(script, use, connections_max=1, **target)
    return error


@pytest.mark.parametrize("script", [silent, drips, never_ends])
def test_a_call_ends_in_its_time(script: Script) -> None:
    """However the server stalls, the call's time bounds it in all."""
    error = trouble(script, timeout_s=0.1, response_bytes_max=256 * 1024 * 1024)
    assert (error.code, error.retryable) == ("timeout", True)
    assert "not done within 0.1 s" in str(error)


def test_a_silent_server_is_given_up() -> None:
    """The target's own patience may be shorter than the call's time."""
    error = trouble(silent, read_timeout_s=0.05)
    assert (error.code, error.retryable) == ("timeout", True)
    assert "silent for 0.05 s" in str(error)


def test_a_server_that_does_not_accept_is_given_up() -> None:
    """A connection that is not made in its time is a timeout of its own."""

    async def scenario(port: int) -> HandlerError:
        async with opened(port, connect_timeout_s=0.05) as handler:
            with pytest.raises(HandlerError) as caught:
                await handler.execute(call_of(PLAIN))
            return caught.value

    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Linux queues one connection more than it is told, and then leaves further ones unanswered.
        for waiting in (first, second):
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        error = asyncio.run(scenario(full.getsockname()[1]))
    assert (error.code, error.retryable) == ("timeout", True)
    assert "connect_timeout_s" in str(error)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (breaks_off, "unreachable"),
        (says_and_ends(b""), "protocol_error"),
        (says_and_ends(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"), "protocol_error"),
        (says_and_ends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"), "protocol_error"),
        (says_and_ends(b"HTTP/1.1 200 OK\r\ncontent-le"), "protocol_error"),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol_error"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"), "protocol_error"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab"), "protocol_error"),
        (says(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n"), "protocol_error"),
        (says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "protocol_error"),
    ],
)
def test_a_broken_reply_is_retryable(script: Script, code: str) -> None:
    """What ends early or is no HTTP may be whole next time; the next call gets a fresh connection."""
    error = trouble(script)
    assert (error.code, error.retryable) == (code, True)
    assert "GET http://127.0.0.1:" in str(error)


def test_a_body_longer_than_it_claims_never_reaches_another_command() -> None:
    """The claim holds for its own call; the rest costs the next one a new connection, and no more."""

    async def use(server: Server, handler: Handler) -> None:
        assert (await handler.execute(call_of(PLAIN)))["text"] == "abc"
        server.script = OK
        assert (await handler.execute(call_of(PLAIN)))["json"] == {}
        assert server.connections == 2

    run_with(says(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef"), use)


@pytest.mark.parametrize(
    ("address", "codes"),
    [
        ("http://127.0.0.1:{port}", {"unreachable"}),
        ("http://[::1]:{port}", {"unreachable"}),
        # Where no name server answers either, the search for the name ends with its time.
        ("http://no-such-host.invalid", {"unreachable", "timeout"}),
    ],
)
def test_a_server_that_is_not_there_is_unreachable(address: str, codes: set[str]) -> None:
    """Nobody listens, or the name is unknown: opening the handler works all the same, and calls fail retryable."""

    async def scenario() -> HandlerError:
        async with Server(OK).listen() as gone:
            pass
        async with opened(0, base_url=address.format(port=gone.port), connect_timeout_s=1) as handler:
            with pytest.raises(HandlerError) as caught:
                await handler.execute(call_of(PLAIN))
            return caught.value

    error = asyncio.run(scenario())
    assert error.code in codes
    assert error.retryable


def test_a_server_may_go_away_and_come_back() -> None:
    """Calls fail while it is away and succeed again by themselves."""

    async def scenario() -> list[str]:
        server = Server(OK)
        outcomes = []
        async with server.listen(), opened(server.port) as handler:
            outcomes.append(await outcome(handler))
        async with server.listen(), opened(server.port) as handler:
            outcomes.append(await outcome(handler))
        return outcomes

    async def returning() -> list[str]:
        server = Server(OK)
        async with AsyncExitStack() as stack:
            async with server.listen():
                handler = await stack.enter_async_context(opened(server.port))
                outcomes = [await outcome(handler)]
            outcomes += [await outcome(handler), await outcome(handler)]
            async with server.listen():
                return [*outcomes, await outcome(handler)]

    assert asyncio.run(scenario()) == ["200", "200"]
    assert asyncio.run(returning()) == ["200", "unreachable", "unreachable", "200"]


# --- Connections --------------------------------------------------------------------------------------------------


async def repeats(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Answer with what was asked."""
    writer.write(reply(seen.target.encode()))


def test_keeps_a_connection_for_the_next_call() -> None:
    """Calls in a row share one connection, after error statuses too."""

    async def use(server: Server, handler: Handler) -> int:
        for script in (OK, says(reply(b"x" * 2000, status="503 X")), OK):
            server.script = script
            await outcome(handler)
        return server.connections

    assert run_with(OK, use) == 1


def test_notices_that_a_kept_connection_has_ended() -> None:
    """A server may close an idle connection without a word: the next call takes a fresh one."""

    async def use(server: Server, handler: Handler) -> list[str]:
        outcomes = []
        for _ in range(3):
            outcomes.append(await outcome(handler))
            await server.ended.wait()
            server.ended.clear()
        return outcomes

    assert run_with(says_and_ends(reply(b"")), use) == ["200", "200", "200"]


def test_a_kept_connection_has_its_time() -> None:
    """After a busy moment, connections that nobody needs are closed, though calls go on."""

    async def use(server: Server, handler: Handler) -> None:
        met = asyncio.Event()

        async def meets(_seen: Seen, writer: asyncio.StreamWriter) -> None:
            if server.open == 5:
                met.set()
            await met.wait()
            writer.write(reply(b""))

        server.script = meets
        await asyncio.gather(*(handler.execute(call_of(PLAIN)) for _ in range(5)))
        while server.open > 1:
            await handler.execute(call_of(PLAIN))

    run_with(OK, use, keepalive_s=0.001)


def test_serves_many_calls_at_once_over_bounded_connections() -> None:
    """Each call gets its own answer; no more connections are made than the target allows."""

    async def use(server: Server, handler: Handler) -> int:
        calls = [handler.execute(call_of(HttpRequest(path=["n", str(number)]))) for number in range(200)]
        results = await asyncio.gather(*calls)
        assert [result["text"] for result in results] == [f"/n/{number}" for number in range(200)]
        return server.connections

    assert 1 < run_with(repeats, use, connections_max=8) <= 8


def test_waiting_for_a_connection_counts_as_time_of_the_call() -> None:
    """A call that gets no connection in its time fails alone: the one that has it goes on."""

    async def use(server: Server, handler: Handler) -> Mapping[str, Any]:
        go_on = asyncio.Event()

        async def waits(_seen: Seen, writer: asyncio.StreamWriter) -> None:
            await go_on.wait()
            writer.write(reply(b"first"))

        server.script = waits
        first = asyncio.create_task(handler.execute(call_of(PLAIN)))
        await server.arrived.wait()
        with pytest.raises(HandlerError) as caught:
            await handler.execute(call_of(PLAIN, timeout_s=0.05))
        assert caught.value.code == "timeout"
        go_on.set()
        return await first

    assert run_with(OK, use, connections_max=1)["text"] == "first"


def test_one_target_does_not_wait_for_another() -> None:
    """Each target has connections of its own: a stalled server holds up nobody else's nodes."""

    async def scenario() -> str:
        async with Server(silent).listen() as stalled, Server(OK).listen() as well:
            targets = {
                name: HttpTarget(base_url=f"http://127.0.0.1:{server.port}", connections_max=1)
                for name, server in (("stalled", stalled), ("well", well))
            }
            async with HttpHandlerFactory().open(settings=HttpSettings(), targets=targets) as handler:
                stuck = asyncio.create_task(handler.execute(call_of(PLAIN, target="stalled")))
                await stalled.arrived.wait()
                result = await handler.execute(call_of(PLAIN, target="well"))
                stuck.cancel()
                await asyncio.wait({stuck})
                return str(result["status"])

    assert asyncio.run(scenario()) == "200"


@pytest.mark.parametrize("script", [OK, silent, never_ends, says(reply(b"x" * 300_000))])
@pytest.mark.parametrize("calls", [1, 3])
def test_cancelling_at_any_step_leaves_the_handler_usable(script: Script, calls: int) -> None:
    """Wherever calls are cancelled, at work or waiting for the one connection, it is free for the next call."""

    async def use(server: Server, handler: Handler) -> None:
        for steps in range(60):
            server.script = script
            await cancel_after(steps, [handler.execute(call_of(PLAIN)) for _ in range(calls)])
            server.script = OK
            assert (await handler.execute(call_of(PLAIN)))["json"] == {}

    run_with(script, use, connections_max=1, response_bytes_max=256 * 1024 * 1024)


async def cancel_after(steps: int, calls: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Let calls run for some steps of the loop and cancel those that are not done: nothing swallows that."""
    tasks = [asyncio.create_task(call) for call in calls]
    for _ in range(steps):
        await asyncio.sleep(0)
    cancelled = [task for task in tasks if task.cancel()]
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in cancelled)


def test_closing_the_handler_closes_its_connections() -> None:
    """Nothing stays open behind the context."""

    async def scenario() -> None:
        async with Server(OK).listen() as server:
            async with opened(server.port) as handler:
                await handler.execute(call_of(PLAIN))
            await server.ended.wait()

    asyncio.run(scenario())


def test_an_unknown_target_is_an_error_of_the_request() -> None:
    """A name that the host contract does not bind is told."""

    async def use(_server: Server, handler: Handler) -> HandlerError:
        with pytest.raises(HandlerError, match="no http target 'other'") as caught:
            await handler.execute(call_of(PLAIN, target="other"))
        return caught.value

    assert run_with(OK, use).code == "request_invalid"


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return a certificate that nobody trusts by default."""
    return identity_in(tmp_path_factory.mktemp("tls"))


def ask_over_tls(identity: Identity, *, host: str = "127.0.0.1", **target: Any) -> str:
    """Do one call over TLS; gives its status or its error."""

    async def scenario() -> str:
        async with Server(OK).listen(identity.context()) as server:
            written = {"base_url": f"https://{host}:{server.port}"} | target
            async with opened(server.port, **written) as handler:
                return await outcome(handler)

    return asyncio.run(scenario())


def test_trusts_the_authorities_of_the_target(identity: Identity) -> None:
    """A target may name its own authority; then its certificates are good."""
    assert ask_over_tls(identity, tls_ca_file=str(identity.certificate)) == "200"


def test_trusts_nobody_else(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that no public authority signed, or that is another host's, ends the call; so says the contract."""
    monkeypatch.setenv("SSL_CERT_FILE", str(identity.certificate))
    assert ask_over_tls(identity) == "unreachable"
    assert (
        ask_over_tls(identity, host="localhost", allow=["loopback"], tls_ca_file=str(identity.certificate))
        == "unreachable"
    )


def test_a_handshake_that_stalls_leaves_nothing_open() -> None:
    """A call that ends while the server is silent on TLS closes its connection."""

    async def scenario() -> str:
        async with Server(OK).listen() as plain:
            target = {"base_url": f"https://127.0.0.1:{plain.port}", "connections_max": 1}
            async with opened(plain.port, **target) as handler:
                with pytest.raises(HandlerError) as caught:
                    await handler.execute(call_of(PLAIN, timeout_s=0.1))
                await plain.ended.wait()
                return caught.value.code

    assert asyncio.run(scenario()) == "timeout"


def test_cancelling_over_tls_leaves_nothing_open(identity: Identity) -> None:
    """Wherever a call is cancelled, the handshake included, its connection ends or serves the next call."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(Server(OK).listen(identity.context()))
            target = {"base_url": f"https://127.0.0.1:{server.port}", "tls_ca_file": str(identity.certificate)}
            handler = await stack.enter_async_context(opened(server.port, connections_max=1, **target))
            for steps in range(0, 60, 2):
                await cancel_after(steps, [handler.execute(call_of(PLAIN))])
                assert (await handler.execute(call_of(PLAIN)))["status"] == 200

    asyncio.run(scenario())


def test_an_authority_file_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    """Opening the handler names the file and the target."""
    (tmp_path / "empty.pem").write_text("")
    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem"):

        async def scenario(ca_file: str = str(path)) -> None:
            async with opened(0, base_url="https://127.0.0.1", tls_ca_file=ca_file):
                pass

        with pytest.raises(HandlerError, match=path.name) as caught:
            asyncio.run(scenario())
        assert caught.value.code == "tls_ca_file_unusable"
        assert "'api'" in str(caught.value)


# --- Together -----------------------------------------------------------------------------------------------------


def test_calls_the_demo_server() -> None:
    """The handler and the demo's service understand each other, whatever the name."""

    async def scenario() -> list[Mapping[str, Any]]:
        async with demo_server() as base_url, opened(0, base_url=base_url) as handler:
            requests = [
                HttpRequest(path=["greetings", "Jørgen & Co?"], query={"language": "de"}, expect=[200, 404]),
                HttpRequest(path=["greetings", "Ada"], query={"language": "xx"}, expect=[200, 404]),
            ]
            return [await handler.execute(call_of(request)) for request in requests]

    greeted, unknown = asyncio.run(scenario())
    assert (greeted["status"], greeted["json"]) == (200, {"greeting": "Hallo, Jørgen & Co?", "language": "de"})
    assert (unknown["status"], unknown["json"]["error"]) == (404, "unknown_language")


def test_importing_the_handler_does_not_import_its_client() -> None:
    """Commands that call nobody do not wait for the client's import."""
    code = "import sys, omnibase_infra.handlers.http; sys.exit('httpcore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
