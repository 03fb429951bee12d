"""Strict YAML: the text of one contract file as a plain tree, with the place of every value. Pure and total.

YAML without its guesses and its machinery: a word means what JSON means by it (`scalars`), a key is text and stands
once, and there are no tags, anchors, aliases, merge keys, directives or second documents. Every fault is collected.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import yaml

from omnibase_core.contracts.scalars import read_plain, shortened, shown
from omnibase_core.errors import InvalidExpression, Problem, ProblemCode, sendable

DEPTH_MAX = 32
LENGTH_MAX = 262_144
"""In characters."""

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value: `("operations", "get_user", "errors", 0, "when")`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands. Lines and columns count from 1; `width` is how many columns of the line it takes."""

    line: int
    column: int
    width: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed contract file: its tree, where each value and each key of it stands, and what is wrong with it.

    The place of a key is filed under the path of its value. `tree` is empty where the root is no mapping or the text
    cannot be read to its end. A faulty word is in the tree as its text; a value that is missing or an alias, as null.
    """

    path: str
    tree: Any
    values: Mapping[Path, Place]
    keys: Mapping[Path, Place]
    problems: tuple[Problem, ...]
    lines: Sequence[str] = ()

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Find a value, or its key; what is not there is looked for at its nearest ancestor.

        A mapping or a list that starts below its key is found at the key: where it starts, its own first key stands.
        """
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        value = self.values.get(path, Place(1, 1))
        owner = self.keys.get(path, value)
        return owner if owner.line < value.line and self._is_collection(path) else value

    def _is_collection(self, path: Path) -> bool:
        part = self.tree
        for step in path:
            part = part[step]
        return isinstance(part, dict | list)

    def problem(
        self, path: Path, message: str, *, code: ProblemCode, key: bool = False, nearest: str | None = None
    ) -> Problem:
        """Describe a fault at a value, or at its key. `nearest` is what was probably meant."""
        return self.problem_at(self.place(path, key=key), message, code=code, nearest=nearest)

    def problem_within(self, path: Path, error: InvalidExpression, message: str, *, code: ProblemCode) -> Problem:
        """Describe a fault of an expression at its very place, if the line holds it as it reads; else at the value."""
        place = self.place(path)
        start = self.lines[place.line - 1].find(error.text, place.column - 1) if error.text else -1
        if start < 0 or error.line > 1:
            return self.problem(path, message, code=code)
        first, last = _word_at(error.text, error.column - 1)
        return self.problem_at(Place(place.line, start + first + 1, last - first), message, code=code)

    def problem_at(self, place: Place, message: str, *, code: ProblemCode, nearest: str | None = None) -> Problem:
        """Describe a fault at a place of the text."""
        return _problem(self.path, self.lines, place, message, code=code, nearest=nearest)


def parse_document(path: str, text: str) -> Document:
    """Parse any text. Never raises: what is wrong is in the document's problems, in the order of their places."""
    lines = text.split("\n")
    unreadable = tuple(_unreadable(path, lines, length=len(text)))
    if unreadable:
        return Document(path, {}, {}, {}, unreadable, lines)
    reader = _Reader(path, lines, _events(path, text, lines))
    try:
        tree = reader.root()
    except _Ended as ended:
        return Document(path, {}, {}, {}, tuple(sorted([*reader.problems, ended.problem])), lines)
    return Document(path, tree, reader.values, reader.keys, tuple(sorted(reader.problems)), lines)


_WORD = re.compile(r"\w+")
_WORD_AT_END = re.compile(r"\w+\Z")


def _word_at(text: str, index: int) -> tuple[int, int]:
    """Find the word at an index, or before the dot there: the engine points at the dot behind what it does not know."""
    if text[index : index + 1] == ".":
        index = len(_WORD_AT_END.sub("", text[:index]))
    match = _WORD.match(text, index)
    return index, match.end() if match else index + 1


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant, whatever its case."""
    spelled = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), spelled, n=1)
    return spelled[near[0]] if near else None


# --- The tree -----------------------------------------------------------------------------------------------------

_ROOT = "expected a mapping that starts with contract: node/v1 or contract: host/v1"


class _Ended(Exception):
    """Nothing after this problem can be read."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


