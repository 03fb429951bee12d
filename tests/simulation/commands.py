"""What the senders of a history send: commands of every kind, to nodes and as requests to a pool."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.ports import Headers, Message
from omnibase_core.testing.simulated_consumer import UNREADABLE
from omnibase_core.testing.virtual_time import Dice
from tests.simulation.store import order_of
from tests.support.raised import GIVEN, ODD, RAISED
from tests.support.strangers import LIMITS, RESULT, UNDECODABLE, at_the_limit, stranger

TOPIC = "onex.app.dev.test.cmd.node.{}.v1"
EVENTS = "onex.app.dev.test.evt.node.{}.v1"
REQUESTS = "onex.app.dev.test.cmd.runtime.pool.v1"


SLUGS = ("echo", "echo", "pure", "called", "keyed", "keyed", "lined", "loose", "over", "also")
STRANGE = ("strange", "odd")
"""The nodes of strangers: one awaits nothing, and one does."""
SLUGS_WITH_ONCE = (*SLUGS, "once", "once", "once", "once")
CALAMITIES = (tuple(RAISED), tuple(ODD), tuple(GIVEN))
UNANSWERED = ("escapes", "cancels")
"""What ends a command by a dead letter of its bytes alone."""
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
_LIMITS = tuple(LIMITS)
_DEEP = 70
"""Deeper than a host lets in, and not as deep as a reader of JSON goes."""


class Draft(NamedTuple):
    """A command, the node that it is for, and how it has to end.

    `is_answered`: by an answer, not by a dead letter alone; None where a stranger may end by either. `ends` are the
    codes with which it may end, a result among them; none where anything may happen to it.
    """

    message: Message
    slug: str
    is_answered: bool | None
    ends: frozenset[str] = frozenset()
    kind: str = ""


class Sender:
    """Makes one command after the other. Its numbers are the ids of the commands."""

    def __init__(self, dice: Dice, *, with_once: bool) -> None:
        """Start at number 1."""
        self.number = 0
        self._dice = dice
        self._slugs = SLUGS_WITH_ONCE if with_once else SLUGS

    def next(self) -> Draft:
        """Return the next command."""
        self.number += 1
        dice = self._dice
        if dice.chance(0.06):
            return self._stranger(dice.choice(STRANGE))
        slug, key = dice.choice(self._slugs), dice.choice(KEYS)
        if dice.chance(0.03):
            key = LARGE_KEY
        headers = dice.choice(_HEADERS) if dice.chance(0.15) else ()
        if dice.chance(0.06):
            return Draft(Message(TOPIC.format(slug), key, dice.choice(POISON), headers), slug, is_answered=False)
        is_deep = dice.chance(0.02)
        way = self._way(slug)
        value = _value(slug, key, way, self.number, deep=is_deep)
        is_answered = not is_deep and way not in UNANSWERED
        is_readable = not any(name == UNREADABLE for name, _ in headers)
        ends, kind = _ends(slug, way, deep=is_deep, readable=is_readable), _kind(way, readable=is_readable)
        if dice.chance(0.08) and slug not in ("once", "also"):
            along = ((ADDRESSEE, TOPIC.format(slug).encode()), (DEPTH, b"1"))
            # Whose request it is stands in its headers: without them nobody can be sure to answer.
            message = Message(REQUESTS, key, value, (*headers, *along))
            return Draft(message, slug, is_answered and is_readable, ends, kind)
        return Draft(Message(TOPIC.format(slug), key, value, headers), slug, is_answered, ends, kind)

    def _stranger(self, slug: str) -> Draft:
        """Return a message at one of the limits, or one that is drawn."""
        dice, identity = self._dice, UUID(int=self.number)
        if dice.chance(0.4):
            return Draft(stranger(dice, TOPIC.format(slug), slug, identity), slug, None, kind="drawn strangers")
        message, ends = at_the_limit(dice.choice(_LIMITS), TOPIC.format(slug), slug, identity)
        return Draft(message, slug, ends not in UNDECODABLE, frozenset({ends}), "strangers at a limit")

    def _way(self, slug: str) -> str:
        if slug == "echo":
            return "well"
        ways = {"pure": PURE_WAYS, "called": (*PURE_WAYS, "overruns"), "once": (*WAYS, "declined")}.get(slug, WAYS)
        way = self._dice.choice(ways)
        if way != "bug":
            return way
        kinds: list[Sequence[str]] = [*CALAMITIES]
        if slug != "once":  # What a key is answered, another command may have brought about.
            kinds.append(UNANSWERED[:1] if slug in ("pure", "called") else UNANSWERED)
        return self._dice.choice(self._dice.choice(kinds))


def _ends(slug: str, way: str, *, deep: bool, readable: bool) -> frozenset[str]:
    """Return with what a command may end; nothing where that depends on others."""
    if refusals := [code for code, is_due in (("too_deep", deep), ("headers_unreadable", not readable)) if is_due]:
        return frozenset(refusals)
    if slug == "once":
        return frozenset()
    if way in RAISED or way in UNANSWERED:
        return frozenset({"internal_error"})
    if way in ODD:
        return frozenset({"internal_error", "odd"})
    if way in GIVEN:
        # A function's result is brought into its form: the number is one then.
        may_be_one = slug == "called" and way == "gives_a_number_without_digits"
        return frozenset({"answer_invalid", "invalid_result", *([RESULT] if may_be_one else [])})
    return frozenset({RESULT} if way == "well" else ())


def _kind(way: str, *, readable: bool) -> str:
    if not readable:
        return "unreadable headers"
    return "errors raised" if way in RAISED or way in ODD else "results that are none" if way in GIVEN else way


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
