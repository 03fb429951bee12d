"""A producer that writes its requests by hand, for records that no client of Kafka would send.

The formats are those of https://kafka.apache.org/protocol: ApiVersion 3 of Produce, and record batches of magic 2.
"""

import socket
import struct

_PRODUCE, _PRODUCE_VERSION = 0, 3
_POLYNOMIAL = 0x82F63B78


def produce_raw(address: str, topic: str, partition: int, *, name: bytes, value: bytes) -> None:
    """Publish a record with one header of any name. Raises AssertionError with the broker's code if it refuses."""
    batch = _batch(_record(value, name))
    body = struct.pack(">hhi", -1, -1, 10_000) + _array(
        _text(topic) + _array(struct.pack(">i", partition) + struct.pack(">i", len(batch)) + batch)
    )
    header = struct.pack(">hhi", _PRODUCE, _PRODUCE_VERSION, 1) + _text("raw")
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        answer = connection.makefile("rb")
        size = struct.unpack(">i", answer.read(4))[0]
        [code] = struct.unpack_from(">h", answer.read(size), 4 + 4 + 2 + len(topic) + 4 + 4)
    assert code == 0, f"the broker refuses the record with code {code}"


def _record(value: bytes, name: bytes) -> bytes:
    headers = _varint(1) + _varint(len(name)) + name + _varint(1) + b"x"
    record = b"\x00" + _varint(0) + _varint(0) + _varint(-1) + _varint(len(value)) + value + headers
    return _varint(len(record)) + record


def _batch(record: bytes) -> bytes:
    now = 1_700_000_000_000
    checked = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    rest = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


def _varint(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 31)
    out = bytearray()
    while zigzag > 0x7F:
        out.append((zigzag & 0x7F) | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _array(only: bytes) -> bytes:
    return struct.pack(">i", 1) + only


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