@dataclass(slots=True)
class _Reader:
    """Builds the tree from YAML's events by recursive descent, which DEPTH_MAX bounds. Raises _Ended."""

    path: str
    lines: Sequence[str]
    events: Iterator[yaml.Event]
    problems: list[Problem] = field(default_factory=list)
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def root(self) -> Any:
        next(self.events)  # the start of the stream
        start = next(self.events)
        if not isinstance(start, yaml.DocumentStartEvent):
            raise _Ended(Problem(self.path, 1, 1, f"the file is empty, {_ROOT}", code="not-a-contract"))
        if start.version or start.tags:
            self._fault(start, "directives (%YAML, %TAG) are not allowed; remove them", code="yaml-tag")
        first = next(self.events)
        if not isinstance(first, yaml.MappingStartEvent):
            raise self._end(first, f"found {_kind(first)}, {_ROOT}", code="not-a-contract")
        tree = self.value(first, ())
        next(self.events)  # the end of the document
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            again = "a second document starts here; write each contract in a file of its own"
            self._fault(after, again, code="many-documents")
        return tree

    def value(self, event: yaml.Event, at: Path) -> Any:
        self.values[at] = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            alias = f"found the alias *{shortened(str(event.anchor))}; aliases are refused, {_WRITE_OUT}"
            self._fault(event, alias, code="yaml-alias")
            return None
        self._refuse_properties(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(at) >= DEPTH_MAX:
            raise self._end(event, f"nested deeper than {DEPTH_MAX} levels; make it flatter", code="too-large")
        return self._mapping(at) if isinstance(event, yaml.MappingStartEvent) else self._sequence(at)

    def _mapping(self, at: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, at)
            here = (*at, key or "")
            if key is None:
                self._skip(next(self.events), here)
            elif key in mapping:
                again = f"duplicate key {shown(key)}, first in line {self.keys[here].line}; remove one of them"
                self._fault(event, again, code="duplicate-key")
                self._skip(next(self.events), here)
            else:
                self.keys[here] = self._place(event)
                mapping[key] = self.value(next(self.events), here)
        return mapping

    def _sequence(self, at: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.value(event, (*at, len(items))))
        return items

    def _key(self, event: yaml.Event, at: Path) -> str | None:
        """Give a key's text, faulty or not; None for what is no scalar."""
        if not isinstance(event, yaml.ScalarEvent):
            self._fault(event, f"found {_kind(event)} as a key; write a key as text", code="bad-key")
            self._skip(event, (*at, ""))
            return None
        self._refuse_properties(event)
        word = event.value
        if _is_plain(event) and read_plain(word) != (word, None):
            self._fault(event, *_fault_of_key(word))
        return word

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if not _is_plain(event):
            return event.value
        value, fault = read_plain(event.value)
        if fault is not None:
            self._fault(event, *fault)
        return value

    def _skip(self, event: yaml.Event, at: Path) -> None:
        """Read a value that has no path of its own; what is wrong within it is collected all the same."""
        replace(self, values={}, keys={}).value(event, at)

    def _refuse_properties(self, event: Any) -> None:
        if event.anchor is not None:
            anchor = f"found the anchor &{shortened(event.anchor)}; anchors are refused, {_WRITE_OUT}"
            self._fault(event, anchor, code="yaml-alias", word=True)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            told = f"found the tag {shortened(tag)}; tags are refused, remove it"
            self._fault(event, told, code="yaml-tag", word=True)

    def _fault(self, event: yaml.Event, message: str, code: ProblemCode, *, word: bool = False) -> None:
        """Describe a fault of an event, or of the one `word` with which it starts."""
        place = self._place(event)
        if word:
            match = _BLANKLESS.match(self.lines[place.line - 1], place.column - 1)
            place = Place(place.line, place.column, len(match[0]) if match else 1)
        self.problems.append(_problem(self.path, self.lines, place, message, code=code))

    def _end(self, event: yaml.Event, message: str, code: ProblemCode) -> _Ended:
        return _Ended(_problem(self.path, self.lines, self._place(event), message, code=code))

    def _place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        # What goes on below ends here with its line: a place never leaves the line where it starts.
        end_column = end.column if end.line == start.line else len(self.lines[start.line].rstrip())
        return Place(start.line + 1, start.column + 1, max(1, end_column - start.column))


_BLANKLESS = re.compile(r"\S+")
_WRITE_OUT = "write the value out where it is needed"


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return not event.style and event.tag is None


def _kind(event: yaml.Event) -> str:
    if isinstance(event, yaml.ScalarEvent):
        return shown(event.value) if event.value else "nothing"
    kinds = {yaml.AliasEvent: "an alias", yaml.SequenceStartEvent: "a list"}
    return kinds.get(type(event), "a mapping")


def _fault_of_key(word: str) -> tuple[str, ProblemCode]:
    if word == "<<":
        return "found the merge key <<; merging is refused, write the keys out", "yaml-alias"
    if not word:
        return "found no key; write its name before the colon", "bad-key"
    quoted = f'"{shortened(word)}"'
    return f"found the key {shortened(word)}, which YAML may not read as text; write {quoted}", "ambiguous-word"


def _problem(
    path: str, lines: Sequence[str], place: Place, message: str, *, code: ProblemCode, nearest: str | None = None
) -> Problem:
    source = sendable(lines[place.line - 1]) if place.line <= len(lines) else ""
    return Problem(
        path, place.line, place.column, message, code=code, width=place.width, nearest=nearest, source=source
    )


# --- The text -----------------------------------------------------------------------------------------------------

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it, as its wheels are: it is many times faster."""

_UNREADABLE = re.compile(
    r"^\t|\r(?!\Z)|[^\t\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""Within a line: what YAML refuses, and what ends a line for YAML but not for an editor."""

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
    "found invalid Unicode character escape code": ("which is no character", "write the character itself"),
    "found undefined tag handle": ("which is a tag", "tags are refused, remove it"),
}
"""What libyaml reports, as what was expected and what to write."""

