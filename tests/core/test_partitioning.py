"""Where a key goes: Java's own numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.partitioning import murmur2, partition_of

# From `testMurmur2` of Kafka's UtilsTest, which has them as signed numbers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA)
def test_the_hash_is_javas(key: bytes) -> None:
    """As Kafka's own test of it has it."""
    assert murmur2(key) == JAVA[key] & 0xFFFFFFFF


def test_the_sign_is_cut_off_and_not_turned() -> None:
    """Java's `toPositive` clears the highest bit: the absolute value would be another partition."""
    assert partition_of(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7
    assert partition_of(b"21", 7) != 973932308 % 7


@given(st.binary(), st.integers(min_value=1, max_value=10_000))
def test_every_key_has_a_partition(key: bytes, count: int) -> None:
    """Whatever its bytes, and always the same."""
    assert 0 <= partition_of(key, count) < count
    assert partition_of(key, count) == partition_of(bytes(key), count)
