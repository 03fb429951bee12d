"""Hostile messages: commands that go to each limit and one beyond it, and messages drawn by whoever can choose.

For the node `strange_node`, whose expressions do what a sender could make expensive. Pure.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from omnibase_core.contracts.host import Limits
from omnibase_core.dead_letters import REDRIVE
from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.envelope import NAME_LENGTH_MAX
from omnibase_core.expressions.input_bounds import ITEMS_MAX, PARTS_MAX, TEXT_LENGTH_MAX
from omnibase_core.ports import Headers, Message
from tests.support.commands import node

T = TypeVar("T")

RESULT = "result"
"""How a command ends that is served well."""
UNDECODABLE = frozenset({"empty", "invalid_envelope", "not_an_object", "not_json", "too_deep", "unsupported_version"})
"""The codes of what is no command: it ends as a dead letter alone."""
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
_MESSAGE = {
    "items": "${ payload.?items.orValue([]).map(it, it + 1) }",
    "text": "${ payload.?text.orValue('').replace('a', payload.?by.orValue('b')) }",
    "whole": "${ payload }",
}
_DEPTH_MAX = Limits().depth_max


def strange_node(name: str, *, handler: str, delivery: str = "{}") -> str:
    """Write the contract of a node for strangers; the handler, `local` or one that a test scripts, gets a `message`."""
    call = "echo" if handler == "local" else "do"
    operations = {"do": {"input": SCHEMA, "call": call, "request": {"message": _MESSAGE}}}
    return node(name, handler=handler, operations=json.dumps(operations), delivery=delivery)


def nested(depth: int, leaf: object = 0, key: str = "next") -> object:
    """Return a value in so many objects with this key, or in so many lists where it is empty."""
    for _ in range(depth):
        leaf = {key: leaf} if key else [leaf]
    return leaf


def written(slug: str, identity: UUID, payload: object, **changes: object) -> bytes:
    """Write a command as a sender in any language might, with these fields in place of good ones."""
    document = {
        "envelope_version": 1,
        "envelope_id": str(identity),
        "correlation_id": str(identity),
        "node_slug": slug,
        "payload": payload,
        "timestamp": "2026-01-01T00:00:00Z",
        **changes,
    }
    return json.dumps(document).encode(errors="replace")


# --- At each limit, and one beyond it ---------------------------------------------------------------------------------


class Stranger(NamedTuple):
    """A message, and how it ends: with a result, or with this code in its error answer or its dead letter."""

    message: Message
    ends: str


class _Case(NamedTuple):
    ends: str
    payload: object = MappingProxyType({})
    key: bytes | None = b"k"
    headers: Headers = ()
    changes: Mapping[str, object] = MappingProxyType({})
    value: bytes | str | None = "written"


def at_the_limit(name: str, topic: str, slug: str, identity: UUID) -> Stranger:
    """Return the stranger of this name, with this id."""
    case = LIMITS[name]
    value = case.value
    if isinstance(value, str):
        payload = dict(case.payload) if isinstance(case.payload, Mapping) else case.payload
        value = written(slug, identity, payload, **case.changes)
    return Stranger(Message(topic, case.key, value, case.headers), case.ends)


def _named(field: str, ends: str) -> dict[str, _Case]:
    return {
        f"{field} as long as it may be": _Case(ends, changes={field: "n" * NAME_LENGTH_MAX}),
        f"{field} too long": _Case("invalid_envelope", changes={field: "n" * (NAME_LENGTH_MAX + 1)}),
    }


LIMITS: dict[str, _Case] = {
    **_named("node_slug", "node_mismatch"),
    **_named("operation", "unknown_operation"),
    **_named("handler_type", "handler_mismatch"),
    # The envelope is the first level.
    "metadata as deep as it may be": _Case(RESULT, changes={"metadata": nested(_DEPTH_MAX - 1)}),
    "metadata too deep": _Case("too_deep", changes={"metadata": nested(_DEPTH_MAX)}),
    "payload as deep as it may be": _Case(RESULT, {"else": nested(_DEPTH_MAX - 2, key="")}),
    "payload too deep": _Case("too_deep", {"else": nested(_DEPTH_MAX - 1, key="")}),
    "deeper than any reader goes": _Case("not_json", value=b'{"a":' * 100_000),
    "brackets alone": _Case("not_json", value=b"[" * 100_000),
    "a tree that branches": _Case("payload_invalid", {"tree": nested(18)}),
    "as many items as it may be": _Case(RESULT, {"items": [1] * ITEMS_MAX}),
    "too many items": _Case("expression_failed", {"items": [1] * (ITEMS_MAX + 1)}),
    "as many parts as it may be": _Case(RESULT, {"else": [[0] * 500] * 39}),
    "too many parts": _Case("expression_failed", {"else": [[0] * 500] * (PARTS_MAX // 500)}),
    "a text as long as it may be": _Case(RESULT, {"text": "a" * TEXT_LENGTH_MAX}),
    "a text too long": _Case("expression_failed", {"text": "a" * (TEXT_LENGTH_MAX + 1)}),
    "many wrong items": _Case("payload_invalid", {"items": ["x"] * 20_000}),
    "a large key": _Case(RESULT, key=b"k" * 70_000),
    "an empty key": _Case(RESULT, key=b""),
    "no key": _Case(RESULT, key=None),
    "a large trace": _Case(RESULT, headers=(("tracestate", b"t" * 70_000),)),
    "a trace that is none": _Case(RESULT, headers=(("traceparent", None), ("tracestate", b"\xff\x00"))),
    "many headers": _Case(RESULT, headers=tuple((f"h{number}", b"v") for number in range(200))),
    "a header of a long name": _Case(RESULT, headers=(("x" * 300, b""), ("é", None))),
    "redriven very often": _Case(RESULT, headers=((REDRIVE, b"9" * 9),)),
    "redriven too often": _Case(RESULT, headers=((REDRIVE, b"9" * 5000),)),
    "asked from very far": _Case(RESULT, headers=((DEPTH, b"999"),)),
    "asked from too far": _Case(RESULT, headers=((DEPTH, b"9" * 5000),)),
    "for another node": _Case(RESULT, headers=((ADDRESSEE, b"\xff" * 300),)),
    "a letter already": _Case(RESULT, headers=(("onex-dlq-code", b"mine"), ("onex-dlq-offset", b"-1"))),
    "the largest numbers": _Case(RESULT, {"else": [2**63, -(2**63), 2**64, 10**400, 1.7e308, 5e-324, -0.0]}),
    "a number beyond all": _Case("not_json", value=b'{"payload":1e999}'),
    "half a character": _Case("not_json", {"text": "a\ud800"}),
    "expired": _Case("expired", changes={"expires_at": "0001-01-01T00:00:00Z"}),
    "a time that is none": _Case("invalid_envelope", changes={"timestamp": "0001-01-01T00:00:00+14:00"}),
    "a time of nowhere": _Case("invalid_envelope", changes={"timestamp": "2026-01-01T00:00:00"}),
    "another version": _Case("unsupported_version", changes={"envelope_version": 2}),
    "one field more": _Case("invalid_envelope", changes={"more": 1}),
    "an id that is none": _Case("invalid_envelope", changes={"envelope_id": "x" * 1000}),
    "a payload that is none": _Case("invalid_envelope", payload=[]),
    "no value": _Case("empty", value=None),
    "an empty value": _Case("empty", value=b""),
    "a list": _Case("not_an_object", value=b"[1]"),
    "no UTF-8": _Case("not_json", value=b"\xff" * 9),
}


# --- Drawn ------------------------------------------------------------------------------------------------------------


class Chooser(Protocol):
    """Chooses: dice, a Random, or a strategy of hypothesis."""

    def choice(self, options: Sequence[T], /) -> T:
        """Return one of the options."""


_BYTE = range(256)
_DRAWN_KEYS = (None, b"", b"k", b"k" * 70_000)
_HEADER_NAMES = ("traceparent", "tracestate", REDRIVE, DEPTH, ADDRESSEE, "x" * 300, "é")
_HEADER_VALUES = (b"9" * 400, b"x" * 70_000, b"-1", b"\xff")
_NO_COMMANDS = (b"", b"[" * 100_000, b'{"a":' * 1000, b"\xff", None)


def stranger(dice: Chooser, topic: str, slug: str, identity: UUID) -> Message:
    """Draw a message: a command of which one part may be off, or, now and then, no command at all."""
    key = dice.choice(_DRAWN_KEYS) if dice.choice((True, False)) else _bytes(dice, 8)
    value = dice.choice(_NO_COMMANDS) if dice.choice(range(4)) == 3 else _command(dice, slug, identity)
    headers = tuple(_header(dice) for _ in range(dice.choice(range(5)))) if dice.choice((False, True)) else ()
    return Message(topic, key, value, headers)


def _command(dice: Chooser, slug: str, identity: UUID) -> bytes:
    off: dict[str, Callable[[], object]] = {
        "envelope_version": lambda: dice.choice((2, "1", None)),
        "node_slug": lambda: _text(dice),
        "operation": lambda: _text(dice),
        "handler_type": lambda: _text(dice),
        "payload": lambda: _value(dice),
        "metadata": lambda: _payload(dice),
    }
    changes: dict[str, Any] = {"payload": _payload(dice)}
    if (part := dice.choice((None, None, None, *off))) is not None:
        changes[part] = off[part]()
    return written(slug, identity, **changes)


def _payload(dice: Chooser) -> dict[str, object]:
    fields: dict[str, Callable[[], object]] = {
        "tree": lambda: nested(dice.choice((1, 18, 507, 600)), dice.choice((0, None))),
        "items": lambda: _value(dice),
        "text": lambda: _text(dice),
        "by": lambda: _text(dice),
        "else": lambda: _value(dice),
    }
    return {name: draw() for name, draw in fields.items() if dice.choice((False, True))}


def _value(dice: Chooser) -> object:
    match dice.choice(("simple", "whole", "text", "nested", "many")):
        case "whole":
            return dice.choice((1, -1)) * 2 ** dice.choice(range(71)) + dice.choice((0, -1, 1))
        case "text":
            return _text(dice)
        case "nested":
            depth = dice.choice((1, 20, _DEPTH_MAX - 1, 507, 509, 512, 600))
            return nested(depth, dice.choice((0, None)), dice.choice(("next", "")))
        case "many":
            return [dice.choice((1, "x", {}))] * dice.choice((0, ITEMS_MAX - 1, ITEMS_MAX + 1, 30_000))
    return dice.choice((None, True, 0.0, -0.0, 0.1, 1e16, -1.7e308, 5e-324))


def _text(dice: Chooser) -> str:
    word = dice.choice(("a", "é", "\U0001f600", "\ud83d", "\x00", "}", "../", "${x}", "next"))
    return word * dice.choice((0, 1, NAME_LENGTH_MAX - 1, NAME_LENGTH_MAX, NAME_LENGTH_MAX + 1, 9000, 70_000))


def _header(dice: Chooser) -> tuple[str, bytes | None]:
    value = dice.choice((None, b"", *_HEADER_VALUES)) if dice.choice((True, False)) else _bytes(dice, 20)
    return dice.choice(_HEADER_NAMES), value


def _bytes(dice: Chooser, most: int) -> bytes:
    return bytes(dice.choice(_BYTE) for _ in range(dice.choice(range(most + 1))))
