"""The forms that names of a contract have: their patterns, how a message describes them, and what was meant. Pure."""

import re
from collections.abc import Mapping

from omnibase_core.topics import SLUG_PATTERN

SLUG = rf"^{SLUG_PATTERN}$"
VERSION = r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$"
IDENTIFIER = r"^[a-z][a-z0-9_]{0,62}$"
FUNCTION = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
PACKAGE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
CAPITALS = r"^[A-Z][A-Z0-9_]{0,62}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
VAULT_PATH = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
ABSOLUTE = r"^/[^\x00]+$"

_MEANINGS: Mapping[str, tuple[str, str]] = {
    SLUG: ("lower-case words joined by hyphens", "price-order"),
    VERSION: ("three numbers joined by dots", "1.0.0"),
    IDENTIFIER: ("lower-case words joined by underscores", "get_user, of at most 63 characters"),
    FUNCTION: ("a function as package.module:function", "acme.orders:price"),
    PACKAGE: ("a package as package or package.module", "acme.orders"),
    CAPITALS: ("a name of A-Z, 0-9 and _", "API_KEY, of at most 63 characters"),
    VARIABLE: ("the name of a variable of the environment", "PAYMENT_API_KEY"),
    VAULT_PATH: ("plain parts joined by slashes", "database/creds/app"),
    ABSOLUTE: ("an absolute path", "/run/secrets/api-key"),
}


def expected(pattern: str) -> str | None:
    """Describe a form, with an example; None for a pattern that is none of ours."""
    meaning = _MEANINGS.get(pattern)
    return meaning and f"{meaning[0]}, such as {meaning[1]}"


def corrected(pattern: str, found: object) -> tuple[str, str] | None:
    """Return a form's description and the text of that form which was probably meant, if it can be told."""
    words = _words(_YAML_FILE.sub(r"\1", str(found)) if pattern == SLUG else str(found))
    if pattern == VERSION:
        numbers = [str(int(match[1])) for word in words if (match := _NUMBER.fullmatch(word))]
        meant = ".".join([*numbers, "0", "0"][: max(3, len(numbers))]) if numbers else ""
    else:
        meant = {SLUG: "-", IDENTIFIER: "_"}.get(pattern, " ").join(words).lower()
    fits = pattern in _MEANINGS and re.fullmatch(pattern.removesuffix("$"), meant)
    return (_MEANINGS[pattern][0], meant) if fits else None


_YAML_FILE = re.compile(r".*?([^/]+)\.ya?ml")
"""Who lists a file among names means the name in it."""
_NUMBER = re.compile(r"v?([0-9]{1,6})", re.IGNORECASE)


def seconds(found: object) -> str | None:
    """Return the number of seconds that a text such as `5s` or `2 min` means; None for any other."""
    match = _DURATION.fullmatch(str(found))
    return match and f"{float(match[1]) * _SECONDS[match[2]]:g}"


_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|sec|m|min|h)")
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


def _words(text: str) -> list[str]:
    """Split text into its words, `theOther` too; what is not ASCII has none, as nobody can tell how to spell it."""
    return re.findall(r"[A-Za-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)) if text.isascii() else []
