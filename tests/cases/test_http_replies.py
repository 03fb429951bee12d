"""Replies of HTTP servers: without a body, refused, of other charsets and types, packed, and oddly framed."""

import gzip
import json
import zlib
from typing import Any

import pytest

from tests.support.casework import Failure, Number, as_written, serve
from tests.support.scripted_http import Script, Seen, reply, says, says_and_ends

ANSWER = '{status: "${ result.status }", json: "${ result.json }", text: "${ result.text }"}'
ASKS = f"""
handler: http
target: web
operations:
  go:
    input: {{type: object, properties: {{method: {{type: string}}}}}}
    request: {{path: [it]}}
    answer: {ANSWER}
delivery: {{timeout_s: 4, retry: {{attempts: 1}}}}
"""
LONG = {"a": "x" * 50}


def asked(script: Script, node: str = ASKS) -> Any:
    """Return what a node answers that asks a server once."""
    [answer] = serve(node, "{}", script=script)
    return answer


def result(status: int, *, json_: Any = None, text: str | None = None) -> Any:
    """Return the answer to a reply."""
    return {"status": Number(str(status)), "json": json_, "text": text}


# --- Without a body -----------------------------------------------------------------------------------------------

EMPTY = {
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "204 of a length": (b"HTTP/1.1 204 No Content\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n", 204),
    "204 in chunks": (b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 204),
    "205": (reply(status="205 Reset Content"), 205),
    "200 that is JSON": (reply(b"", "content-type: application/json"), 200),
    "202 that is packed": (reply(b"", "content-encoding: gzip", status="202 Accepted"), 202),
    "304 that is packed": (b'HTTP/1.1 304 Not Modified\r\ncontent-encoding: gzip\r\netag: "a"\r\n\r\n', 304),
}


@pytest.mark.parametrize(("data", "status"), EMPTY.values(), ids=list(EMPTY))
def test_a_reply_without_a_body_is_a_result(data: bytes, status: int) -> None:
    """Whatever it says of its type and length: `json` is null, `text` is empty, and nothing is retried.

    Source: redpanda-data/connect#330, redpanda-data/connect#308, OneDrive/onedrive-api-docs#80
    """
    assert asked(says(data)) == result(status, text="")


FORGED = reply(b'{"forged": true}', "content-type: application/json")
SURPLUS = {
    "a 204 with a body": b"HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n{'a':1}",
    "a reply behind a 204": b"HTTP/1.1 204 No Content\r\n\r\n" + FORGED,
    "a reply behind a body": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + FORGED,
}


@pytest.mark.parametrize("data", SURPLUS.values(), ids=list(SURPLUS))
def test_bytes_behind_a_reply_are_no_reply_to_the_next_request(data: bytes) -> None:
    """The next command is answered by what the server said to it.

    Source: nodejs/node#24580, vinipsmaker/tufao#41
    """
    asks = [data]

    async def script(_seen: Seen, writer: Any) -> None:
        writer.write(asks.pop() if asks else reply(b'{"real": true}', "content-type: application/json"))

    first, second, third = serve(ASKS, "{}", "{}", "{}", script=script)
    assert first["json"] is None
    assert second == third == result(200, json_={"real": True})


def test_a_head_request_takes_no_body_for_its_reply() -> None:
    """The length in the reply to HEAD is that of what GET would give; what follows is not taken for another reply.

    Source: nodejs/node#24580, OneDrive/onedrive-api-docs#80
    """
    node = ASKS.replace("{path: [it]}", "{method: HEAD, path: [it]}")
    packed = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 80\r\n\r\n"
    assert asked(says(packed), node) == result(200, text="")
    first, second = serve(node, "{}", "{}", script=says(packed + FORGED))
    assert first == second == result(200, text="")


# --- Refused ------------------------------------------------------------------------------------------------------

REASON = {"title": "out of stock", "detail": "sku 7 is gone"}
BAD = reply(json.dumps(REASON).encode(), "content-type: application/problem+json", status="400 Bad Request")


