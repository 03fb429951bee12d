"""Where a key's messages go: the partitioner of Kafka's own clients. Pure.

It is `murmur2` of https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/utils/Utils.java,
which librdkafka calls `murmur2_random`. Whoever produces by it puts a key where every client in Java does.
"""

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_ROTATION = 24
_WORD = 0xFFFFFFFF


def partition_of(key: bytes, count: int) -> int:
    """Return the partition of a key in a topic of `count` partitions. An empty key has one, too."""
    return (murmur2(key) & 0x7FFFFFFF) % count


def murmur2(data: bytes) -> int:
    """Return the hash of 32 bits, unsigned. Java's is the same number, signed."""
    value = (_SEED ^ len(data)) & _WORD
    whole = len(data) & ~3
    for begin in range(0, whole, 4):
        word = int.from_bytes(data[begin : begin + 4], "little") * _MULTIPLIER & _WORD
        word ^= word >> _ROTATION
        value = (value * _MULTIPLIER & _WORD) ^ (word * _MULTIPLIER & _WORD)
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _WORD
    value ^= value >> 13
    value = value * _MULTIPLIER & _WORD
    return value ^ (value >> 15)
