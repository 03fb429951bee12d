"""Redaction: the corpus of docs/redaction.md, known values in every spelling, and harmless texts."""

import base64
import json
import re
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_infra.secrets.redaction import MASK, Redactor

PAGE = (Path(__file__).parents[3] / "docs" / "redaction.md").read_text()
MARKED = re.compile("⟦(.*?)⟧", re.DOTALL)
SECRET = "correct-horse/battery+staple"  # noqa: S105 - a secret of these tests


def block(name: str) -> str:
    """Give a fenced block of the page."""
    return PAGE.split(f"```{name}\n", 1)[1].split("\n```", 1)[0]


@pytest.mark.parametrize("line", [*block("vanishes").splitlines(), block("vanishes-whole")])
def test_what_is_marked_vanishes_and_nothing_else(line: str) -> None:
    """Spans, and not messages: the text around a secret stays to the letter."""
    text = MARKED.sub(r"\1", line)
    assert Redactor().redacted(text) == MARKED.sub(MASK, line)


@pytest.mark.parametrize("line", block("stays").splitlines())
def test_harmless_texts_stay(line: str) -> None:
    """A log that masks what it talks about helps nobody."""
    assert Redactor().redacted(line) == line


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        json.dumps({"a": SECRET}),
    ],
)
def test_a_known_secret_vanishes_however_it_is_spelled(spelled: str) -> None:
    """Servers repeat what they were sent in forms of their own."""
    redactor = Redactor()
    redactor.learn("KEY", SECRET)
    told = redactor.redacted(f"before {spelled} after")
    assert SECRET not in told
    assert spelled not in told
    assert told.startswith("before ")
    assert told.endswith(" after")


@given(before=st.text(), secret=st.text(st.characters(codec="utf-8"), min_size=8), after=st.text())
def test_no_text_around_it_saves_a_known_secret(before: str, secret: str, after: str) -> None:
    """Whatever stands around it, and whatever it is made of."""
    redactor = Redactor()
    redactor.learn("KEY", secret)
    assert secret not in redactor.redacted(before + secret + after).replace(MASK, "")


def test_a_short_secret_vanishes_where_it_stands_alone() -> None:
    """As a part of a word it stays: `test` would take a piece out of every `latest`."""
    redactor = Redactor()
    redactor.learn("KEY", "test")
    redactor.learn("PIN", "123")
    assert redactor.redacted("user 'test' of the latest 123") == f"user '{MASK}' of the latest 123"


def test_parts_of_a_known_secret_vanish_by_themselves() -> None:
    """A driver tells the password of a connection string, and a TLS library a line of a key."""
    redactor = Redactor()
    redactor.learn("DSN", "postgresql://app:hunter%2F22@db/users")
    redactor.learn("KEY", "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0m59\n-----END PRIVATE KEY-----\n")
    told = redactor.redacted("refused hunter/22 and hunter%2F22; bad line MIIEpAIBAAKCAQEA0m59")
    assert told == f"refused {MASK} and {MASK}; bad line {MASK}"


def test_former_values_are_known_and_not_for_ever() -> None:
    """A server may speak of the one before for a while; of a lease that is renewed each hour, eight are kept."""
    redactor = Redactor()
    for number in range(20):
        redactor.learn("LEASE", f"value-number-{number:02}")
    told = redactor.redacted("value-number-19 value-number-12 value-number-11")
    assert told == f"{MASK} {MASK} value-number-11"


def test_fields_whose_key_names_a_secret_are_masked_whole() -> None:
    """In a tree the key tells more than any shape; numbers, nulls and other keys stay."""
    tree = {"password": "x y", "token": None, "deep": [{"api_key": "k", "user": "ada"}, ("a", 1)], "total_tokens": 3}
    assert Redactor().redacted_tree(tree) == {
        "password": MASK,
        "token": None,
        "deep": [{"api_key": MASK, "user": "ada"}, ["a", 1]],
        "total_tokens": 3,
    }


@pytest.mark.parametrize(
    "piece",
    ["password", "a", "://a:", "token: ", "Bearer ", "eyJ", '\\"', "-----BEGIN PRIVATE KEY-----", "x=", "cookie: a"],
)
def test_no_text_is_slow_to_redact(piece: str) -> None:
    """What a server says may be made to be slow: the time grows with the length and no faster."""
    redactor = Redactor()
    redactor.learn("KEY", SECRET)
    began_s = time.monotonic()
    redactor.redacted(piece * (20_000 // len(piece)))
    assert time.monotonic() - began_s < 2
