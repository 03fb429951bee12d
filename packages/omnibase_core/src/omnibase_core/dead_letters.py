"""What becomes of a message that could not be served: a message for the pool's dead letter topic. Pure.

It holds the original bytes and headers; what is known of the failure is in headers that start with `onex-dlq-`. A
command that is sent again from its dead letter says in the header `onex-redrive` how often that was done.
"""

from datetime import datetime
from hashlib import sha256

from omnibase_core.errors import CommandFailed, OnexError, PublishFailed, described, sendable
from omnibase_core.ports import Delivery, Headers, Message

PREFIX = "onex-dlq-"
REDRIVE = "onex-redrive"

_FIRST_FACT = PREFIX + "code"
_FACT_BYTES_MAX = 2048
_RAW_TEXT_MAX = 250
_RAW_KEY_BYTES_MAX = 100
_DIGITS_MAX = 10


def dead_letter(
    delivery: Delivery,
    error: OnexError,
    *,
    topic: str,
    node: str,
    contract_version: str,
    host: str,
    now: datetime,
    bytes_max: int,
    attempts: int = 1,
    first_failed_at: datetime | None = None,
) -> Message:
    """Build the dead letter of a delivery, keyed by its node.

    One that would be larger than `bytes_max` is cut short: `onex-dlq-cut` then holds the original size in bytes and
    `onex-dlq-sha256` the hash of the original value, which is still at its place in the source topic. Its own headers,
    and a key of more than 2048 bytes, are left out then.
    """
    facts: dict[str, bytes | None] = {
        "code": sendable(error.code).encode(),
        "message": sendable(error).encode()[:_FACT_BYTES_MAX].decode(errors="ignore").encode(),
        "topic": delivery.partition.topic.encode(),
        "partition": b"%d" % delivery.partition.number,
        "offset": b"%d" % delivery.offset,
        "key": delivery.key,
        "node": node.encode(),
        "contract-version": contract_version.encode(),
        "host": host.encode(),
        "attempts": b"%d" % attempts,
        "first-failed-at": (first_failed_at or now).isoformat().encode(),
        "failed-at": now.isoformat().encode(),
        "generation": b"%d" % generation_of(delivery.headers),
    }
    described = [(PREFIX + name, value) for name, value in facts.items()]
    whole = Message(topic, node.encode(), delivery.value, (*delivery.headers, *described))
    return whole if size_of(whole) <= bytes_max else _cut(whole, delivery, described, bytes_max)


def raw_dead_letter(
    delivery: Delivery, error: BaseException, *, topic: str, node: str, host: str, now: datetime, bytes_max: int
) -> Message:
    """Build a dead letter from bytes alone, for a delivery that the engine itself failed on.

    It relies on nothing that may have been at fault: neither on the delivery's headers nor on the error's own code.
    """
    code = error.code if isinstance(error, PublishFailed) else "internal_error"
    failure = CommandFailed(code, described(error)[:_RAW_TEXT_MAX])
    bare = delivery._replace(headers=(), key=delivery.key if len(delivery.key or b"") <= _RAW_KEY_BYTES_MAX else None)
    return dead_letter(
        bare, failure, topic=topic, node=node, contract_version="-", host=host, now=now, bytes_max=bytes_max
    )


def generation_of(headers: Headers) -> int:
    """Return how often a command was redriven: 0 where no header says so, or where it says no such number."""
    found = None
    for name, it in headers:
        if name == REDRIVE:
            found = it  # The last one counts.
    return int(found) if found and len(found) < _DIGITS_MAX and found.isdigit() else 0


def split_headers(headers: Headers) -> tuple[Headers, dict[str, bytes | None]]:
    """Return the original's headers, and the facts without their prefix: none where this is no dead letter.

    The facts stand behind the original's headers, the code first. What a sender called by such a name is no fact.
    """
    begin = max((index for index, (name, _) in enumerate(headers) if name == _FIRST_FACT), default=len(headers))
    return headers[:begin], {name.removeprefix(PREFIX): fact for name, fact in headers[begin:]}


def size_of(message: Message | Delivery) -> int:
    """Return the size in bytes of key, value and headers, with what Kafka adds for each."""
    key, value = message.key, message.value
    size_bytes = 70 + (len(key) if key else 0) + (len(value) if value else 0)
    for name, it in message.headers:
        size_bytes += (
            10 + (len(name) if name.isascii() else len(name.encode(errors="replace"))) + (len(it) if it else 0)
        )
    return size_bytes


def _cut(whole: Message, delivery: Delivery, described: list[tuple[str, bytes | None]], bytes_max: int) -> Message:
    value = delivery.value or b""
    headers: Headers = (
        *((name, fact) for name, fact in described if len(fact or b"") <= _FACT_BYTES_MAX),
        (PREFIX + "cut", b"%d" % len(value)),
        (PREFIX + "sha256", sha256(value).hexdigest().encode()),
    )
    room = bytes_max - size_of(Message(whole.topic, whole.key, b"", headers))
    return Message(whole.topic, whole.key, value[: max(0, room)], headers)