_GLUED = re.compile(r"([a-z_]+):(\S{1,20})")
_END = "the end of the file"
_TAB = "a tab"


def _unreadable(path: str, lines: Sequence[str], *, length: int) -> Iterator[Problem]:
    if length > LENGTH_MAX:
        long = f"found {length} characters, expected at most {LENGTH_MAX}; split the contract"
        yield Problem(path, 1, 1, long, code="too-large")
        return
    for number, line in enumerate(lines, start=1):
        if match := _UNREADABLE.search(line):
            told = _UNREADABLE_WORDING.get(match[0]) or _fault_of_character(ord(match[0]))
            yield _problem(path, lines, Place(number, match.start() + 1), told, code="bad-character")


def _fault_of_character(number: int) -> str:
    # Who reads a file puts a byte that is no UTF-8 as Python's `surrogateescape` does.
    if number - _NO_UTF_8 in range(0x80, 0x100):
        return f"found the byte 0x{number - _NO_UTF_8:02x}, which is no UTF-8; save the file as UTF-8"
    return f"found the character U+{number:04X}; remove it, or escape it in double quotes"


_NO_UTF_8 = 0xDC00


def _events(path: str, text: str, lines: Sequence[str]) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _Ended(_syntax_problem(path, lines, error)) from error


def _syntax_problem(path: str, lines: Sequence[str], error: yaml.MarkedYAMLError) -> Problem:
    said = str(error.problem)
    place, found = _found(lines, error.problem_mark)
    if error.context_mark is not None and (found == _END or said == _LATE):
        # What is never closed is best shown where it starts; it is noticed only where something else comes.
        place, start = _found(lines, error.context_mark)
        found = found if found == _END and said != _LATE else start
    expected, advice = _SYNTAX_WORDING.get(said, (f"which is no YAML: {said}", "quote it if it is text"))
    if found == _TAB:
        expected, advice = "expected spaces", "indent with spaces"
    elif expected == _SYNTAX_WORDING[_LATE][0] and (match := _GLUED.match(lines[place.line - 1], place.column - 1)):
        advice = f"write a space after the colon: {match[1]}: {match[2]}"
    elif "${" in lines[place.line - 1]:
        advice = 'quote the whole expression: "${ ... }"'
    code: ProblemCode = "bad-character" if found == _TAB else "yaml-tag" if "tag" in expected else "yaml-syntax"
    return _problem(path, lines, place, f"found {found}, {expected}; {advice}", code=code)


def _found(lines: Sequence[str], mark: Any) -> tuple[Place, str]:
    """Give the place of a mark and what stands there. The end of the file may be marked one line too far."""
    line = min(mark.line, len(lines) - 1)
    column = mark.column if line == mark.line else len(lines[line])
    rest = lines[line][column:]
    if rest.startswith("\t"):
        return Place(line + 1, column + 1), _TAB
    place = Place(line + 1, column + 1, max(1, len(rest.rstrip())))
    if not any(later.strip() for later in (rest, *lines[line + 1 :])):
        return place, _END
    return place, shown(rest.strip()) if rest.strip() else "the end of the line"
