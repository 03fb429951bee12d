"""Whatever stands in a message: it ends as an answer or a dead letter, is committed, and its neighbour is served.

The generators go to each limit and beyond it: depth, width, names, keys, headers, metadata, and bytes that are nothing.
"""

import json
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from omnibase_core.dead_letters import REDRIVE
from omnibase_core.outlet import ADDRESSEE, DEPTH
from omnibase_core.ports import Message
from omnibase_core.testing.virtual_time import run
from tests.gear.commands import loaded_host, node
from tests.gear.stage import COMMANDS, Stage, on_stage

SCHEMA = {
    "type": "object",
    "$defs": {
        "tree": {
            "oneOf": [
                {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/tree"}}},
                {"type": "object", "required": ["a"], "properties": {"next": {"$ref": "#/$defs/tree"}}},
                {"type": "null"},
            ]
        }
    },
    "properties": {
        "tree": {"$ref": "#/$defs/tree"},
        "items": {"type": "array", "items": {"type": "integer"}},
        "text": {"type": "string"},
        "by": {"type": "string"},
    },
}
OPERATIONS = {
    "do": {
        "input": SCHEMA,
        "request": {
            "items": "${ payload.?items.orValue([]).map(it, it + 1) }",
            "text": "${ payload.?text.orValue('').replace('a', payload.?by.orValue('b')) }",
            "whole": "${ payload }",
        },
    }
}
WORDS = st.sampled_from(["a", "é", "\\ud83d\\ude00", "\x00", "}", "../", "${x}", "next"])


def _nested(depth: int, leaf: object, key: str) -> object:
    for _ in range(depth):
        leaf = {key: leaf} if key else [leaf]
    return leaf


TEXTS = st.builds(lambda word, times: word * times, WORDS, st.sampled_from([0, 1, 199, 200, 201, 9000, 70_000]))
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.builds(
        _nested, st.sampled_from([1, 20, 507, 509, 512, 600]), st.sampled_from([0, None]), st.sampled_from(["next", ""])
    ),
    st.builds(
        lambda item, times: [item] * times, st.sampled_from([1, "x", {}]), st.sampled_from([0, 999, 1001, 30_000])
    ),
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "tree": st.builds(_nested, st.sampled_from([1, 18, 507, 600]), st.sampled_from([0, None]), st.just("next")),
        "items": VALUES,
        "text": TEXTS,
        "by": TEXTS,
        "else": VALUES,
    },
)
OFF = {
    "envelope_version": st.sampled_from([2, "1", None]),
    "node_slug": TEXTS,
    "operation": TEXTS,
    "handler_type": TEXTS,
    "payload": VALUES,
    "metadata": PAYLOADS,
}
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["traceparent", "tracestate", REDRIVE, DEPTH, ADDRESSEE, "x" * 300, "é"]),
        st.none() | st.binary(max_size=20) | st.sampled_from([b"9" * 400, b"x" * 70_000, b"-1", b"\xff"]),
    ),
    max_size=4,
)


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    """Draw a command of which one part may be off."""
    document: dict[str, Any] = {
        "envelope_version": 1,
        "envelope_id": str(uuid4()),
        "correlation_id": str(uuid4()),
        "node_slug": "a",
        "payload": draw(PAYLOADS),
        "timestamp": "2026-01-01T00:00:00Z",
    }
    if (part := draw(st.sampled_from([None, None, None, *OFF]))) is not None:
        document[part] = draw(OFF[part])
    return json.dumps(document).encode(errors="replace")


MESSAGES = st.builds(
    lambda key, value, headers: Message(COMMANDS.format("a"), key, value, headers),
    st.none() | st.binary(max_size=8) | st.sampled_from([b"k" * 70_000]),
    st.one_of(commands(), commands(), commands(), st.sampled_from([b"", b"[" * 100_000, b'{"a":' * 1000, b"\xff"])),
    st.just([]) | HEADERS,
)


@given(st.lists(MESSAGES, min_size=1, max_size=3))
@settings(max_examples=200)
def test_a_message_ends_and_its_neighbour_is_served(messages: list[Message]) -> None:
    """In bounded steps: an explosion in any of them would run into the time-out of the tests."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> dict[str, Any]:
            return {"n": request.get("n", 0)}

        host = loaded_host({"a": node("a", operations=json.dumps(OPERATIONS)), "b": node("b")})
        async with on_stage(Stage(behave), host) as stage:
            taken = [it for it in messages if stage.broker.append(it) is None]
            neighbour = stage.send("b", 7)
            await stage.until(lambda: stage.committed() == len(taken) + 1)
            assert [it.causation_id for it in stage.answers("b")] == [neighbour]
            ended = len(stage.answers("a")) + len(stage.letters)
            assert len(taken) <= ended <= 2 * len(taken)
            assert all(len(it.headers) < 40 for it in stage.letters)
            for name, said in ((name, str(fields)) for _, name, fields in stage.observer.events):
                assert len(said) < 4000, name

    run(scenario(), seed=1)


def test_no_value_of_a_payload_goes_into_the_log() -> None:
    """The sender gets the value back, and an operator its place and the rule; at the level debug, the value, too."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> dict[str, Any]:
            return request

        async with on_stage(Stage(behave), loaded_host({"a": node("a", operations=json.dumps(OPERATIONS))})) as stage:
            stage.observer.verbose = False
            stage.publish("a", {"items": ["s3cret"]})
            await stage.until(lambda: stage.committed() == 1)
            [answer] = stage.answers("a")
            assert answer.error is not None
            assert answer.error.message == '$.items[0]: "s3cret" is not of type "integer"'
            [event] = stage.observer.named("command_refused")
            assert event["reason"] == "$.items[0]: type"
            assert "s3cret" not in str(stage.observer.events)
            assert stage.runtime.figures["a"].last_error == "payload_invalid: $.items[0]: type"
            stage.observer.verbose = True
            stage.publish("a", {"items": ["s3cret"]})
            await stage.until(lambda: stage.committed() == 2)
            assert stage.observer.named("command_refused")[1]["values"] == answer.error.message

    run(scenario(), seed=1)
