"""Bodies of every kind, conditional requests, redirects and pages of the `http` handler, on a real connection."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from omnibase_infra.handlers.http import HttpRequest
from omnibase_infra.handlers.http.bodies import content_of
from omnibase_spi import Handler, HandlerError
from tests.support.scripted_http import OK, PLAIN, Script, Seen, Server, ask, call_of, refusal, reply, run_with, says

JSON = "content-type: application/json"

# --- Bodies -------------------------------------------------------------------------------------------------------


def test_sends_a_form() -> None:
    """Names and values arrive as they were, in the encoding of browsers."""
    _, seen = ask(OK, method="POST", form={"name": "Ada & Co=?", "n": [1, 2], "empty": "", "left_out": None})
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qsl(seen.body.decode(), keep_blank_values=True) == [
        ("name", "Ada & Co=?"),
        ("n", "1"),
        ("n", "2"),
        ("empty", ""),
    ]


@pytest.mark.parametrize("text", ["", "plain", "z\u00fcrich \U0001f600\r\n\x00"])
def test_sends_text(text: str) -> None:
    """As UTF-8, and its type says so; a request may name another type."""
    _, seen = ask(OK, method="PUT", text=text)
    assert (seen.body.decode(), seen.headers["content-type"]) == (text, "text/plain; charset=utf-8")
    assert (
        ask(OK, method="PUT", text=text, headers={"content-type": "text/csv"})[1].headers["content-type"] == "text/csv"
    )


@pytest.mark.parametrize("sent", [b"", b"\x00\xff\r\n--", bytes(range(256)) * 4000])
def test_bytes_come_and_go_as_base64(sent: bytes) -> None:
    """A megabyte too: what is sent arrives byte by byte, and so does what comes back."""

    async def echoes(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(seen.body, JSON))

    result, seen = ask(
        echoes, {"response_bytes_max": 2_000_000}, method="POST", bytes=b64encode(sent).decode(), read="bytes"
    )
    assert (seen.body, seen.headers["content-type"]) == (sent, "application/octet-stream")
    assert b64decode(result["bytes"]) == sent
    assert (result["json"], result["text"]) == (None, None)


def test_sends_parts() -> None:
    """Fields and files arrive in their order, each with its name, type and content."""
    parts = [
        {"name": "title", "text": "z\u00fcrich"},
        {"name": "file", "filename": "a.bin", "bytes": b64encode(b"\x00\r\n--\xff").decode()},
        {"name": "file", "filename": "b.csv", "content_type": "text/csv", "text": "a,b"},
    ]
    _, seen = ask(OK, method="POST", multipart=parts)
    assert parts_of(seen.headers, seen.body) == [
        ("title", None, None, "z\u00fcrich".encode()),
        ("file", "a.bin", "application/octet-stream", b"\x00\r\n--\xff"),
        ("file", "b.csv", "text/csv", b"a,b"),
    ]


def parts_of(headers: Mapping[str, str], body: bytes) -> list[tuple[Any, Any, Any, bytes]]:
    """Read a multipart body with the standard library: name, file name, type and content of each part."""
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    opening, *parts, closing = body.split(b"--" + boundary)
    assert (opening, closing) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        read = BytesParser(policy=HTTP).parsebytes(head + b"\r\n\r\n")
        name = read.get_param("name", header="content-disposition")
        found.append((name, read.get_filename(), read["content-type"], content.removesuffix(b"\r\n")))
    return found


@settings(max_examples=200)
@given(
    names=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=4),
    contents=st.lists(st.binary() | st.sampled_from([b"--", b"\r\n--", b"--\r\n"]), min_size=4, max_size=4),
)
def test_no_part_reaches_beyond_itself(names: list[str], contents: list[bytes]) -> None:
    """Whatever names and contents hold, there are as many parts as were written, and each has its own content."""
    parts = [
        {"name": name, "filename": name, "bytes": b64encode(content).decode()}
        for name, content in zip(names, contents, strict=False)
    ]
    request = HttpRequest.model_validate({"path": "/", "method": "POST", "multipart": parts})
    try:
        headers, body = content_of(request)
    except ValueError:
        assert any(ord(character) < ord(" ") for name in names for character in name)
        return
    boundary = b"--" + headers["content-type"].partition("boundary=")[2].encode()
    found = (body or b"").split(boundary)[1:-1]
    assert [it.partition(b"\r\n\r\n")[2] for it in found] == [it + b"\r\n" for it in contents[: len(names)]]
    assert all(it.partition(b"\r\n\r\n")[0].count(b"\r\n") == 2 for it in found)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"text": "a", "json": {}}, "one body"),
        ({"form": {}, "multipart": [{"name": "a", "text": ""}]}, "one body"),
        ({"bytes": "not base64!"}, "bytes"),
        ({"multipart": []}, "multipart"),
        ({"multipart": [{"name": "a"}]}, "one content"),
        ({"multipart": [{"name": "a", "text": "", "bytes": ""}]}, "one content"),
        ({"multipart": [{"name": "a", "text": "", "content_type": "a\r\nb: c"}]}, "content_type"),
        ({"multipart": [{"name": "a", "text": ""}], "headers": {"content-type": "x"}}, "leave it out"),
    ],
)
def test_refuses_what_is_no_body(request_: Mapping[str, Any], said: str) -> None:
    """Before anything is sent, and by its name."""
    with pytest.raises(ValidationError, match=said):
        HttpRequest.model_validate({"path": "/", "method": "POST", **request_})


def test_a_long_body_is_read_to_the_limit_of_the_target() -> None:
    """Piece by piece as it comes; one byte more is an error, however it is read."""

    def streams(pieces: int) -> Script:
        async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(pieces):
                writer.write(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")

        return script

    target = {"response_bytes_max": 1_000_000}
    assert len(b64decode(ask(streams(1000), target, read="bytes")[0]["bytes"])) == 1_000_000
    assert refusal(streams(1001), target, read="bytes").code == "response_too_large"


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x"])
def test_a_packing_that_was_not_asked_for_is_refused(encoding: str) -> None:
    """What the handler does not unpack, it does not take for text; bombs of other kinds unfold nowhere."""
    error = refusal(says(reply(b"\x00" * 100, f"content-encoding: {encoding}")))
    assert (error.code, error.retryable) == ("invalid_response", False)
    assert encoding.partition(",")[0] in str(error)


# --- What may be repeated -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "has_key"), [("POST", True), ("PATCH", True), ("PUT", False), ("GET", False)])
def test_a_server_can_tell_a_repeat_by_the_commands_id(method: str, has_key: bool) -> None:  # noqa: FBT001 - a case
    """Where the target has a header for it; each attempt at one command has the same."""
    _, seen = ask(OK, {"idempotency_header": "Idempotency-Key"}, method=method)
    assert seen.headers.get("idempotency-key") == ("00000000-0000-0000-0000-000000000001" if has_key else None)


@pytest.mark.parametrize(("target", "retryable"), [({}, False), ({"idempotency_header": "idempotency-key"}, True)])
def test_a_post_that_may_be_repeated_is_retryable(target: Mapping[str, Any], retryable: bool) -> None:  # noqa: FBT001 - a case
    """With such a header, a POST whose answer never came, or was a 500, is asked again."""

    async def vanishes(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.close()

    assert refusal(vanishes, target, method="POST").retryable is retryable
    assert refusal(says(reply(b"", status="500 Oh")), target, method="POST").retryable is retryable


def test_no_command_can_choose_its_own_key() -> None:
    """A request that writes the header is refused."""
    error = refusal(OK, {"idempotency_header": "Idempotency-Key"}, method="POST", headers={"IDEMPOTENCY-KEY": "mine"})
    assert (error.code, error.retryable) == ("request_invalid", False)


# --- Conditional requests -----------------------------------------------------------------------------------------


async def tagged(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Serve a document of one version."""
    if seen.headers.get("if-none-match") == '"v1"':
        writer.write(b'HTTP/1.1 304 Not Modified\r\netag: "v1"\r\n\r\n')
    elif seen.method == "PUT" and seen.headers.get("if-match") != '"v1"':
        writer.write(reply(b"", status="412 Precondition Failed"))
    else:
        writer.write(reply(b'{"a": 1}', JSON, 'etag: "v1"'))


