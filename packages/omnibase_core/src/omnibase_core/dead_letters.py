"""What becomes of a message that could not be served: a message for the pool's dead letter topic. Pure.

It holds the original bytes and headers; what is known of the failure is in headers that start with `onex-dlq-`.
"""

from datetime import datetime
from hashlib import sha256

from omnibase_core.errors import OnexError
from omnibase_core.ports import Delivery, Headers, Message

PREFIX = "onex-dlq-"

_FACT_BYTES_MAX = 2048


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
) -> Message:
    """Build the dead letter of a delivery, keyed by its node.

    One that would be larger than `bytes_max` is cut short: `onex-dlq-cut` then holds the original size in bytes and
    `onex-dlq-sha256` the hash of the original value, which is still at its place in the source topic. Its own headers,
    and a key of more than 2048 bytes, are left out then.
    """
    facts: dict[str, bytes | None] = {
        "code": error.code.encode(),
        "message": str(error).encode()[:_FACT_BYTES_MAX].decode(errors="ignore").encode(),
        "topic": delivery.partition.topic.encode(),
        "partition": b"%d" % delivery.partition.number,
        "offset": b"%d" % delivery.offset,
        "key": delivery.key,
        "node": node.encode(),
        "contract-version": contract_version.encode(),
        "host": host.encode(),
        "failed-at": now.isoformat().encode(),
    }
    described = [(PREFIX + name, value) for name, value in facts.items()]
    whole = Message(topic, node.encode(), delivery.value, (*delivery.headers, *described))
    return whole if size_of(whole) <= bytes_max else _cut(whole, delivery, described, bytes_max)


def size_of(message: Message) -> int:
    """Size in bytes of key, value and headers, with what Kafka adds for each."""
    headers = sum(len(name.encode()) + len(value or b"") + 10 for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers + 70


def _cut(whole: Message, delivery: Delivery, described: list[tuple[str, bytes | None]], bytes_max: int) -> Message:
    value = delivery.value or b""
    headers: Headers = (
        *((name, fact) for name, fact in described if len(fact or b"") <= _FACT_BYTES_MAX),
        (PREFIX + "cut", b"%d" % len(value)),
        (PREFIX + "sha256", sha256(value).hexdigest().encode()),
    )
    room = bytes_max - size_of(Message(whole.topic, whole.key, b"", headers))
    return Message(whole.topic, whole.key, value[: max(0, room)], headers)
