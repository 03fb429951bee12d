"""Commands that others may overtake: on the pool's retry topic until they are due. Pure.

The original bytes, key and headers are kept; where it came from and how often it was tried is in headers that start
with `onex-retry-`. Hosts have clocks of their own, so that each time stands beside a duration which bounds it. What is
for a node that a host does not have goes on to the other hosts of the pool, with the header `onex-passed-on` in front.
"""

from collections.abc import Mapping
from datetime import datetime
from itertools import takewhile
from math import isfinite
from typing import NamedTuple

from omnibase_core.ports import Delivery, Message, Partition

PREFIX = "onex-retry-"
PASSED_ON = "onex-passed-on"
"""The header that says for how many seconds hosts have left a command to others, since they lack its node."""

_PLACE = "onex-passed-on-place"
_KEY = "onex-passed-on-key"
_MARKS = 3
_DURATIONS = (f"{PREFIX}delay-s", f"{PREFIX}spent-s")
"""What stands in front of the other facts, where the host that wrote them knew of it."""


class RetryState(NamedTuple):
    """How often a command was tried, since when it fails, and when it is due again; the times are aware.

    `delay_s` is how long it had to wait when it was put on the topic: no clock makes that longer. `spent_s` is what its
    attempts and waits have taken in all; None where the host that wrote it did not say.
    """

    attempts: int = 0
    first_failed_at: datetime | None = None
    due: datetime | None = None
    delay_s: float | None = None
    spent_s: float | None = None


def retry_message(origin: Delivery, tried: RetryState, *, topic: str) -> Message:
    """Build the message that holds a command until it is due. All that `tried` can hold has to be there."""
    assert tried.first_failed_at is not None  # noqa: S101 - narrows the type; what was tried has failed
    assert tried.due is not None  # noqa: S101 - likewise
    facts = {
        "topic": origin.partition.topic,
        "partition": origin.partition.number,
        "offset": origin.offset,
        "attempts": tried.attempts,
        "first-failed-at": tried.first_failed_at.isoformat(),
        "due": tried.due.isoformat(),
    }
    # While a pool is deployed, hosts of an earlier version read these six, and only at the very end.
    facts = {"delay-s": tried.delay_s, "spent-s": tried.spent_s, **facts}
    headers = [(PREFIX + name, str(value).encode()) for name, value in facts.items()]
    return Message(topic, origin.key, origin.value, (*origin.headers, *headers))


def retried(delivery: Delivery) -> tuple[Delivery, RetryState] | None:
    """Return the command as it was first delivered, and how often it was tried; None for what no host put there.

    Only headers at the end count: what a sender called by such a name stands before them. What is not known here, of a
    later version, is passed over.
    """
    headers = delivery.headers
    ours = list(takewhile(lambda header: header[0].startswith(PREFIX), reversed(headers)))
    begin = next((place for place, header in enumerate(ours, 1) if header[0] == f"{PREFIX}topic"), 0)
    begin += len(list(takewhile(lambda header: header[0] in _DURATIONS, ours[begin : begin + len(_DURATIONS)])))
    facts = {name.removeprefix(PREFIX): (value or b"").decode(errors="replace") for name, value in ours[:begin]}
    try:
        tried = _tried(facts)
        place = Partition(facts["topic"], int(facts["partition"]))
        rest = tuple(headers[: len(headers) - begin])
        return delivery._replace(partition=place, offset=int(facts["offset"]), headers=rest), tried
    except (KeyError, ValueError):
        return None


def _tried(facts: Mapping[str, str]) -> RetryState:
    """Read the facts. Raises KeyError or ValueError for what is not of ours."""
    first, due = (datetime.fromisoformat(facts[name]) for name in ("first-failed-at", "due"))
    seconds = [float(facts[name]) if name in facts else None for name in ("delay-s", "spent-s")]
    attempts = int(facts["attempts"])
    is_sound = all(it is None or (isfinite(it) and it >= 0) for it in seconds)
    if attempts < 1 or first.tzinfo is None or due.tzinfo is None or not is_sound:
        raise ValueError("these are not facts of a retry")
    return RetryState(attempts, first, due, *seconds)


def passed_on(delivery: Delivery, seconds: float) -> Message:
    """Build the message that leaves a command to other hosts: on its topic again, on any of its partitions.

    A key would bring it back to the host that it comes from, so that it travels in a header, and so does its first
    place on the topic.
    """
    place = b"%d:%d" % (delivery.partition.number, delivery.offset)
    marks = ((PASSED_ON, f"{seconds:.1f}".encode()), (_PLACE, place), (_KEY, delivery.key))
    return Message(delivery.partition.topic, None, delivery.value, (*marks, *delivery.headers))


def taken_over(delivery: Delivery) -> tuple[Delivery, float]:
    """Return a delivery as it was before hosts passed it on, and for how many seconds they have done so."""
    marks, rest = delivery.headers[:_MARKS], tuple(delivery.headers[_MARKS:])
    if [name for name, _ in marks] != [PASSED_ON, _PLACE, _KEY]:
        return delivery, 0.0
    (_, waited), (_, place), (_, key) = marks
    try:
        seconds = float(waited or b"")
        number, offset = map(int, (place or b"").split(b":"))
    except ValueError:
        return delivery, 0.0
    if not (isfinite(seconds) and seconds >= 0 and number >= 0 and offset >= 0):
        return delivery, 0.0
    first = Partition(delivery.partition.topic, number)
    return delivery._replace(partition=first, offset=offset, key=key, headers=rest), seconds