def test_what_a_400_says_can_be_answered() -> None:
    """It is a result, of which a contract makes an error of its own; where it is not expected, details hold its reason.

    Source: dapr/dapr#6203, dapr/dapr#4568
    """
    assert asked(says(BAD)) == result(400, json_=REASON)
    assert asked(says(reply(b"busy", status="409 Conflict"))) == result(409, text="busy")
    own = ASKS.replace("    answer:", "    errors: [{when: '${ result.status == 400 }', code: sold_out}]\n    answer:")
    assert asked(says(BAD), own) == Failure("sold_out", "")
    unexpected = asked(says(BAD), ASKS.replace("path: [it]", "path: [it], expect: [200]"))
    assert unexpected == Failure("http_status", "")
    assert "status 400, expected 200" in unexpected.message
    assert unexpected.details == {"status": Number("400"), "body": json.dumps(REASON)}


@pytest.mark.parametrize("status", ["500 Internal Server Error", "502 Bad Gateway"])
def test_a_500_with_a_page_that_is_no_json_stays_a_500(status: str) -> None:
    """A proxy's page under the type of JSON is no other error.

    Source: dapr/dapr#6203
    """
    answer = asked(says(reply(b"<html>oops</html>", "content-type: application/json", status=status)))
    assert answer == Failure("http_status", "")
    assert f"status {status[:3]}" in answer.message
    assert answer.details["body"] == "<html>oops</html>"


def test_a_403_with_a_page_that_is_no_json_stays_a_403() -> None:
    """It is a result whose text is the page.

    Source: dapr/dapr#6203, dapr/dapr#4568
    """
    denied = reply(b"<html>denied</html>", "content-type: application/json", status="403 Forbidden")
    assert asked(says(denied)) == result(403, text="<html>denied</html>")


# --- Charsets -----------------------------------------------------------------------------------------------------

WORDS = "Größe, 中文, Müller"
CHARSETS = {
    "HTML without a charset": ("text/html", WORDS.encode(), WORDS),
    "no type": ("", WORDS.encode(), WORDS),
    "an unknown charset": ("text/plain; charset=x-klingon", WORDS.encode(), WORDS),
    "a charset in quotes": ('text/plain; charset="utf-8"; format=flowed', WORDS.encode(), WORDS),
    "ISO-8859-1": ("text/plain; charset=ISO-8859-1", "Müller".encode("latin-1"), "Müller"),
    "windows-1252": ("text/plain;charset=windows-1252", "„Müller“ €".encode("cp1252"), "„Müller“ €"),
    "Shift_JIS": ("text/plain; charset=Shift_JIS", "日本".encode("shift_jis"), "日本"),
    "a byte order mark": ("text/csv", b"\xef\xbb\xbfid,name", "id,name"),
    "a byte order mark of UTF-16": ("text/csv; charset=utf-16", "id,name".encode("utf-16"), "id,name"),
}


@pytest.mark.parametrize(("type_", "body", "text"), CHARSETS.values(), ids=list(CHARSETS))
def test_text_is_in_the_declared_charset_or_in_utf_8(type_: str, body: bytes, text: str) -> None:
    """Not in ISO-8859-1, as old servers mean; and a byte order mark is no part of it.

    Source: psf/requests#2719, psf/requests#5597, httpie/cli#358, encode/httpx#1018
    """
    headers = [f"content-type: {type_}"] if type_ else []
    assert asked(says(reply(body, *headers))) == result(200, text=text)


def test_json_is_utf_8_whatever_its_type_says() -> None:
    """RFC 8259 allows nothing else between systems; a byte order mark is passed over.

    Source: psf/requests#5629, psf/requests#2719
    """
    marked = reply(b'\xef\xbb\xbf{"n": "M\xc3\xbcller"}', "content-type: application/json; charset=iso-8859-1")
    assert asked(says(marked)) == result(200, json_={"n": "Müller"})
    for charset in ("latin-1", "utf-16"):
        body = '{"n": "Müller"}'.encode(charset)
        answer = asked(says(reply(body, f"content-type: application/json; charset={charset}")))
        assert answer == Failure("invalid_response", "")
        assert "is not the JSON it says it is" in answer.message


# --- Types --------------------------------------------------------------------------------------------------------

