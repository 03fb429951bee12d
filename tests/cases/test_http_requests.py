"""Requests over HTTP: paths, queries, forms, headers and redirects."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.support.casework import Failure, Number, serve
from tests.support.scripted_http import Seen, reply


async def mirror(seen: Seen, writer: Any) -> None:
    """Answer with what was asked."""
    said = {"method": seen.method, "target": seen.target, "headers": dict(seen.headers), "body": seen.body.decode()}
    writer.write(reply(json.dumps(said).encode(), "content-type: application/json"))


def asks(schema: str, request: str, answer: str) -> str:
    """Write a node that sends one request."""
    return f"""
handler: http
target: web
operations:
  go:
    input: {schema}
    request: {request}
    answer: {answer}
delivery: {{timeout_s: 4, retry: {{attempts: 1}}}}
"""


# --- Paths and queries --------------------------------------------------------------------------------------------

FILE = asks(
    "{type: object, required: [name, id], properties: {name: {type: string}, id: {type: integer}}}",
    '{path: [files, "${ payload.name }", "${ payload.id }"]}',
    '{target: "${ result.json.target }"}',
)
SEGMENTS = {
    "a:b": "a%3Ab",
    "a%2Fb": "a%252Fb",
    "a b+c": "a%20b%2Bc",
    "Ü 東?#": "%C3%9C%20%E6%9D%B1%3F%23",
    "...": "...",
}


@pytest.mark.parametrize(("name", "segment"), SEGMENTS.items(), ids=list(SEGMENTS))
def test_a_value_in_a_path_is_one_escaped_segment(name: str, segment: str) -> None:
    """It is escaped once, whatever it holds; what looks escaped already is escaped as text.

    Source: encode/httpx#1405, encode/httpx#1498
    """
    payload = json.dumps({"name": name, "id": 7})
    assert serve(FILE, payload, script=mirror) == [{"target": f"/files/{segment}/7"}]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "a\\b", "\x00"])
def test_a_value_that_would_leave_its_place_is_refused(name: str) -> None:
    """Servers read an escaped slash, and dots, as another path. Nothing is sent.

    Source: encode/httpx#1405, encode/httpx#3614
    """
    sent: list[Seen] = []

    async def script(seen: Seen, writer: Any) -> None:
        sent.append(seen)
        await mirror(seen, writer)

    [answer] = serve(FILE, json.dumps({"name": name, "id": 7}), script=script)
    assert answer == Failure("request_invalid", "")
    assert "which would name another path, however it is escaped" in answer.message
    assert sent == []


@pytest.mark.parametrize(("id_", "segment"), [("3.0", "3"), ("1.2e3", "1200"), ("12345678901234567890123",) * 2])
def test_an_integer_in_a_path_has_no_point(id_: str, segment: str) -> None:
    """However its sender wrote it.

    Source: encode/httpx#366, thomasht86/httpr#87
    """
    answers = serve(FILE, f'{{"name": "x", "id": {id_}}}', script=mirror)
    assert answers == [{"target": f"/files/x/{segment}"}]


def test_a_path_that_the_contract_writes_is_kept() -> None:
    """A colon in it, as Google's APIs have, is not escaped.

    Source: encode/httpx#1405
    """
    node = asks("{type: object}", "{path: '/v1/users:batchGet'}", '{target: "${ result.json.target }"}')
    assert serve(node, "{}", script=mirror) == [{"target": "/v1/users:batchGet"}]


SEARCH = asks(
    """
      type: object
      properties:
        tags: {type: array, items: {type: string}}
        deep: {type: boolean}
        id: {type: integer}
        rate: {type: number}
        words: {type: string}
        note: {type: [string, "null"]}
      required: [tags, deep, id, rate, words, note]""",
    """
      path: [search]
      query:
        tag: "${ payload.tags }"
        deep: "${ payload.deep }"
        id: "${ payload.id }"
        rate: "${ payload.rate }"
        q: "${ payload.words }"
        "filter[kind]": x
        empty: ""
        note: "${ payload.note }\"""",
    '{target: "${ result.json.target }"}',
)