def test_what_is_known_already_is_not_sent_again() -> None:
    """A contract hands on the tag that a command has, and sees 304 where the server has nothing new."""
    first, seen = ask(tagged, headers={"if-none-match": None})
    assert "if-none-match" not in seen.headers
    assert (first["status"], first["json"], first["headers"]["etag"]) == (200, {"a": 1}, '"v1"')
    again, _ = ask(tagged, headers={"if-none-match": first["headers"]["etag"]})
    assert (again["status"], again["json"], again["text"]) == (304, None, "")


def test_what_has_changed_meanwhile_is_not_overwritten() -> None:
    """412 is a result by which a contract can answer; with `expect` it is an error, and not retryable."""
    assert ask(tagged, method="PUT", json={}, headers={"if-match": '"v1"'})[0]["status"] == 200
    assert ask(tagged, method="PUT", json={}, headers={"if-match": '"v0"'})[0]["status"] == 412
    error = refusal(tagged, method="PUT", json={}, headers={"if-match": '"v0"'}, expect=[200])
    assert (error.code, error.retryable, error.details["status"]) == ("http_status", False, 412)


# --- Redirects ----------------------------------------------------------------------------------------------------


def leads(status: str, there: str = "/there") -> Script:
    """Lead from anywhere to one place, and tell there what came."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.target != there:
            writer.write(reply(b"", f"location: {there}", status=status))
        else:
            writer.write(reply(f"{seen.method} {seen.body.decode()}".encode(), "content-type: text/plain"))

    return script


@pytest.mark.parametrize(
    ("status", "method", "arrives"),
    [
        ("301 X", "GET", "GET "),
        ("301 X", "POST", "GET "),
        ("302 X", "POST", "GET "),
        ("302 X", "PUT", "PUT body"),
        ("303 X", "POST", "GET "),
        ("303 X", "PUT", "GET "),
        ("307 X", "POST", "POST body"),
        ("308 X", "PATCH", "PATCH body"),
    ],
)
def test_a_redirect_says_by_its_status_what_is_asked_there(status: str, method: str, arrives: str) -> None:
    """RFC 9110, 15.4: the method and the body stay, or become a plain GET."""
    body = {} if method == "GET" else {"text": "body"}
    result, seen = ask(leads(status), method=method, redirects=1, headers={"x-mine": "1"}, **body)
    assert (result["status"], result["text"]) == (200, arrives)
    assert seen.headers["x-mine"] == "1"
    assert ("content-type" in seen.headers) is ("body" in arrives)


def test_no_more_redirects_are_followed_than_the_request_says() -> None:
    """A circle ends as an error; without `redirects`, a redirect is a result."""
    circle = says(reply(b"", "location: /again", status="302 X"))
    error = refusal(circle, redirects=10)
    assert (error.code, error.retryable) == ("redirect_refused", False)
    assert ask(circle)[0]["headers"]["location"] == "/again"


# --- Pages --------------------------------------------------------------------------------------------------------


async def linked(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Serve three pages that name the next one in a header."""
    page = int(parse_qs(seen.target.partition("?")[2]).get("page", ["1"])[0])
    link = [f'link: </items?page={page - 1}>; rel="prev", </items?page={page + 1}>; rel="next"'] if page < 3 else []
    writer.write(reply(b"[%d]" % page, JSON, *link))


