"""Kafka: messages that are no commands, and records that a node publishes."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from omnibase_core.codec import encode
from omnibase_core.ports import Headers, Message
from tests.support.casework import Failure, check_tells, computes, hosted, told
from tests.support.commands import envelope

ECHO = computes("{type: object}", '{payload: "${ payload }"}')
GOOD = json.loads(encode(envelope("case", {"a": 1})))


def changed(**changes: object) -> bytes:
    """Return a good command but for some fields."""
    return json.dumps({**GOOD, **changes}).encode()


STRANGERS: dict[str, tuple[bytes | None, str, str]] = {
    "a tombstone": (None, "empty", "no value"),
    "an empty value": (b"", "empty", "no value"),
    "JSON of another system": (b'{"order_id": 7, "total": 12.5}', "invalid_envelope", "'order_id', 'total'"),
    "a CloudEvent": (b'{"specversion": "1.0", "id": "A1", "data": {}}', "invalid_envelope", "it is a CloudEvent"),
    "the wire format of a registry": (b"\0\0\0\0*" + changed(), "not_json", "the wire format of a schema registry"),
    "a byte order mark": (b"\xef\xbb\xbf" + changed(), "not_json", "begins with a byte order mark"),
    "UTF-16": (changed().decode().encode("utf-16"), "not_json", "UTF-16"),
    "gzip": (gzip.compress(changed()), "not_json", "packed with gzip"),
    "NaN": (changed(payload={"a": float("nan")}), "not_json", "invalid character"),
    "1e999": (changed().replace(b'{"a": 1}', b'{"a": 1e999}'), "not_json", "out of range"),
    "half a pair of surrogates": (changed(payload={"a": "\ud83d"}), "not_json", "surrogate"),
    "no UTF-8": (changed().replace(b'{"a": 1}', b'{"a": "\xff"}'), "not_json", "utf-8"),
    "a list": (b"[1,2]", "not_an_object", "found list"),
    "a text": (b"hello", "not_json", "invalid character"),
    "two documents": (changed() * 2, "not_json", "trailing characters"),
    "an unknown field": (changed(tenant_id="x"), "invalid_envelope", "tenant_id"),
    "a later version": (changed(envelope_version=2), "unsupported_version", "this host reads 1"),
    "a payload that is a list": (changed(payload=[1]), "invalid_envelope", "$.payload"),
    "a payload that is null": (changed(payload=None), "invalid_envelope", "$.payload"),
    "a time without a zone": (changed(timestamp="2026-01-01T00:00:00"), "invalid_envelope", "timezone"),
    "a time in seconds": (changed(timestamp=1_795_000_000), "invalid_envelope", "$.timestamp"),
    "100 levels": (changed(payload={"a": json.loads("[" * 100 + "]" * 100)}), "too_deep", "more than 64 levels"),
    "10,000 levels": (changed().replace(b"1}", b"[" * 10_000 + b"]" * 10_000 + b"}"), "not_json", "nested too deep"),
}


@pytest.mark.parametrize(("value", "code", "words"), STRANGERS.values(), ids=list(STRANGERS))
def test_what_is_no_command_is_a_dead_letter_and_holds_nothing_up(value: bytes | None, code: str, words: str) -> None:
    """Its reason tells an operator what was found; it holds the very bytes; the command behind it is served.

    Source: spring-cloud/spring-cloud-stream#2355, confluentinc/ksql#1100, provectus/kafka-ui#1356,
        mage-ai/mage-ai#5853, getsentry/snuba#1085, apache/openwhisk-package-kafka#319, dapr/dapr#3137
    """

    async def scenario() -> None:
        async with hosted({"case": ECHO}) as trial:
            trial.send(value)
            assert await trial.ask('{"a": 2}')
            [letter] = trial.letters
            assert (letter.code, letter.value) == (code, value)
            assert words in letter.message

    asyncio.run(scenario())


ACCEPTED: dict[str, tuple[bytes, bytes | None, Headers]] = {
    "a uuid without dashes": (
        changed(envelope_id=GOOD["envelope_id"].replace("-", ""), correlation_id=GOOD["correlation_id"]),
        b"k",
        (),
    ),
    "a key that is no text": (changed(), b"\xff\x00", ()),
    "no key": (changed(), None, ()),
    "headers of others": (changed(), b"k", (("content-type", b"application/json"), ("x", b"\xff"), ("x", None))),
}


@pytest.mark.parametrize(("value", "key", "headers"), ACCEPTED.values(), ids=list(ACCEPTED))
def test_a_command_may_have_any_key_and_headers(value: bytes, key: bytes | None, headers: Headers) -> None:
    """They say nothing of what it is.

    Source: apache/openwhisk-package-kafka#332, dapr/dapr#574
    """

    async def scenario() -> None:
        async with hosted({"case": ECHO}) as trial:
            trial.send(value, key=key, headers=headers)
            events = trial.loaded.contract.namespace.event("case", 1)
            [answer] = await trial.until(lambda: trial.broker.messages(events) or None, what="answer")
            assert (answer.key, json.loads(answer.value or b"")["payload"]) == (key, {"payload": {"a": 1}})
            assert trial.letters == []

    asyncio.run(scenario())


PUBLISHES = """
handler: kafka
target: feed
operations:
  go:
    input: {type: object}
    call: publish
    request: {key: "${ payload.id }", json: "${ payload }", headers: {source: "${ payload.source }"}}
    answer: {topic: "${ result.topic }"}
delivery: {timeout_s: 5}
"""
FEED = "handlers: {kafka: {targets: {feed: {topics: [feed]}}}}\n"


@pytest.mark.parametrize(("id_", "source"), [("k", "s"), ("ключ🙂", "Ünï"), ("", ""), ("k", "a\nb"), (None, "s")])
def test_a_record_has_a_key_and_headers_of_any_text(id_: str | None, source: str) -> None:
    """They are UTF-8. An empty key is no absent one.

    Source: redpanda-data/connect#1999, ag2ai/faststream#2932, tulios/kafkajs#326
    """
    payload = {"id": id_, "source": source}

    async def scenario() -> list[Message]:
        async with hosted({"case": PUBLISHES}, more=FEED) as trial:
            assert await trial.ask(json.dumps(payload)) == {"topic": "feed"}
            return trial.broker.messages("feed")

    [record] = asyncio.run(scenario())
    assert record.key == (None if id_ is None else id_.encode())
    assert dict(record.headers)["source"] == source.encode()
    assert json.loads(record.value or b"") == payload


def test_a_header_that_is_no_text_is_refused() -> None:
    """Nothing guesses how a number would be written.

    Source: spring-cloud/spring-cloud-function#184, ag2ai/faststream#2933
    """

    async def scenario() -> None:
        async with hosted({"case": PUBLISHES}, more=FEED) as trial:
            assert await trial.ask('{"id": "k", "source": 7}') == Failure("request_invalid", "")
            assert trial.broker.messages("feed") == []

    asyncio.run(scenario())


def test_a_key_that_is_no_text_is_told(tmp_path: Path) -> None:
    """Check knows the type of the field.

    Source: spring-cloud/spring-cloud-function#184
    """
    node = PUBLISHES.replace("{type: object}", "{type: object, required: [id], properties: {id: {type: integer}}}")
    node = node.replace(', headers: {source: "${ payload.source }"}', "")
    check_tells(node, told("wrong-type", '"${ payload.id }"', "gives integer", "string"), folder=tmp_path)
