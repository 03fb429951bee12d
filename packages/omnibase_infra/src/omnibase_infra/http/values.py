"""The words of such servers that contracts may write: addresses, tokens, segments of paths. Pure."""

import re
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

_ADDRESS = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?/?", re.ASCII)
_SLASH = re.compile(r"[/\\]")
_UNESCAPES_MAX = 8
"""How often a text is unescaped: more than any chain of servers does, and few enough to cost nothing."""


def leads_elsewhere(path: str) -> bool:
    """Return whether a server, or one behind it, may read a dot segment or a control character in a path.

    Some unescape once more what a proxy has unescaped (`%252e`), take a backslash for a slash, or leave parameters out
    of segments before they resolve them (`..;x`). What is not plain after eight rounds is not looked at further.
    """
    for _ in range(_UNESCAPES_MAX):
        escaped, path = path, unquote(path)
        if path == escaped:
            parts = (part.partition(";")[0] for part in _SLASH.split(path))
            return not {".", ".."}.isdisjoint(parts) or any(it < " " for it in path)
    return True


def checked_segments(segments: Iterable[str]) -> list[str]:
    """Check that path segments stay in their place, however a server unescapes it. Raises ValueError."""
    checked = list(segments)
    for segment in checked:
        if not segment or _SLASH.search(segment) or leads_elsewhere(segment):
            raise ValueError(f"found the segment {segment!r}, which would name another path, however it is escaped")
        if not segment.isprintable():
            raise ValueError(f"found the segment {segment!r}, which has a character that cannot be printed")
        segment.encode()  # Half a surrogate pair has no UTF-8 form; UnicodeEncodeError is a ValueError.
    return checked


def form_of_path(path: Any) -> str:
    """Distinguish the two forms of a path: `segments`, or one `text`."""
    return "segments" if isinstance(path, list | tuple) else "text"


def _checked_address(text: str) -> str:
    # Of a number that is no port, `port` raises ValueError itself.
    if _ADDRESS.fullmatch(text) is None or urlsplit(text).port == 0:
        # The text is not repeated: a password could stand in it.
        raise ValueError("expected http(s)://host[:port], without user, path or query")
    return text.rstrip("/")


def _checked_token(token: SecretStr) -> SecretStr:
    if re.fullmatch(r"[!-~]+", token.get_secret_value()) is None:
        raise ValueError("expected printable ASCII without spaces")
    return token


def _checked_name(name: str) -> str:
    return checked_segments([name])[0]


def _digits(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Address = Annotated[str, AfterValidator(_checked_address)]
"""Of a server: `http(s)://host[:port]`, without a slash at its end."""
Token = Annotated[SecretStr, AfterValidator(_checked_token)]
"""A secret that can stand in a header."""
Name = Annotated[str, AfterValidator(_checked_name)]
"""Any printable text without slashes but '', '.' and '..'."""
Segment = Annotated[Name, BeforeValidator(_digits, json_schema_input_type=str | int)]
"""One part of a path: a name, or a whole number."""
