"""JSON values as the YAML of contracts. Pure."""

import json
import re
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from omnibase_core.contracts.yaml.scalars import read_plain

_PLAIN = re.compile(r"\w(?:[\w./ ,-]|:(?=\S))*(?<! )", re.ASCII)
"""Text that needs no quotes in YAML, as far as its characters go."""
_PLAIN_KEY = re.compile(r"\$?\w[\w.-]*", re.ASCII)

_DEEP = 6
_LONG = 100
_WIDTH = 120


def yaml_text(document: Mapping[str, Any]) -> str:
    """Write a document: its own keys below each other, what is short on one line, long text folded."""
    return "\n".join(_lines(document, 0)) + "\n"


def _lines(value: Any, indent: int) -> list[str]:
    margin = " " * indent
    if not isinstance(value, Mapping | list) or not value:
        return [f"{margin}{_flow(value)}"]
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, part in value.items():
            lines += _entry(f"{margin}{_key(key)}:", part, indent + 2)
    else:
        for part in value:
            first, *rest = _lines(part, indent + 2)
            lines += [f"{margin}- {first.lstrip()}", *rest]
    return lines


def _entry(head: str, value: Any, indent: int) -> list[str]:
    short = f"{head} {_flow(value)}"
    if not isinstance(value, Mapping | list):
        return [short] if len(short) <= _WIDTH else _folded(head, value, indent) or [short]
    if not value or (indent >= _DEEP and len(short) <= _LONG) or _is_short(value):
        return [short]
    return [head, *_lines(value, indent)]


def _folded(head: str, value: Any, indent: int) -> list[str]:
    """Write text as a folded block, each of its lines as a paragraph; nothing where that would change the text."""
    if not isinstance(value, str) or value != value.strip():
        return []
    lines = [f"{head} >-"]
    for number, text in enumerate(value.split("\n")):
        words = wrap(text, _WIDTH - indent, break_long_words=False, break_on_hyphens=False)
        if " ".join(words) != text or not text.isprintable():
            return []
        # One line end in folded text is a space; an empty line between is the line end of the text.
        lines += [*([""] if number else []), *(f"{' ' * indent}{it}" for it in words)]
    return lines


def _is_short(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else value
    return len(_flow(value)) <= 60 and not any(isinstance(it, Mapping) and it for it in parts)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)}: {_flow(it)}' for key, it in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return _quoted(value) if isinstance(value, str) and "," in value else _word(value)


def _key(name: str) -> str:
    plain = _PLAIN_KEY.fullmatch(name) and read_plain(name) == (name, None)
    return name if plain else _quoted(name)


def _word(value: Any) -> str:
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and read_plain(value) == (value, None)
    return str(value) if plain else _quoted(value)


def _quoted(value: Any) -> str:
    """Write a scalar as JSON does, with whatever YAML could take for a line end or refuse as an escape."""
    return re.sub(
        r"[^ -~]", lambda it: it[0] if it[0].isprintable() else _escape(it[0]), json.dumps(value, ensure_ascii=False)
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