def test_each_value_in_a_query_has_one_form() -> None:
    """Lists repeat the name, truth is in lower case, null is left out, an integer has no point.

    Source: encode/httpx#1405, encode/httpx#366, thomasht86/httpr#87
    """
    first = {"tags": ["x", "y z"], "deep": True, "id": 3.0, "rate": 2.0, "words": "a&b=c d+é", "note": None}
    second = {"tags": [], "deep": False, "id": 3, "rate": 1e21, "words": "", "note": "x"}
    answers = serve(SEARCH, json.dumps(first), json.dumps(second), script=mirror)
    queries = [it["target"].removeprefix("/search?") for it in answers]
    assert queries == [
        "tag=x&tag=y%20z&deep=true&id=3&rate=2.0&q=a%26b%3Dc%20d%2B%C3%A9&filter%5Bkind%5D=x&empty=",
        "deep=false&id=3&rate=1e%2B21&q=&filter%5Bkind%5D=x&empty=&note=x",
    ]


# --- Bodies and headers -------------------------------------------------------------------------------------------

NAMED = "{type: object, required: [name], properties: {name: {type: string}}}"
NAMES = ["Ünï 東 & co", "a\r\nx-evil: 1", 'q"uote.csv', "  pad "]


@pytest.mark.parametrize("name", NAMES)
def test_a_form_carries_any_text(name: str) -> None:
    """Signs of other scripts, line ends, quotes and blanks at its ends.

    Source: dapr/components-contrib#1586, encode/httpx#1539
    """
    form = '{method: POST, path: [form], form: {name: "${ payload.name }", tags: [a, "b&c"], yes: true}}'
    form = form.replace("yes:", '"yes":')
    [answer] = serve(asks(NAMED, form, '{body: "${ result.json.body }"}'), json.dumps({"name": name}), script=mirror)
    assert parse_qsl(answer["body"]) == [("name", name), ("tags", "a"), ("tags", "b&c"), ("yes", "true")]


PART = """
      method: POST
      path: [upload]
      multipart: [{name: file, filename: "${ payload.name }", content_type: text/csv, text: "id,name"}]"""
ESCAPED = {"a\r\nx-evil: 1": "a%0D%0Ax-evil: 1", 'q"uote.csv': "q%22uote.csv"}


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_file_arrives_in_utf_8(name: str) -> None:
    """As RFC 7578 says and browsers do it; a quote and a line end are escaped, so that no header can be forged.

    Source: dapr/components-contrib#1586, encode/httpx#1539
    """
    node = asks(NAMED, PART, '{body: "${ result.json.body }"}')
    [answer] = serve(node, json.dumps({"name": name}), script=mirror)
    head = f'content-disposition: form-data; name="file"; filename="{ESCAPED.get(name, name)}"\r\n'
    assert f"{head}content-type: text/csv\r\n\r\nid,name\r\n" in answer["body"]


HEADER = asks(
    NAMED, '{path: [h], headers: {x-name: "${ payload.name }"}}', "{name: \"${ result.json.headers['x-name'] }\"}"
)


def test_a_text_without_a_form_in_a_header_is_refused_before_anything_is_sent() -> None:
    """Other scripts, line ends, and blanks at the ends; a quote has a form.

    Source: dapr/dapr#2080, encode/httpx#1539
    """
    answers = serve(HEADER, *[json.dumps({"name": name}) for name in NAMES], script=mirror)
    assert answers[2] == {"name": 'q"uote.csv'}
    for answer in (answers[0], answers[1], answers[3]):
        assert answer == Failure("request_invalid", "")
        assert "the value of header 'x-name' " in answer.message