async def cursors(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Serve three pages that name the next one in their body."""
    after = int(parse_qs(seen.target.partition("?")[2]).get("after", ["0"])[0])
    following = b"%d" % (after + 1) if after < 2 else b"null"
    writer.write(reply(b'{"items": [%d], "meta": {"next": %s}}' % (after, following), JSON))


BY_CURSOR = {"next": {"json": ["meta", "next"], "query": "after"}}


def test_reads_pages_by_their_links() -> None:
    """RFC 8288: until a page names no next one; `more` says whether there were further ones."""
    result, seen = ask(linked, path="/items", pages={})
    assert (result["status"], result["pages"], result["more"], result["json"]) == (200, [[1], [2], [3]], False, None)
    assert seen.target == "/items?page=3"
    result, _ = ask(linked, path="/items", pages={"max": 2})
    assert (result["pages"], result["more"]) == ([[1], [2]], True)


def test_reads_pages_by_a_cursor() -> None:
    """The value in one page is a parameter of the request for the next; the others stay."""
    result, seen = ask(cursors, path="/items", query={"size": 1}, pages=BY_CURSOR)
    assert [page["items"] for page in result["pages"]] == [[0], [1], [2]]
    assert seen.target == "/items?size=1&after=2"


@pytest.mark.parametrize(
    ("script", "pages", "code"),
    [
        (says(reply(b"[]", JSON, "link: <http://evil.example/>; rel=next")), {}, "page_refused"),
        (says(reply(b"[]", JSON, "link: <http://169.254.169.254/>; rel=next")), {}, "page_refused"),
        (says(reply(b"[]", JSON, "link: <//evil.example/>; rel=next")), {}, "page_refused"),
        (says(reply(b"<p>", "content-type: text/html")), {}, "invalid_response"),
        (says(reply(b'{"meta": {"next": {"a": 1}}}', JSON)), BY_CURSOR, "invalid_response"),
        (says(reply(b"[" + b" " * 600 + b"]", JSON, "link: </>; rel=next")), {}, "response_too_large"),
        (says(reply(b"", status="503 X")), {}, "http_status"),
    ],
    ids=["other host", "metadata", "no scheme", "no json", "no cursor", "too much in all", "fails"],
)
def test_pages_stay_within_the_target_and_its_limits(script: Script, pages: Any, code: str) -> None:
    """Each is checked like a first request, and all of them together are no larger than one reply may be."""
    assert refusal(script, {"response_bytes_max": 1000}, pages=pages).code == code


def test_pages_without_an_end_are_read_to_their_number() -> None:
    """A server that always names another page costs as many requests as the contract says, in the time of one call."""

    async def use(server: Server, handler: Handler) -> Any:
        request = HttpRequest.model_validate({"path": "/", "pages": {"max": 25}})
        result = await handler.execute(call_of(request))
        assert len(server.seen) == len(result["pages"]) == 25
        assert server.connections == 1
        slow = HttpRequest.model_validate({"path": "/", "pages": {"max": 1000}})
        with pytest.raises(HandlerError) as caught:
            await handler.execute(call_of(slow, timeout_s=0.01))
        assert (caught.value.code, caught.value.retryable) == ("timeout", True)
        return (await handler.execute(call_of(PLAIN)))["status"]

    assert run_with(says(reply(b"[]", JSON, "link: </>; rel=next")), use) == 200
