"""Redaction: the corpus of docs/redaction.md, known values in every spelling, and harmless texts."""

import base64
import html
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from omnibase_infra.secrets.redaction import MASK, Redactor

PAGE = (Path(__file__).parents[3] / "docs" / "redaction.md").read_text()
MARKED = re.compile("⟦(.*?)⟧", re.DOTALL)
SECRET = "correct-horse/battery+staple"  # noqa: S105 - a secret of these tests


def block(name: str) -> str:
    """Return a fenced block of the page."""
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
    harmless = {"pwd": "/home/app", "idempotency_token": "018f2c3e"}
    assert Redactor().redacted_tree({**harmless, "PWD": "hunter22"}) == {**harmless, "PWD": MASK}
    assert Redactor().redacted_tree(tree) == {
        "password": MASK,
        "token": None,
        "deep": [{"api_key": MASK, "user": "ada"}, ["a", 1]],
        "total_tokens": 3,
    }


@pytest.mark.parametrize(
    "piece",
    [
        "password",
        "a",
        "://a:",
        "token: ",
        "Bearer ",
        "eyJ",
        '\\"',
        "-----BEGIN PRIVATE KEY-----",
        "x=",
        "cookie: a",
        "pwd:/a",
        "page token",
    ],
)
def test_no_text_is_slow_to_redact(piece: str) -> None:
    """What a server says may be made to be slow: the time grows with the length and no faster."""
    redactor = Redactor()
    redactor.learn("KEY", SECRET)
    began_s = time.monotonic()
    redactor.redacted(piece * (20_000 // len(piece)))
    assert time.monotonic() - began_s < 2


def lower_percent(text: str) -> str:
    """Escape as for a URL, in lower case."""
    return re.sub("%..", lambda it: it[0].lower(), quote(text, safe=""))


def unicoded(text: str) -> str:
    """Write JSON whose signs that mean something within HTML are escaped, too."""
    return re.sub("[<>&'/+]", lambda it: f"\\u{ord(it[0]):04x}", json.dumps(text)[1:-1])


ENCODERS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": lambda text: quote(text, safe=""),
    "percent, lower case": lower_percent,
    "path": quote,
    "form": quote_plus,
    "json": lambda text: json.dumps(text)[1:-1],
    "json, no ascii": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json, html": unicoded,
    "json, HTML": lambda text: re.sub(r"\\u....", lambda it: "\\u" + it[0][2:].upper(), unicoded(text)),
    "html": html.escape,
    "html, decimal": lambda text: html.escape(text, quote=False).replace("'", "&#39;").replace('"', "&#34;"),
    "html, numbers": lambda text: "".join(it if it.isalnum() else f"&#{ord(it)};" for it in text),
    "python": lambda text: repr(text)[1:-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64, bare": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
}
SIGNS = st.sampled_from("/+=&%\\\"'<> -_.~#?@:é\n€😀")
SECRETS = st.text(st.one_of(st.sampled_from("abcXYZ019"), SIGNS, st.characters(codec="utf-8")), min_size=4, max_size=40)


@settings(max_examples=400)
@given(
    secret=SECRETS,
    first=st.sampled_from(sorted(ENCODERS)),
    second=st.sampled_from(sorted(ENCODERS)),
    around=st.sampled_from([("before ", " after"), ("", ""), ('{"a": "', '"}'), ("GET /a?b=", "&c=d"), ("(", ")")]),
)
def test_no_chain_of_two_escapes_saves_a_known_secret(
    secret: str, first: str, second: str, around: tuple[str, str]
) -> None:
    """Proxies put what servers said into JSON, and servers escape what they were sent."""
    assume(secret.strip() == secret)
    redactor = Redactor()
    redactor.learn("KEY", secret)
    spelled = ENCODERS[second](ENCODERS[first](secret))
    told = redactor.redacted(spelled.join(around))
    assert told.startswith(around[0])
    assert told.endswith(around[1])
    assert spelled.rstrip("=") not in told.removeprefix(around[0]).removesuffix(around[1])


@given(text=st.text(st.sampled_from("abc019 /+=%\\&;#\"'u"), max_size=200))
def test_texts_without_a_known_secret_stay(text: str) -> None:
    """Escapes of something else are none of it."""
    redactor = Redactor()
    redactor.learn("KEY", SECRET)
    redactor.learn("PIN", "9&/9")
    assume(Redactor().redacted(text) == text)
    assume("9" not in text)
    assert redactor.redacted(text) == text


@pytest.mark.parametrize("user", ["a", "ab", "abc", "some-user@example.org"])
def test_a_known_secret_vanishes_from_the_credentials_of_any_user(user: str) -> None:
    """Basic is base64 of user and password together: of the password, no character is left."""
    redactor = Redactor()
    redactor.learn("KEY", SECRET)
    for password in (SECRET, quote_plus(SECRET)):
        sent = base64.b64encode(f"{user}:{password}".encode()).decode()
        told = redactor.redacted(f"sent {sent} in vain")
        left = told.removeprefix("sent ").removesuffix(" in vain").partition(MASK)[0]
        assert MASK in told
        assert base64.b64encode(f"{user}:".encode()).decode().startswith(left)


def test_a_short_secret_stands_alone_behind_an_escape_too() -> None:
    """`%2F` ends in a letter that is none."""
    redactor = Redactor()
    redactor.learn("KEY", "test")
    assert redactor.redacted("%2ftest latest \\ntest \\u002Ftest") == f"%2f{MASK} latest \\n{MASK} \\u002F{MASK}"


@pytest.mark.parametrize("secret", ["\\" * 40, '\\"' * 20, "%25" * 20, "&amp;" * 10, "+ " * 20, "\\\"/'" * 10])
def test_no_secret_makes_redaction_slow(secret: str) -> None:
    """A spelling that almost fits is not tried in every way that there is."""
    redactor = Redactor()
    redactor.learn("KEY", secret + "!")
    began_s = time.monotonic()
    for repeated in (1, 2, 3, 4):
        redactor.redacted("".join(it * repeated for it in secret) * 4 + "?")
        redactor.redacted(json.dumps(json.dumps(secret)) * repeated)
    assert time.monotonic() - began_s < 2


def test_learning_and_redacting_stay_quick_with_many_secrets() -> None:
    """Every line of the log is redacted, and tokens are learnt while the host serves."""
    redactor, line = Redactor(), "GET http://127.0.0.1:8080/greetings/ada?language=fr: status 404 " * 2
    began_s = time.monotonic()
    for number in range(300):
        redactor.learn(f"KEY{number % 100}", f"{number:03}/correct+horse&battery={number}")
    for _ in range(1000):
        redactor.redacted(line)
    # What they have in common does not have all of them looked for.
    assert redactor.redacted("299/correct+horse&amp;battery=299") == MASK
    assert time.monotonic() - began_s < 5
