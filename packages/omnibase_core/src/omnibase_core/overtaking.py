"""Commands that others may overtake: put aside on the pool's retry topic until they are due. Pure.

The original bytes, key and headers are kept; where it came from and how often it was tried is in headers that start
with `onex-retry-`.
"""

from datetime import datetime
from typing import NamedTuple

from omnibase_core.ports import Delivery, Message, Partition

PREFIX = "onex-retry-"
_FACTS = ("topic", "partition", "offset", "attempts", "first-failed-at", "due")


class Tried(NamedTuple):
    """How often a command was tried, since when it fails, and when it is due again; the times are aware."""

    attempts: int = 0
    first_failed_at: datetime | None = None
    due: datetime | None = None


def put_aside(origin: Delivery, *, topic: str, attempts: int, first_failed_at: datetime, due: datetime) -> Message:
    """Build the message that holds a command until it is due."""
    place = (origin.partition.topic, origin.partition.number, origin.offset)
    values = (*place, attempts, first_failed_at.isoformat(), due.isoformat())
    facts = [(PREFIX + name, str(value).encode()) for name, value in zip(_FACTS, values, strict=True)]
    return Message(topic, origin.key, origin.value, (*origin.headers, *facts))


def taken_up(delivery: Delivery) -> tuple[Delivery, Tried] | None:
    """Give the command as it was first delivered, and how often it was tried; None for what was not put aside here."""
    facts = dict(delivery.headers[-len(_FACTS) :])
    try:
        topic, partition, offset, attempts, first, due = ((facts[PREFIX + name] or b"").decode() for name in _FACTS)
        times = datetime.fromisoformat(first), datetime.fromisoformat(due)
        if int(attempts) < 1 or any(moment.tzinfo is None for moment in times):
            return None
        tried = Tried(int(attempts), *times)
        place = Partition(topic, int(partition))
        headers = tuple(delivery.headers[: -len(_FACTS)])
        return delivery._replace(partition=place, offset=int(offset), headers=headers), tried
    except (KeyError, ValueError):
        return None