JSON_TYPES = ["application/problem+json", "application/vnd.api+json; charset=utf-8", "text/json"]


@pytest.mark.parametrize("type_", [*JSON_TYPES, "Application/JSON;Charset=UTF-8"])
def test_every_type_of_json_is_json(type_: str) -> None:
    """Also `+json`, `text/json` and any letter case.

    Source: StarpTech/apollo-datasource-http#53, ferdikoomen/openapi-typescript-codegen#1208
    """
    assert asked(says(reply(json.dumps(LONG).encode(), f"content-type: {type_}"))) == result(200, json_=LONG)


TEXTS = {
    "text/plain": b'{"a":1}',
    "application/x-ndjson": b'{"a":1}\n{"a":2}\n',
    "application/json-seq": b'\x1e{"a":1}\n',
    "text/event-stream": b': hi\n\ndata: {"a":1}\n\nevent: done\ndata: [DONE]\n\n',
    "application/soap+xml": b"<a/>",
}


@pytest.mark.parametrize(("type_", "body"), TEXTS.items(), ids=list(TEXTS))
def test_what_is_no_json_by_its_type_comes_as_text(type_: str, body: bytes) -> None:
    """Nobody guesses from the first brace.

    Source: mpetazzoni/sseclient#11, StarpTech/apollo-datasource-http#53
    """
    assert asked(says(reply(body, f"content-type: {type_}"))) == result(200, text=body.decode())


@pytest.mark.parametrize("body", ['"just text"', "null", "[1,2]", '{"a":9223372036854775808}', '{"a":"x\\u0000y"}'])
def test_any_value_of_json_is_a_result(body: str) -> None:
    """A text, a list, null, an integer of more than 64 bits, and a text with U+0000.

    Source: open-metadata/OpenMetadata#30955, ferdikoomen/openapi-typescript-codegen#1208
    """
    answer = asked(says(reply(body.encode(), "content-type: application/json")))
    assert answer == result(200, json_=as_written(body))


@pytest.mark.parametrize("body", ['{"a": NaN}', '{"a": 1e999}', '{"a":1}{"a":2}', '{"a":1} // x', '{"a": "\\ud83d"}'])
def test_what_only_looks_like_json_is_an_error(body: str) -> None:
    """NaN, a number beyond a double, two documents, a comment and half a pair of surrogates.

    Source: open-metadata/OpenMetadata#30955
    """
    answer = asked(says(reply(body.encode(), "content-type: application/json")))
    assert answer == Failure("invalid_response", "")
    assert "is not the JSON it says it is" in answer.message


@pytest.mark.xfail(strict=True, reason="issue 16: the new engine reads a text beside one with U+0000")
def test_a_zero_in_one_field_does_not_keep_an_expression_from_another() -> None:
    """What is not read does not matter.

    Source: open-metadata/OpenMetadata#30955
    """
    node = ASKS.replace(ANSWER, "{b: \"${ result.json.b + '!' }\"}")
    assert asked(says(reply(b'{"a":"x\\u0000y","b":"z"}', "content-type: application/json")), node) == {"b": "z!"}


@pytest.mark.xfail(strict=True, reason="issue 16: numbers of a reply keep their digits")
def test_a_number_of_a_reply_keeps_its_digits_or_is_refused() -> None:
    """It is never rounded without a word.

    Source: open-metadata/OpenMetadata#30955
    """
    answer = asked(says(reply(b"12345678901234567890.123456789", "content-type: application/json")))
    assert answer in (result(200, json_=Number("12345678901234567890.123456789")), Failure("invalid_response", ""))


# --- Packed -------------------------------------------------------------------------------------------------------

PLAIN = json.dumps(LONG).encode()
PACKED = gzip.compress(PLAIN)
UNPACKED = {
    "gzip": reply(PACKED, "content-encoding: gzip"),
    "in capitals": reply(PACKED, "content-encoding: GZIP"),
    "by its old name": reply(PACKED, "content-encoding: x-gzip"),
    "of two members": reply(gzip.compress(PLAIN[:20]) + gzip.compress(PLAIN[20:]), "content-encoding: gzip"),
    "in chunks": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%s\r\n" % (len(it), it) for it in (PACKED[:5], PACKED[5:]))
    + b"0\r\n\r\n",
    "not at all": reply(PLAIN, "content-encoding: identity"),
}


