"""What the senders of a history send: commands of every kind, to nodes and as requests to a pool."""

from uuid import UUID

from omnibase_core.outlet import ADDRESSEE, DEPTH
from omnibase_core.ports import Headers, Message
from omnibase_core.testing.simulated_consumer import UNREADABLE
from omnibase_core.testing.virtual_time import Dice
from tests.simulation.store import order_of

TOPIC = "onex.app.dev.test.cmd.node.{}.v1"
EVENTS = "onex.app.dev.test.evt.node.{}.v1"
REQUESTS = "onex.app.dev.test.cmd.runtime.pool.v1"


SLUGS = ("echo", "echo", "pure", "keyed", "keyed", "lined", "loose", "over", "also")
SLUGS_WITH_ONCE = (*SLUGS, "once", "once", "once", "once")
RAISED = (
    "exit",
    "interrupt",
    "generator_exit",
    "cancelled",
    "own_base",
    "unprintable",
    "stop_iteration",
    "recursion",
    "escapes",
)
WAYS = (
    *("well",) * 8,
    *("slow",) * 5,
    *("retryable",) * 4,
    "for_good",
    "bug",
    "bug",
    "hang",
    "large",
    "full",
    "unknown",
)
PURE_WAYS = ("well", "well", "well", "bug", "large", "full", "for_good")
POISON = (b"", b"{", b"[1]", b"\xff" * 9, b'{"envelope_version": 9}', b"x" * 2800)
KEYS = (None, b"a", b"b", b"c", b"d", b"e")
LARGE_KEY = b"K" * 2600
"""A key that leaves no room for an answer that carries it."""

_HEADERS: tuple[Headers, ...] = (
    (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),),
    (("traceparent", None), ("empty", b""), ("twice", b"1"), ("twice", b"2")),
    (("tracestate", b"t" * 2500),),
    (("onex-retry-topic", b"mine"), ("onex-redrive", b"-1"), ("onex-dlq-code", b"mine")),
    ((UNREADABLE, b"x"), ("traceparent", b"y")),
    tuple((f"h{number}", b"v") for number in range(40)),
)
_DEEP = 70
"""Deeper than a host lets in, and not as deep as a reader of JSON goes."""


class Sender:
    """Makes one command after the other. Its numbers are the ids of the commands."""

    def __init__(self, dice: Dice, *, with_once: bool) -> None:
        """Start at number 1."""
        self.number = 0
        self._dice = dice
        self._slugs = SLUGS_WITH_ONCE if with_once else SLUGS

    def next(self) -> tuple[Message, str, bool]:
        """Return a command, the node that it is for, and whether it is one that has to be answered."""
        self.number += 1
        dice = self._dice
        slug, key = dice.choice(self._slugs), dice.choice(KEYS)
        if dice.chance(0.03):
            key = LARGE_KEY
        headers = dice.choice(_HEADERS) if dice.chance(0.15) else ()
        if dice.chance(0.06):
            return Message(TOPIC.format(slug), key, dice.choice(POISON), headers), slug, False
        is_deep = dice.chance(0.02)
        way = self._way(slug)
        value = _value(slug, key, way, self.number, deep=is_deep)
        is_answered = not is_deep and way != "escapes"
        if dice.chance(0.08) and slug not in ("once", "also"):
            along = ((ADDRESSEE, TOPIC.format(slug).encode()), (DEPTH, b"1"))
            # Whose request it is stands in its headers: without them nobody can be sure to answer.
            is_told = not any(name == UNREADABLE for name, _ in headers)
            return Message(REQUESTS, key, value, (*headers, *along)), slug, is_answered and is_told
        return Message(TOPIC.format(slug), key, value, headers), slug, is_answered

    def _way(self, slug: str) -> str:
        if slug == "echo":
            return "well"
        ways = PURE_WAYS if slug == "pure" else (*WAYS, "declined") if slug == "once" else WAYS
        way = self._dice.choice(ways)
        if way != "bug":
            return way
        # What a key is answered, another command may have brought about.
        return self._dice.choice(RAISED[:-1] if slug == "once" else RAISED)


def _value(slug: str, key: bytes | None, way: str, number: int, *, deep: bool) -> bytes:
    """Write a command as a sender in any language would."""
    nested = f'{{"a":{"[" * _DEEP}{"]" * _DEEP}}}' if deep else "{}"
    payload = (
        f'{{"node":"{slug}","key":"{(key or b"").decode()[:9]}","way":"{way}","n":{number},"order":{order_of(number)}}}'
    )
    operation = ',"operation":"dance"' if way == "unknown" else ""
    return (
        f'{{"envelope_version":1,"envelope_id":"{UUID(int=number)}","correlation_id":"{UUID(int=number)}"'
        f',"node_slug":"{slug}","timestamp":"2026-01-01T00:00:00Z","metadata":{nested},"payload":{payload}{operation}}}'
    ).encode()