def test_the_type_of_a_body_can_be_another_than_its_own() -> None:
    """What the contract writes as content-type counts, for JSON and for text.

    Source: dapr/dapr#2080
    """
    typed = "{method: POST, path: [c], headers: {content-type: application/cloudevents+json}, json: {a: 1}}"
    answer = '{type: "${ result.json.headers[\'content-type\'] }", body: "${ result.json.body }"}'
    [event] = serve(asks("{type: object}", typed, answer), "{}", script=mirror)
    assert event == {"type": "application/cloudevents+json", "body": '{"a":1}'}
    xml = "{method: POST, path: [c], headers: {content-type: text/xml}, text: \"${ '<a>' + payload.name + '</a>' }\"}"
    [told] = serve(asks(NAMED, xml, answer), '{"name": "b"}', script=mirror)
    assert told == {"type": "text/xml", "body": "<a>b</a>"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_request_of_any_method_may_have_a_body(method: str) -> None:
    """Search APIs take one with GET, and others with DELETE.

    Source: encode/httpx#1539, dapr/dapr#2080
    """
    node = asks(
        "{type: object}",
        f"{{method: {method}, path: [c], json: {{q: 1}}}}",
        '{method: "${ result.json.method }", body: "${ result.json.body }"}',
    )
    assert serve(node, "{}", script=mirror) == [{"method": method, "body": '{"q":1}'}]


# --- Redirects ----------------------------------------------------------------------------------------------------

FOLLOWS = '{status: "${ result.status }", json: "${ result.json }"}'
AT = "{type: object, required: [at], properties: {at: {type: array, items: {type: string}}, big: {type: string}}}"
POSTS = asks(
    AT,
    '{method: POST, path: "${ payload.at }", json: {big: "${ payload.?big.orValue(\'\') }"}, redirects: 3}',
    FOLLOWS,
)
GETS = asks(AT, '{path: "${ payload.at }", redirects: 3}', FOLLOWS)
PLACES = {
    "/relative/a": "b?x=1#fragment",
    "/dots": "/x/../end",
    "/away": "http://127.0.0.1:1/x",
    "/other-port-without-scheme": "//127.0.0.1:1/x",
    "/loop": "/loop",
    "/blank": "/a b/ü",
}


async def redirects(seen: Seen, writer: Any) -> None:
    """Send `/301` to `/end?from=301`, others to their places, and mirror what has none."""
    status = seen.target[1:4]
    if status.isdigit():
        writer.write(reply(b"", f"location: /end?from={status}", status=f"{status} X"))
    elif seen.target == "/nowhere":
        writer.write(reply(b"", status="302 Found"))
    elif seen.target in PLACES:
        writer.write(
            f"HTTP/1.1 302 X\r\nlocation: {PLACES[seen.target]}\r\ncontent-length: 0\r\n\r\n".encode("latin-1")
        )
    else:
        await mirror(seen, writer)


@pytest.mark.parametrize("status", ["307", "308"])
@pytest.mark.parametrize("size", [0, 250_000])
def test_a_temporary_redirect_repeats_the_post_with_its_body(status: str, size: int) -> None:
    """Also a large one.

    Source: dotnet/runtime#89549, seanmonstar/warp#813
    """
    [answer] = serve(POSTS, json.dumps({"at": [status], "big": "x" * size}), script=redirects)
    found = answer["json"]
    assert (found["method"], found["target"]) == ("POST", f"/end?from={status}")
    assert json.loads(found["body"]) == {"big": "x" * size}
    assert found["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize("status", ["301", "302", "303"])
def test_another_redirect_makes_a_get_of_a_post(status: str) -> None:
    """Without the body and without the headers that describe it, as browsers do it.

    Source: dotnet/runtime#89549
    """
    [answer] = serve(POSTS, json.dumps({"at": [status]}), script=redirects)
    found = answer["json"]
    assert (found["method"], found["target"], found["body"]) == ("GET", f"/end?from={status}", "")
    assert not found["headers"].keys() & {"content-type", "content-length", "transfer-encoding"}


@pytest.mark.parametrize("at", ["300", "304", "nowhere"])
def test_a_status_that_redirects_nowhere_is_a_result(at: str) -> None:
    """300 leaves the choice, 304 is no redirect, and a 302 without a place leads nowhere.

    Source: dotnet/runtime#89549
    """
    [answer] = serve(POSTS, json.dumps({"at": [at]}), script=redirects)
    assert answer == {"status": Number(at if at.isdigit() else "302"), "json": None}


@pytest.mark.parametrize(("at", "target"), [(["relative", "a"], "/relative/b?x=1"), (["dots"], "/end")])
def test_a_relative_place_is_beside_the_request(at: list[str], target: str) -> None:
    """Dots are resolved, and a fragment is not sent.

    Source: dotnet/runtime#89549
    """
    [answer] = serve(GETS, json.dumps({"at": at}), script=redirects)
    assert answer["json"]["target"] == target


REFUSED = {"away": "it leads to http on port 1", "other-port-without-scheme": "port 1", "loop": "more than 3 redirects"}


@pytest.mark.parametrize(("at", "words"), [*REFUSED.items(), ("blank", "not a plain http(s) address")])
def test_a_redirect_out_of_the_target_or_without_end_is_refused(at: str, words: str) -> None:
    """Where a contract may ask is said by its target.

    Source: dotnet/runtime#89549, seanmonstar/warp#813
    """
    [answer] = serve(GETS, json.dumps({"at": [at]}), script=redirects)
    assert answer == Failure("redirect_refused", "")
    assert words in answer.message
