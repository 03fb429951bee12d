"""What one call of the consumer returned, sorted: deliveries, ends of partitions, and offsets that went back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, NamedTuple

from confluent_kafka import KafkaError

from omnibase_core.ports import Delivery, Headers, Partition
from omnibase_infra.kafka.owned_partitions import OwnedPartition, OwnedPartitions

_REASON_CHARACTERS_MAX = 200
read_headers = methodcaller("headers")
"""Calls `headers()` of a message, once at most, from C, which checks the outcome.

For a name that is not UTF-8 the client returns a list that is half made, with the exception still set. The interpreter
does not look for that where it has specialised the call, as it does in a busy loop: then the exception appears
somewhere else, or the process ends.
"""


class Regression(NamedTuple):
    """An offset that came although everything below a larger one had been delivered."""

    owned: OwnedPartition
    expected: int
    actual: int


@dataclass(frozen=True, slots=True)
class PollResults:
    """What arrived, up to where offsets went back: what follows there has to be read again."""

    deliveries: list[Delivery] = field(default_factory=list)
    reached: dict[Partition, int] = field(default_factory=dict)
    regressions: list[Regression] = field(default_factory=list)


def sort(
    messages: Iterable[Any], owned_partitions: OwnedPartitions, *, warn: Callable[[KafkaError], None]
) -> PollResults:
    """Sort the client's events, and move the positions of the partitions.

    This is done for every message: a message that follows on the last one takes the short way. The client's type hints
    leave every part of a message open, so it is Any here.
    """
    arrivals = PollResults()
    at, deliver = owned_partitions.at, arrivals.deliveries.append
    for message in messages:
        error: KafkaError | None = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            warn(error)
            continue
        owned = at(message.topic(), message.partition())
        # What arrives for a partition that is on its way to another offset may stem from an earlier assignment.
        if owned is None or not owned.placed:
            continue
        offset = message.offset()
        if offset != owned.position and _went_back(owned, offset, arrivals):
            continue
        if error is not None:
            _reach(owned, offset, arrivals)
            continue
        owned.position = offset + 1
        deliver(delivery_of(owned.partition, offset, message))
    return arrivals


def _went_back(owned: OwnedPartition, offset: int, arrivals: PollResults) -> bool:
    """Look at an offset that does not follow on the last one: either offsets have a gap there, or they went back."""
    if owned.position is None:
        return False
    if offset < owned.position:
        owned.placed = False
        arrivals.regressions.append(Regression(owned, owned.position, offset))
        return True
    owned.note_jump(offset)
    return False


def _reach(owned: OwnedPartition, end: int, arrivals: PollResults) -> None:
    """Record the end of a partition, where it is beyond the last message: markers and aborted messages are there."""
    if end > (owned.position or 0):
        arrivals.reached[owned.partition] = end
    owned.position = end


def delivery_of(partition: Partition, offset: int, message: Any) -> Delivery:
    """Return what the client's message holds. Headers that cannot be read are none, with the reason."""
    # Nothing that a message holds may end the consumer: the client decodes names of headers only here.
    try:
        headers: Headers = read_headers(message) or ()
    except Exception as error:  # noqa: BLE001 - whatever the client makes of the bytes
        problem = f"the headers cannot be read: {error.__cause__ or error}"[:_REASON_CHARACTERS_MAX]
        return Delivery(partition, offset, message.key(), message.value(), (), message.timestamp()[1], problem)
    # A named tuple at a third of what calling its class takes: this is done for each message.
    facts = (partition, offset, message.key(), message.value(), headers, message.timestamp()[1], None)
    return tuple.__new__(Delivery, facts)
