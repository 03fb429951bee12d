"""The text of a contract: places in it, and what is wrong with it before it is a tree. Pure.

What libyaml reports of a text that is no YAML is said here in the words of a contract: what was found, what was
expected, and what to write.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from omnibase_core.contracts.yaml.scalars import shown
from omnibase_core.errors import Problem, sendable
from omnibase_core.problem_codes import ProblemCode

LENGTH_MAX = 262_144
"""In characters."""


@dataclass(slots=True, unsafe_hash=True)
class TextPosition:
    """Where something stands. Lines and columns count from 1; `width` is how many columns of the line it takes.

    Nobody changes one: it is not frozen only because there are dozens for each line, and freezing triples their price.
    """

    line: int
    column: int
    width: int = field(default=1, compare=False)


def problem_at(
    path: str, lines: Sequence[str], place: TextPosition, message: str, *, code: ProblemCode, nearest: str | None = None
) -> Problem:
    """Describe a fault at a place of a text."""
    source = sendable(lines[place.line - 1]) if place.line <= len(lines) else ""
    return Problem(
        path, place.line, place.column, message, code=code, width=place.width, nearest=nearest, source=source
    )


def unreadable(path: str, lines: Sequence[str], *, length: int) -> Iterator[Problem]:
    """Find what has no place in a contract: the first such character of each line, or that it is none at all."""
    if length > LENGTH_MAX:
        long = f"found {length} characters, expected at most {LENGTH_MAX}; split the contract"
        yield Problem(path, 1, 1, long, code="too-large")
        return
    if lines and _UTF_16.match(lines[0]):
        yield Problem(path, 1, 1, "found text in UTF-16; save the file as UTF-8", code="bad-character")
        return
    binary = next(((number, line.index("\0") + 1) for number, line in enumerate(lines, start=1) if "\0" in line), None)
    if binary is not None:
        yield Problem(path, *binary, "found the character U+0000: this is not text", code="bad-character")
        return
    for number, line in enumerate(lines, start=1):
        if match := _UNREADABLE.search(line):
            told = _UNREADABLE_WORDING.get(match[0]) or _fault_of_character(ord(match[0]))
            yield problem_at(path, lines, TextPosition(number, match.start() + 1), told, code="bad-character")


def _fault_of_character(number: int) -> str:
    # Who reads a file puts a byte that is no UTF-8 as Python's `surrogateescape` does.
    if number - _NO_UTF_8 in range(0x80, 0x100):
        return f"found the byte 0x{number - _NO_UTF_8:02x}, which is not UTF-8; save the file as UTF-8"
    return f"found the character U+{number:04X}; remove it, or escape it in double quotes"


_NO_UTF_8 = 0xDC00


def syntax_problem(path: str, lines: Sequence[str], error: Any) -> Problem:
    """Describe what libyaml reports (a MarkedYAMLError), at the place where it can be mended."""
    said = str(error.problem)
    place, found = _found(lines, error.problem_mark)
    if error.context_mark is not None and (found == _END or said == _LATE):
        # What is never closed is best shown where it starts; it is noticed only where something else comes.
        place, start = _found(lines, error.context_mark)
        found = found if found == _END and said != _LATE else start
    line = lines[place.line - 1]
    before = line[: place.column - 1]
    expected, advice = _SYNTAX_WORDING.get(said, (f"which is not valid YAML: {said}", "quote it if it is text"))
    if found == _TAB:
        expected, advice = "expected spaces", "indent with spaces"
    elif expected == _SYNTAX_WORDING[_LATE][0] and (match := _GLUED.match(line, len(before))):
        advice = f"write a space after the colon: {match[1]}: {match[2]}"
    elif _UNQUOTED.search(line) or _QUOTED_IN_PART.search(before):
        advice = 'quote the whole expression: "${ ... }"'
    elif _QUOTED_WITHIN.search(before):
        advice = "write the text in single quotes: \"${ payload.unit == 'kg' }\""
    code: ProblemCode = "bad-character" if found == _TAB else "yaml-tag" if "tag" in expected else "yaml-syntax"
    return problem_at(path, lines, place, f"found {found}, {expected}; {advice}", code=code)


def _found(lines: Sequence[str], mark: Any) -> tuple[TextPosition, str]:
    """Return the place of a mark and what stands there. The end of the file may be marked one line too far."""
    line = min(mark.line, len(lines) - 1)
    column = mark.column if line == mark.line else len(lines[line])
    rest = lines[line][column:]
    if rest.startswith("\t"):
        return TextPosition(line + 1, column + 1), _TAB
    place = TextPosition(line + 1, column + 1, max(1, len(rest.rstrip())))
    if not any(later.strip() for later in (rest, *lines[line + 1 :])):
        return place, _END
    return place, shown(rest.strip()) if rest.strip() else "the end of the line"


_UNREADABLE = re.compile(
    r"^\t|\r(?!\Z)|[^\t\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""Within a line: what YAML refuses, and what ends a line for YAML but not for an editor."""

_UTF_16 = re.compile("\udcff\udcfe|\udcfe\udcff|\0[ -~]|[ -~]\0")
"""How a text in it begins: with its byte order mark, or with a letter beside a zero."""

_UNREADABLE_WORDING = {
    "\t": "found a tab, expected spaces; indent with spaces",
    "\r": "found a carriage return without a line feed; end lines with a line feed",
    "\ufeff": "found a byte order mark; save the file as UTF-8 without it",
}

_LATE = "could not find expected ':'"
_SYNTAX_WORDING = {
    "mapping values are not allowed in this context": (
        "but no key can stand here",
        "quote text that holds ': ', or indent the key like its neighbours",
    ),
    "block sequence entries are not allowed in this context": (
        "but no list can start here",
        "write each item on a line of its own, below the key",
    ),
    _LATE: ("expected a colon after a key", "write key: value"),
    "did not find expected key": ("expected a key", "indent it like its neighbours, or quote the value as a whole"),
    "did not find expected '-' indicator": ("expected '- '", "indent it like the items above"),
    "did not find expected ',' or ']'": ("expected ',' or ']'", "close the list, or quote the item"),
    "did not find expected ',' or '}'": ("expected ',' or '}'", "close the mapping, or quote the value"),
    "did not find expected node content": ("expected a value", "write one, or null"),
    "did not find expected <document start>": ("expected the end of the file", "a contract is one mapping"),
    "found character that cannot start any token": ("but no value starts like this", "quote the text"),
    "found unexpected end of stream": ("expected the closing quote", "close the text that starts here"),
    "found unknown escape character": ("which double quotes do not know", r"write \\ for \, or use single quotes"),
    "found invalid Unicode character escape code": ("which is not a character", "write the character itself"),
    "found undefined tag handle": ("which is a tag", "tags are not allowed, remove it"),
}
"""What libyaml reports, as what was expected and what to write."""

_UNQUOTED = re.compile(r"""(?<!["'])\$\{""")
_QUOTED_IN_PART = re.compile(r"""(["'])\$\{.*\}\1 *\Z""")
_QUOTED_WITHIN = re.compile(r'"\$\{[^"]*"\Z')
_GLUED = re.compile(r"([a-z_]+):(\S{1,20})")
_END = "the end of the file"
_TAB = "a tab"
