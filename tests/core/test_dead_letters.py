"""Dead letters: the original stays whole where it fits, and what is cut can still be told and found."""

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.dead_letters import PREFIX, REDRIVE, dead_letter, generation_of, size_of, split_headers
from omnibase_core.errors import CommandFailed, OnexError
from omnibase_core.ports import Delivery, Headers, Message, Partition

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FACTS = (
    *("code", "message", "topic", "partition", "offset", "key", "node", "contract-version", "host"),
    *("attempts", "first-failed-at", "failed-at", "generation"),
)
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
        "attempts": b"1",
        "first-failed-at": b"2026-01-01T12:00:00+00:00",
        "failed-at": b"2026-01-01T12:00:00+00:00",
        "generation": b"0",
    }


def test_a_message_without_key_and_value_stays_without() -> None:
    """Nothing is not the same as empty: null stays null."""
    letter = _letter(_delivery(None, None))
    assert letter.value is None
    assert _facts(letter)["key"] is None


def test_a_long_reason_is_cut() -> None:
    """An error may say much: two kilobytes of it are kept, and the message stays whole."""
    letter = _letter(_delivery(), error=CommandFailed("long", "€" * 900))
    assert _facts(letter)["message"] == ("€" * 682).encode()
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


@pytest.mark.parametrize(
    ("headers", "generation"),
    [
        ([], 0),
        ([("other", b"7")], 0),
        ([(REDRIVE, b"0")], 0),
        ([(REDRIVE, b"3")], 3),
        ([(REDRIVE, b"1"), (REDRIVE, b"2")], 2),
        ([(REDRIVE, None)], 0),
        ([(REDRIVE, b"")], 0),
        ([(REDRIVE, b"-1")], 0),
        ([(REDRIVE, b"1.5")], 0),
        ([(REDRIVE, "²".encode())], 0),
        ([(REDRIVE, b"9" * 5000)], 0),
    ],
)
def test_the_generation_is_what_the_header_says_in_decimal(headers: Headers, generation: int) -> None:
    """Whatever a sender writes there, a number comes of it, and a dead letter tells it."""
    assert generation_of(headers) == generation
    assert _facts(_letter(_delivery(headers=headers)))["generation"] == b"%d" % generation


def test_a_letter_that_is_cut_still_tells_its_generation() -> None:
    """Its own headers are left out, and a redrive has to know where to go on."""
    letter = _letter(_delivery(b"x" * 20_000, headers=[(REDRIVE, b"4")]), bytes_max=10_000)
    assert (_facts(letter)["generation"], dict(letter.headers).get(REDRIVE)) == (b"4", None)


def test_what_a_sender_calls_a_fact_is_none() -> None:
    """A command that comes with such headers cannot pass for another letter, for a cut one or for one sent again."""
    forged = [(PREFIX + name, b"forged") for name in ("code", "topic", "cut", "sha256", "redriven")]
    headers, facts = split_headers(_letter(_delivery(headers=forged)).headers)
    assert list(headers) == forged
    assert tuple(facts) == FACTS
    assert b"forged" not in facts.values()


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
        assert split_headers(letter.headers) == (tuple(headers), facts)
