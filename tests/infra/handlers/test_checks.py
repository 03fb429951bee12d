"""What a host's check refuses because every command would fail: requests against themselves and their targets."""

from datetime import UTC, datetime
from typing import Any

import pytest

from omnibase_core.engine.logic import plan
from omnibase_core.errors import CommandFailed, InvalidContracts
from omnibase_infra.handlers.http import HttpHandlerFactory
from omnibase_infra.handlers.kafka import KafkaHandlerFactory
from tests.support.commands import envelope, host, node, registry

PARTS = "multipart: [{name: a, text: b}]"


def problems(request: str, *, handler: str, target: str, call: str = "") -> list[tuple[str, str]]:
    """Load a node with this request and a host with this target; give the words that are meant, and what is said."""
    files = {
        "node.yaml": f"""contract: node/v1
name: caller
kind: effect
version: 1.0.0
description: A node of a test.
handler: {handler}
target: there
operations:
  go:
    input: {{type: object}}
    request: {{{request}}}
{call}""",
        "host.yaml": f"{host('caller')}handlers:\n  {handler}:\n    targets:\n      there: {{{target}}}\n",
    }
    try:
        registry(files, HttpHandlerFactory.description, KafkaHandlerFactory.description)
    except InvalidContracts as error:
        lines = {name: text.split("\n") for name, text in files.items()}
        return [
            (
                lines[it.path][it.line - 1][it.column - 1 :][: it.width],
                it.message.partition("test-host' it ")[2] or it.message,
            )
            for it in error.problems
        ]
    return []


def http(request: str, target: str = "") -> list[tuple[str, str]]:
    """Check a request of http."""
    return problems(f"path: /a, {request}", handler="http", target=f"base_url: 'http://a.example', {target}")


def kafka(request: str) -> list[tuple[str, str]]:
    """Check a record."""
    return problems(request, handler="kafka", target="topics: [feed, log]", call="    call: publish\n")


BASIC = "auth: {type: basic, username: u, password: p}"


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("idempotency-key", "idempotency_header: Idempotency-Key"),
        ("X-Key", "headers: {x-key: k}"),
        ("authorization", BASIC),
    ],
)
@pytest.mark.parametrize("value", ["a", "'${ payload.key }'", "null"])
def test_a_header_that_the_target_sets_is_told_where_the_node_sets_it(header: str, target: str, value: str) -> None:
    """Whatever its value: each command would be refused."""
    told = f"sets the header '{header}', which the target sets itself; leave it out"
    assert http(f"method: POST, headers: {{{header}: {value}}}", target) == [(header, told)]
    assert http(f"method: POST, headers: {{other: {value}}}", target) == []


def test_a_host_that_the_target_does_not_allow_is_told() -> None:
    """One that an expression gives is left to the command."""
    told = "names the host 'b.example', and the target allows a.example; add it to allowed_hosts"
    assert http("host: b.example") == [("host", told)]
    assert http("host: A.example") == http("host: '${ payload.host }'") == []
    assert http("host: b.example", "allowed_hosts: [a.example, b.example]") == []


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("json: '${ payload }', form: {a: b}", "a request has one body, and 'json' is one too; remove one of them"),
        (f"text: x, {PARTS}", "a request has one body, and 'text' is one too; remove one of them"),
        (
            f"{PARTS}, headers: {{content-type: '${{ payload.type }}'}}",
            "multipart sets the header content-type; leave it out",
        ),
        (
            "method: POST, pages: {max: 2}, json: '${ payload }'",
            "pages are those of a GET whose replies are read as JSON; remove it",
        ),
    ],
)
def test_keys_of_a_request_that_contradict_are_told(written: str, told: str) -> None:
    """Expressions in it do not hide that."""
    assert [it for _, it in http(written)] == [told]


@pytest.mark.parametrize("written", ["text: '${ payload.a }', bytes: '${ payload.b }'", "json: '${ payload }'", PARTS])
def test_a_request_that_may_succeed_is_left_alone(written: str) -> None:
    """Of two bodies that expressions give, one may be null."""
    assert http(f"method: POST, {written}") == []


def test_a_topic_that_the_target_does_not_have_is_told() -> None:
    """One that an expression gives is left to the command."""
    told = "names the topic 'other', and the target has feed, log; add it to topics"
    assert kafka("topic: other, text: x") == [("topic", told)]
    assert kafka("topic: log, text: x") == kafka("topic: '${ payload.topic }', text: x") == []


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("key: '${ payload.id }'", "a record has one value; write json, text, base64, or tombstone: true"),
        ("json: '${ payload }', text: x", "a record has one value, and 'json' is one too; remove one of them"),
        (
            "json: '${ payload }', tombstone: true",
            "no record has 'json' beside tombstone: true; remove one, or write an expression that decides",
        ),
    ],
)
def test_a_record_has_one_value_or_none(record: str, told: str) -> None:
    """What no command could change is told at load."""
    assert [it for _, it in kafka(record)] == [told]


@pytest.mark.parametrize(
    "record",
    ["json: '${ payload }', tombstone: '${ payload.deleted }'", "tombstone: true, key: a", "json: null", "text: x"],
)
def test_an_expression_decides_between_a_value_and_a_tombstone(record: str) -> None:
    """By a field of the command, as what mirrors a table needs it."""
    assert kafka(record) == []


REQUEST = """{go: {input: {type: object}, request:
  {path: [files, "${ payload.name }"], query: {q: "${ payload.q }"}, headers: {x: "${ payload.x }"}}}}"""


ELSEWHERE = "which would name another path, however it is escaped"


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"name": "a/b"}, f"path.1 (payload.name): found the segment 'a/b', {ELSEWHERE}"),
        ({"q": {}}, "query.q (payload.q): expected text or an integer or a number or true or false or a list"),
        ({"x": [7]}, "headers.x (payload.x): expected text or an integer or a number or true or false"),
    ],
)
def test_what_a_command_brings_is_named_by_key_and_expression(payload: dict[str, Any], told: str) -> None:
    """So that its sender knows which of its values it was."""
    written = node("caller", operations=REQUEST, handler="http") + "target: there\n"
    compiled = registry({"node": written}, HttpHandlerFactory.description).nodes["caller"]
    command = envelope("caller", {"name": "a", "q": "b", "x": "c", **payload})
    with pytest.raises(CommandFailed) as raised:
        plan(compiled, command, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert str(raised.value).partition("request is invalid: ")[2] == told


def test_what_a_model_refuses_of_a_whole_request_is_told_where_all_of_it_is_written() -> None:
    """Which keys go together is known then."""
    told = "a part has one content: text or bytes"
    assert [it for _, it in http("method: POST, multipart: [{name: a}]")] == [told]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("bytes: 'no base64!'", "expected bytes as base64"),
        ("host: '[::g]'", "expected an IP address"),
        ("host: 1.2.3.400", "this is not an IPv4 address of four decimal numbers, each up to 255"),
    ],
)
def test_what_python_refuses_is_said_in_words_of_the_contract(written: str, told: str) -> None:
    """Its own words are for programmers."""
    [(_, said)] = http(f"method: POST, {written}")
    assert said.partition(", ")[2] == told or said == told
