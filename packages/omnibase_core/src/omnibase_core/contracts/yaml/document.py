"""Strict YAML: the text of one contract file as a plain tree, with the place of every value. Pure and total.

YAML without its guesses and its machinery: a word means what JSON means by it (`scalars`), a key is text and stands
once, and there are no tags, anchors, aliases, merge keys, directives or second documents. Every fault is collected.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import reduce
from typing import Any

import yaml

from omnibase_core.contracts.yaml.positions import spot_in_scalar
from omnibase_core.contracts.yaml.scalars import read_plain, shortened, shown
from omnibase_core.contracts.yaml.text import TextPosition, problem_at, syntax_problem, unreadable
from omnibase_core.errors import InvalidExpression, Problem
from omnibase_core.problem_codes import ProblemCode

DEPTH_MAX = 32

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value: `("operations", "get_user", "errors", 0, "when")`."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed contract file: its tree, where each value and each key of it stands, and what is wrong with it.

    The place of a key is filed under the path of its value. `tree` is empty where the root is no mapping or the text
    cannot be read to its end. A faulty word is in the tree as its text; a value that is missing or an alias, as null.
    """

    path: str
    tree: Any
    values: Mapping[Path, TextPosition]
    keys: Mapping[Path, TextPosition]
    problems: tuple[Problem, ...]
    lines: Sequence[str] = ()

    def place(self, path: Path, *, key: bool = False) -> TextPosition:
        """Find a value, or its key; what is not there is looked for at its nearest ancestor.

        A mapping or a list that starts below its key is found at the key: where it starts, its own first key stands.
        """
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        value = self.values.get(path, TextPosition(1, 1))
        owner = self.keys.get(path, value)
        return owner if owner.line < value.line and self._is_collection(path) else value

    def _is_collection(self, path: Path) -> bool:
        return isinstance(self._value(path), dict | list)

    def problem(
        self, path: Path, message: str, *, code: ProblemCode, key: bool = False, nearest: str | None = None
    ) -> Problem:
        """Describe a fault at a value, or at its key. `nearest` is what was probably meant."""
        return self.problem_at(self.place(path, key=key), message, code=code, nearest=nearest)

    def problem_within(self, path: Path, error: InvalidExpression, message: str, *, code: ProblemCode) -> Problem:
        """Describe a fault of an expression at its very place, however its text is written; else at the value."""
        if path not in self.values:
            return self.problem(path, message, code=code)
        place, written = self.place(path), self._value(path)
        start = written.find(error.text) if isinstance(written, str) and error.text else -1
        spot = (
            spot_in_scalar(self.lines, place.line, place.column, written, start + error.offset) if start >= 0 else None
        )
        if spot is None:
            return self.problem(path, message, code=code)
        line, column = spot
        width = min(error.width, max(1, len(self.lines[line - 1]) - column + 1))
        return self.problem_at(TextPosition(line, column, width), message, code=code, nearest=error.nearest)

    def renamed(self, path: Path, name: str) -> "Document":
        """Return the document as if another name were written for a key: the places stay where they are."""
        owner, key = path[:-1], path[-1]

        def moved(at: Path) -> Path:
            return (*owner, name, *at[len(path) :]) if at[: len(path)] == path else at

        tree = deepcopy(self.tree)
        mapping = reduce(lambda part, step: part[step], owner, tree)
        written = {name if it == key else it: value for it, value in mapping.items()}
        mapping.clear()
        mapping.update(written)
        values = {moved(at): place for at, place in self.values.items()}
        return replace(self, tree=tree, values=values, keys={moved(at): place for at, place in self.keys.items()})

    def _value(self, path: Path) -> Any:
        value = self.tree
        for step in path:
            value = value[step]
        return value

    def problem_at(
        self, place: TextPosition, message: str, *, code: ProblemCode, nearest: str | None = None
    ) -> Problem:
        """Describe a fault at a place of the text."""
        return problem_at(self.path, self.lines, place, message, code=code, nearest=nearest)


