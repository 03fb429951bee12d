"""Writes one record in Kafka's own protocol, so that it may hold what no client library lets through.

A header's name is a string to every client; to the broker it is bytes, which need not be UTF-8. The forms are those of
https://kafka.apache.org/documentation/#recordbatch and https://kafka.apache.org/protocol#The_Messages_Produce.
"""

import socket
import struct
import time
from collections.abc import Sequence

_API_KEY, _API_VERSION = 0, 3
_ACKS_ALL = -1
_TIMEOUT_S = 10
_AGAIN_S = 0.05
_NEW_TOPIC = (3, 5, 6)
"""Unknown topic, no leader, not the leader: what a broker says of a topic that was just created."""
_CLIENT = b"tests"


def produce_raw(
    bootstrap: str,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[bytes, bytes | None]] = (),
) -> int:
    """Write a record and return its offset. The broker at `bootstrap` (host:port) must lead the partition."""
    batch = record_batch(key, value, headers, timestamp_ms=int(time.time() * 1000))
    deadline_s = time.monotonic() + _TIMEOUT_S
    while True:
        error, offset = _produce(bootstrap, topic, partition, batch)
        if error not in _NEW_TOPIC or time.monotonic() > deadline_s:
            break
        time.sleep(_AGAIN_S)
    assert error == 0, f"the broker refused the record with error code {error}"
    return offset


def record_batch(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes | None]], *, timestamp_ms: int
) -> bytes:
    """Return a batch of one record, in version 2 of the format."""
    # Attributes of the record, and how far its time and offset are from those of the batch.
    fields = b"\0" + _varint(0) + _varint(0) + _bytes(key) + _bytes(value) + _varint(len(headers))
    fields += b"".join(_bytes(name) + _bytes(content) for name, content in headers)
    record = _varint(len(fields)) + fields
    # Attributes, last offset, first and last time, then producer id, epoch and sequence (none), and one record.
    body = struct.pack(">hiqqqhii", 0, 0, timestamp_ms, timestamp_ms, -1, -1, -1, 1) + record
    tail = struct.pack(">ibI", -1, 2, crc32c(body)) + body
    return struct.pack(">qi", 0, len(tail)) + tail


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720, appendix B.4, which is not that of `zlib.crc32`."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _produce(bootstrap: str, topic: str, partition: int, batch: bytes) -> tuple[int, int]:
    """Send one request, and return the error code and the offset."""
    request = b"".join(
        (
            struct.pack(">hhi", _API_KEY, _API_VERSION, 1) + _string(_CLIENT),
            struct.pack(">hhi", -1, _ACKS_ALL, _TIMEOUT_S * 1000),
            struct.pack(">i", 1) + _string(topic.encode()),
            struct.pack(">iii", 1, partition, len(batch)) + batch,
        )
    )
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as stream:
            response = stream.read(struct.unpack(">i", stream.read(4))[0])
    # Correlation id, one topic, its name, one partition, its number; then what became of it.
    error, offset = struct.unpack_from(">hq", response, 4 + 4 + 2 + len(topic.encode()) + 4 + 4)
    return int(error), int(offset)


def _entry(crc: int) -> int:
    for _ in range(8):
        crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc


_TABLE = [_entry(byte) for byte in range(256)]


def _string(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def _bytes(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Return a number in zigzag form, seven bits a byte, the lowest first."""
    left = ((number << 1) ^ (number >> 63)) & 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while left > 0x7F:
        encoded.append(left & 0x7F | 0x80)
        left >>= 7
    encoded.append(left)
    return bytes(encoded)
