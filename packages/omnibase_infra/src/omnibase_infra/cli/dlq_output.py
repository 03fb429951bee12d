"""Dead letters as text: lines of a list, the whole of one, figures, and the same as JSON. Pure.

What a letter holds was written by whoever could write to a topic: nothing of it reaches the terminal as a control
character.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unicodedata import east_asian_width

from omnibase_infra.kafka import DeadLetter

WIDTH = 80
DUMP_BYTES_MAX = 512

_CODE_WIDTH_MAX = 20
_KEY_WIDTH_MAX = 12
_FIGURES_CODE_WIDTH = 26
_NAME_WIDTH = 18


def lines_of(letters: Sequence[DeadLetter]) -> Iterator[str]:
    """Yield one line a letter: place, time, code, key, message. Letters that were redriven say so."""
    rows = [
        (str(it.place), clock(it.failed_at), clean(it.code) or "-", key_text(it.key), clean(_said(it)))
        for it in letters
    ]
    widths = [max((columns(row[index]) for row in rows), default=0) for index in range(4)]
    widths[2], widths[3] = min(widths[2], _CODE_WIDTH_MAX), min(widths[3], _KEY_WIDTH_MAX)
    for row in rows:
        cells = [padded(cell, width) for cell, width in zip(row[:4], widths, strict=True)]
        yield cut(" ".join((*cells, row[4])), WIDTH).rstrip()


def whole(letter: DeadLetter) -> Iterator[str]:
    """Yield everything of one letter, line by line."""
    yield _named("place", str(letter.place))
    yield _named("node", clean(letter.node))
    for name, fact in letter.facts.items():
        if name != "node":
            yield _named(clean(name).replace("-", " "), key_text(fact))
    if letter.is_cut:
        yield _named("cut short", "headers and key may be missing, and the end of the value")
    if letter.mark is not None:
        yield _named("redriven", _redriven(letter))
    yield clean(letter.headers_error) if letter.headers_error else f"headers: {len(letter.headers) or 'none'}"
    yield from (_named(f"  {clean(name)}", key_text(value)) for name, value in letter.headers)
    yield f"value: {'none' if letter.value is None else f'{len(letter.value)} bytes'}"
    yield from _value(letter.value)


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter without its value and its headers, for programs."""
    source = letter.source
    return {
        "place": str(letter.place),
        "node": letter.node,
        "failed_at": letter.failed_at.isoformat(),
        "code": letter.code,
        "message": letter.message,
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "topic": source and source[0].topic,
        "partition": source and source[0].number,
        "offset": source and source[1],
        "generation": letter.generation,
        "size_bytes": letter.size_bytes,
        "cut": letter.is_cut,
        "redriven_at": letter.mark and letter.mark.redriven_at and letter.mark.redriven_at.isoformat(),
    }


@dataclass(slots=True)
class Figures:
    """How many letters of one node and code there are, and from when. Times are None where all were redriven."""

    waiting: int = 0
    redriven: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, letter: DeadLetter) -> None:
        """Count a letter."""
        if letter.mark is not None:
            self.redriven += 1
            return
        self.waiting += 1
        self.oldest = min(self.oldest or letter.failed_at, letter.failed_at)
        self.newest = max(self.newest or letter.failed_at, letter.failed_at)


def figures_of(letters: Iterable[DeadLetter]) -> dict[tuple[str, str], Figures]:
    """Count letters by node and code."""
    found: dict[tuple[str, str], Figures] = {}
    for letter in letters:
        found.setdefault((letter.node, letter.code), Figures()).add(letter)
    return dict(sorted(found.items()))


def figures_lines(figures: Mapping[tuple[str, str], Figures]) -> Iterator[str]:
    """Yield a table: a line a node, and below it a line a code."""
    head = ("waiting", "redriven", "oldest", "newest")
    yield f"{'node, code':<{_FIGURES_CODE_WIDTH}} {head[0]:>7} {head[1]:>8} {head[2]:<17} {head[3]:<17}".rstrip()
    last = None
    for (node, code), it in figures.items():
        if node != last:
            yield cut(clean(node) or "-", WIDTH)
            last = node
        name = padded(f"  {clean(code) or '-'}", _FIGURES_CODE_WIDTH)
        times = " ".join(
            "-".ljust(17) if time is None else time.strftime("%Y-%m-%dT%H:%MZ") for time in (it.oldest, it.newest)
        )
        yield f"{name} {it.waiting:>7} {it.redriven:>8} {times}".rstrip()


def figures_json(figures: Mapping[tuple[str, str], Figures]) -> Iterator[dict[str, Any]]:
    """Yield the same as the table, an object a node and code."""
    for (node, code), it in figures.items():
        yield {
            "node": node,
            "code": code,
            "waiting": it.waiting,
            "redriven": it.redriven,
            "oldest": it.oldest and it.oldest.isoformat(),
            "newest": it.newest and it.newest.isoformat(),
        }


def clock(moment: datetime) -> str:
    """Return a time in a form that `--since` takes."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def clean(text: str) -> str:
    """Escape what a terminal would act on, in the way of JSON."""
    return text if text.isprintable() else "".join(it if it.isprintable() else json.dumps(it)[1:-1] for it in text)


def key_text(value: bytes | None) -> str:
    """Return a key, a header or a fact as text."""
    return "-" if value is None else clean(value.decode(errors="backslashreplace"))


def columns(text: str) -> int:
    """Return how many columns a text takes in a terminal."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(it) in "WF" else 1 for it in text)


def cut(text: str, width: int) -> str:
    """Cut a text that takes more columns, and show that it was cut."""
    if columns(text) <= width:
        return text
    kept = text[: width - 3]
    while columns(kept) > width - 3:
        kept = kept[:-1]
    return f"{kept}..."


def padded(text: str, width: int) -> str:
    """Return a cell of a table: cut or filled up to a width."""
    found = cut(text, width)
    return found + " " * (width - columns(found))


def hex_dump(data: bytes) -> Iterator[str]:
    """Yield lines of offset, sixteen bytes in hexadecimal, and the same as ASCII."""
    for begin in range(0, len(data), 16):
        row = data[begin : begin + 16]
        text = "".join(chr(it) if 32 <= it < 127 else "." for it in row)
        yield f"{begin:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{text}|"


def _said(letter: DeadLetter) -> str:
    return letter.message if letter.mark is None else f"(redriven) {letter.message}"


def _redriven(letter: DeadLetter) -> str:
    if (mark := letter.mark) is None:
        return "no"
    when = clock(mark.redriven_at) if mark.redriven_at else "at some time"
    return f"{when}, as generation {mark.generation}, now at {mark.redriven_to} of its topic"


def _named(name: str, text: str) -> str:
    return f"{name:<{_NAME_WIDTH}} {text}"


def _value(value: bytes | None) -> Iterator[str]:
    if not value:
        return
    try:
        document = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        yield from hex_dump(value[:DUMP_BYTES_MAX])
        if len(value) > DUMP_BYTES_MAX:
            yield f"... {len(value) - DUMP_BYTES_MAX} bytes more: --raw gives all of them"
        return
    yield from map(clean, document.split("\n"))