def parse_document(path: str, text: str) -> Document:
    """Parse any text. Never raises: what is wrong is in the document's problems, in the order of their places."""
    lines = text.split("\n")
    odd = tuple(unreadable(path, lines, length=len(text)))
    if odd:
        return Document(path, {}, {}, {}, odd, lines)
    # The loader's own generator of events would cost a sixth of all reading.
    reader = _Reader(path, lines, iter(_LOADER(text).get_event, None))
    try:
        tree = reader.root()
    except (yaml.MarkedYAMLError, _Ended) as error:
        last = error.problem if isinstance(error, _Ended) else syntax_problem(path, lines, error)
        return Document(path, {}, {}, {}, tuple(sorted([*reader.problems, last])), lines)
    return Document(path, tree, reader.values, reader.keys, tuple(sorted(reader.problems)), lines)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant, whatever its case."""
    spelled = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), spelled, n=1)
    return spelled[near[0]] if near else None


def suggestion(word: str, known: Iterable[str], *, otherwise: str | None = None) -> tuple[str, str | None]:
    """Describe what was probably meant, or else what there is (or `otherwise`); and return what was meant."""
    choices = list(known)
    if (near := nearest(word, choices)) is not None:
        return f"did you mean {near!r}?", near
    return otherwise or (f"expected one of: {', '.join(choices)}" if choices else "there are none"), None


# --- The tree -----------------------------------------------------------------------------------------------------

_ROOT = "expected a mapping that starts with contract: node/v1 or contract: host/v1"


class _Ended(Exception):
    """Nothing after this problem can be read."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


@dataclass(slots=True)
class _Reader:
    """Builds the tree from events by recursive descent, which DEPTH_MAX bounds. Raises _Ended or MarkedYAMLError."""

    path: str
    lines: Sequence[str]
    events: Iterator[yaml.Event]
    problems: list[Problem] = field(default_factory=list)
    values: dict[Path, TextPosition] = field(default_factory=dict)
    keys: dict[Path, TextPosition] = field(default_factory=dict)

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
            alias = f"found the alias *{shortened(str(event.anchor))}; aliases are not allowed, {_WRITE_OUT}"
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
        """Return a key's text, faulty or not; None for what is no scalar."""
        if not isinstance(event, yaml.ScalarEvent):
            self._fault(event, f"found {_kind(event)} as a key; write a key as text", code="bad-key")
            self._skip(event, (*at, ""))
            return None
        self._refuse_properties(event)
        word = event.value
        if _is_plain(event) and read_plain(word) != (word, None) and not _is_of_the_language(word, at):
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
            anchor = f"found the anchor &{shortened(event.anchor)}; anchors are not allowed, {_WRITE_OUT}"
            self._fault(event, anchor, code="yaml-alias", word=True)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            told = f"found the tag {shortened(tag)}; tags are not allowed, remove it"
            self._fault(event, told, code="yaml-tag", word=True)

    def _fault(self, event: yaml.Event, message: str, code: ProblemCode, *, word: bool = False) -> None:
        """Describe a fault of an event, or of the one `word` with which it starts."""
        place = self._place(event)
        if word:
            match = _BLANKLESS.match(self.lines[place.line - 1], place.column - 1)
            place = TextPosition(place.line, place.column, len(match[0]) if match else 1)
        self.problems.append(problem_at(self.path, self.lines, place, message, code=code))

    def _end(self, event: yaml.Event, message: str, code: ProblemCode) -> _Ended:
        return _Ended(problem_at(self.path, self.lines, self._place(event), message, code=code))

    def _place(self, event: Any) -> TextPosition:
        start, end = event.start_mark, event.end_mark
        # What goes on below ends here with its line: a place never leaves the line where it starts.
        end_column = end.column if end.line == start.line else len(self.lines[start.line].rstrip())
        return TextPosition(start.line + 1, start.column + 1, max(1, end_column - start.column))


_BLANKLESS = re.compile(r"\S+")
_WRITE_OUT = "write the value out where it is needed"


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return not event.style and event.tag is None


def _kind(event: yaml.Event) -> str:
    if isinstance(event, yaml.ScalarEvent):
        return shown(event.value) if event.value else "nothing"
    kinds = {yaml.AliasEvent: "an alias", yaml.SequenceStartEvent: "a list"}
    return kinds.get(type(event), "a mapping")


def _is_of_the_language(word: str, at: Path) -> bool:
    """Check whether a key is the `on` of an error rule: the language's own, it can be meant for nothing else."""
    match at:
        case ("operations", _, "errors", int()):
            return word == "on"
    return False


def _fault_of_key(word: str) -> tuple[str, ProblemCode]:
    if word == "<<":
        return "found the merge key <<; merging is not allowed, write the keys out", "yaml-alias"
    if not word:
        return "found no key; write its name before the colon", "bad-key"
    quoted = f'"{shortened(word)}"'
    return f"found the key {shortened(word)}, which YAML may not read as text; write {quoted}", "ambiguous-word"


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it, as its wheels are: it is many times faster."""
