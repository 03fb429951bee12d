"""Dead letters: the original stays whole where it fits, and what is cut can still be told and found."""

from datetime import UTC, datetime
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.dead_letters import PREFIX, dead_letter, size_of
from omnibase_core.errors import CommandFailed, OnexError
from omnibase_core.ports import Delivery, Headers, Message, Partition

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FACTS = ("code", "message", "topic", "partition", "offset", "key", "node", "contract-version", "host", "failed-at")
ERROR = CommandFailed("no_luck", "it broke")


def _delivery(value: bytes | None = b"{}", key: bytes | None = b"k", headers: Headers = ()) -> Delivery:
    return Delivery(Partition("source", 3), 42, key, value, headers, 0)


def _letter(delivery: Delivery, *, error: OnexError = ERROR, bytes_max: int = 1_000_000) -> Message:
    return dead_letter(
        delivery,
        error,
        topic="letters",
        node="greeter",
        contract_version="1.2.3",
        host="main-host",
        now=NOW,
        bytes_max=bytes_max,
    )


def _facts(letter: Message) -> dict[str, bytes | None]:
    return {name.removeprefix(PREFIX): value for name, value in letter.headers if name.startswith(PREFIX)}


def test_a_dead_letter_says_what_is_known() -> None:
    """Where it came from, why it failed, at whose hands and when; it is keyed by its node."""
    letter = _letter(_delivery(headers=[("mine", b"1")]))
    assert (letter.topic, letter.key, letter.value) == ("letters", b"greeter", b"{}")
    assert letter.headers[0] == ("mine", b"1")
    assert _facts(letter) == {
        "code": b"no_luck",
        "message": b"it broke",
        "topic": b"source",
        "partition": b"3",
        "offset": b"42",
        "key": b"k",
        "node": b"greeter",
        "contract-version": b"1.2.3",
        "host": b"main-host",
        "failed-at": b"2026-01-01T12:00:00+00:00",
    }


def test_a_message_without_key_and_value_stays_without() -> None:
    """Nothing is not the same as empty: null stays null."""
    letter = _letter(_delivery(None, None))
    assert letter.value is None
    assert _facts(letter)["key"] is None


def test_a_long_reason_is_cut() -> None:
    """An error may say much: two kilobytes of it are kept, and the message stays whole."""
    letter = _letter(_delivery(), error=CommandFailed("long", "é" * 5000))
    assert _facts(letter)["message"] == ("é" * 1024).encode()
    assert letter.value == b"{}"


def test_one_byte_decides_whether_it_is_cut() -> None:
    """The limit itself still fits; one byte less is too little."""
    delivery = _delivery(b"x" * 5000)
    size = size_of(_letter(delivery))
    assert "cut" not in _facts(_letter(delivery, bytes_max=size))
    assert _facts(_letter(delivery, bytes_max=size - 1))["cut"] == b"5000"


def test_headers_that_are_too_large_are_dropped() -> None:
    """A small value is kept whole even where the sender's headers and key do not fit."""
    headers = [("large", b"h" * 20_000)]
    letter = _letter(_delivery(b"small", b"k" * 20_000, headers), bytes_max=10_000)
    assert letter.value == b"small"
    assert set(_facts(letter)) == {*FACTS, "cut", "sha256"} - {"key"}
    assert all(name.startswith(PREFIX) for name, _ in letter.headers)


def test_where_not_even_the_facts_fit_the_facts_are_sent_alone() -> None:
    """Below the size of its own headers, a dead letter has no value left."""
    letter = _letter(_delivery(b"x" * 100), bytes_max=10)
    assert letter.value == b""
    assert _facts(letter)["sha256"] == sha256(b"x" * 100).hexdigest().encode()


BYTES = st.none() | st.binary(max_size=200) | st.integers(0, 40_000).map(lambda size: b"x" * size)
HEADERS = st.lists(st.tuples(st.text("abc-", min_size=1, max_size=10), BYTES), max_size=4)


@given(BYTES, BYTES, HEADERS, st.text(st.characters(codec="utf-8"), max_size=3000), st.integers(10_000, 60_000))
def test_a_dead_letter_is_whole_or_cut_and_never_too_large(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]], reason: str, bytes_max: int
) -> None:
    """Whole: value, key and headers are the original's. Cut: a beginning of the value, its size and its hash."""
    letter = _letter(_delivery(value, key, headers), error=CommandFailed("bad", reason), bytes_max=bytes_max)
    facts = _facts(letter)
    assert size_of(letter) <= bytes_max
    assert (letter.topic, letter.key) == ("letters", b"greeter")
    if "cut" in facts:
        original = value or b""
        assert letter.value is not None
        assert original.startswith(letter.value)
        assert facts["cut"] == b"%d" % len(original)
        assert facts["sha256"] == sha256(original).hexdigest().encode()
        assert (facts["topic"], facts["partition"], facts["offset"]) == (b"source", b"3", b"42")
        # No room is given away: the value is whole, or the letter is as large as it may be.
        assert letter.value == original or size_of(letter) == bytes_max
    else:
        assert letter.value == value
        assert list(letter.headers[: len(headers)]) == headers
        assert facts["key"] == key
        assert tuple(facts) == FACTS