@pytest.mark.parametrize("data", UNPACKED.values(), ids=list(UNPACKED))
def test_gzip_is_unpacked_however_it_is_spelt(data: bytes) -> None:
    """In any letter case, under its old name, in several members and in chunks.

    Source: ducaale/xh#253, lostisland/faraday_middleware#192
    """
    assert asked(says(data)) == result(200, text=PLAIN.decode())


BROKEN = {
    "cut off": ("gzip", PACKED[:-5], "broken gzip: the stream ends early"),
    "no gzip": ("gzip", PLAIN, "broken gzip"),
    "packed twice": ("gzip, gzip", gzip.compress(PACKED), "'gzip, gzip', asked for gzip"),
    "deflate": ("deflate", zlib.compress(PLAIN), "'deflate', asked for gzip"),
    "Brotli": ("br", PLAIN, "'br', asked for gzip"),
}


@pytest.mark.parametrize(("encoding", "body", "words"), BROKEN.values(), ids=list(BROKEN))
def test_what_cannot_be_unpacked_is_an_error_that_says_why(encoding: str, body: bytes, words: str) -> None:
    """Cut off, no gzip, or another encoding than the request asked for; never half a body.

    Source: OneDrive/onedrive-api-docs#80, ducaale/xh#253
    """
    answer = asked(says(reply(body, f"content-encoding: {encoding}")))
    assert answer == Failure("invalid_response", "")
    assert words in answer.message


# --- Framing ------------------------------------------------------------------------------------------------------

OK = "HTTP/1.1 200 OK\r\n"
READ = {
    "chunk extensions and a trailer": says(
        f"{OK}transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2;ext=1\r\nok\r\n0\r\nx-sum: 9\r\n\r\n".encode()
    ),
    "up to the end of the connection": says_and_ends(f"{OK}\r\nok".encode()),
    "HTTP/1.0": says_and_ends(b"HTTP/1.0 200 OK\r\n\r\nok"),
    "no reason": says(b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
    "line feeds alone": says(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
    "a folded header": says(f"{OK}x-a: b\r\n c\r\ncontent-length: 2\r\n\r\nok".encode()),
    "one length twice": says(f"{OK}content-length: 2\r\ncontent-length: 2\r\n\r\nok".encode()),
    "an offer to upgrade": says(f"{OK}upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok".encode()),
}


@pytest.mark.parametrize("script", READ.values(), ids=list(READ))
def test_a_reply_that_leaves_no_doubt_of_its_end_is_read(script: Script) -> None:
    """Chunk extensions, trailers, HTTP/1.0, a missing reason and equal lengths are allowed.

    Source: vinipsmaker/tufao#41, and the reports on framing of httpx and aiohttp
    """
    assert asked(script) == result(200, text="ok")


CUT = {
    "too short": f"{OK}content-length: 20\r\n\r\nok".encode(),
    "a chunk of no length": f"{OK}transfer-encoding: chunked\r\n\r\nzz\r\nok\r\n".encode(),
    "two lengths": f"{OK}content-length: 2\r\ncontent-length: 3\r\n\r\nok".encode(),
    "a space before a colon": f"{OK}x-a : b\r\ncontent-length: 2\r\n\r\nok".encode(),
}


@pytest.mark.parametrize("data", CUT.values(), ids=list(CUT))
def test_a_reply_whose_end_is_in_doubt_is_an_error(data: bytes) -> None:
    """A body that is shorter than it says is never given for the whole.

    Source: vinipsmaker/tufao#41, and the reports on framing of httpx and aiohttp
    """
    answer = asked(says_and_ends(data))
    assert answer == Failure("protocol_error", "")
    assert "broken reply" in answer.message


def test_a_status_of_no_standard_is_a_result() -> None:
    """Some sites refuse with 999.

    Source: reports on httpx and aiohttp
    """
    assert asked(says(reply(b"no", status="999 Denied"))) == result(999, text="no")
