"""Strict YAML: the text of one contract file as a plain tree, with the place of every value. Pure and total.

What YAML 1.1 guesses at is an error here: `on` and `no`, `12:30:00`, `017`, dates, tags, anchors, merge keys.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import yaml

from omnibase_core.errors import Problem

DEPTH_MAX = 32
LENGTH_MAX = 262_144

Path = tuple[str | int, ...]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_MISREAD = tuple(
    (re.compile(pattern, re.ASCII), why)
    for pattern, why in (
        (r"(?i:on|off|yes|no|y|n)", "YAML may read it as a boolean: write true or false, or quote it as text"),
        (r"(?i:true|false|null)|~", "write true, false or null in lower case, or quote it as text"),
        (r"[-+]?\d+(:[0-5]?\d)+(\.\d*)?", "YAML may read it as a number to the base of 60: quote it as text"),
        (r"\d{4}-\d\d?-\d\d?([Tt ].*)?", "YAML may read it as a time: quote it as text"),
        (r"[-+]?(\.(?i:inf|nan)|0[0-9_]+|0[ox][0-9a-fA-F_]+|0b[01_]+)", "write a decimal number, or quote it as text"),
        (r"[-+]?\d[\d_]*_[\d_]*(\.[\d_]*)?|\+[\d.].*|-?\.\d.*|-?\d+\.([eE].*)?", "write a decimal number, or quote it"),
    )
)
_SYNTAX_HINTS = (
    ("found character that cannot start any token", "a value cannot start with this character: quote it"),
    ("found character '\\t'", "indent with spaces, not with tabs"),
    ("mapping values are not allowed", "a value with ': ' in it has to be quoted"),
    ("could not find expected ':'", "expected 'key: value'"),
    ("did not find expected key", "expected a key at this indentation, or the end of the mapping"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands. Lines and columns count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed contract file. `tree` is empty where the root is unusable; `problems` then says why."""

    path: str
    tree: Any
    values: Mapping[Path, Place]
    keys: Mapping[Path, Place]
    problems: tuple[Problem, ...]

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Find a value, or its key; what is not there is looked for at its nearest ancestor."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(1, 1))

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        """Describe a fault at a value, or at its key."""
        place = self.place(path, key=key)
        return Problem(self.path, place.line, place.column, message)


def parse_document(path: str, text: str) -> Document:
    """Parse any text: what is wrong with it is in the document's problems."""
    parser = _Parser(path)
    tree = parser.parse(text)
    return Document(path, tree, parser.values, parser.keys, tuple(parser.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


class _Unusable(Exception):
    """The rest of the document cannot be read."""


@dataclass
class _Parser:
    """Builds the tree from the parser's events, so that depth is bounded before anything is built."""

    path: str
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def parse(self, text: str) -> Any:
        if len(text) > LENGTH_MAX:
            self._fault(Place(1, 1), f"the file has {len(text)} characters, at most {LENGTH_MAX} are read")
            return {}
        try:
            return self._root(yaml.parse(text, Loader=_LOADER))
        except yaml.reader.ReaderError as error:
            place = _place_at(text, error.position)
            self._fault(place, f"the character {error.character!r} is not allowed in YAML: {error.reason}")
        except yaml.MarkedYAMLError as error:
            self._fault(*_explain(error, text))
        except _Unusable:
            pass
        return {}

    def _root(self, events: Iterator[Any]) -> Any:
        next(events)  # the stream's start
        if isinstance(next(events), yaml.StreamEndEvent):
            self._fault(Place(1, 1), "the file is empty; a contract starts with contract: node/v1 or host/v1")
            return {}
        first = next(events)
        tree = self._value(events, first, (), 1)
        next(events)  # the document's end
        another = next(events)
        if not isinstance(another, yaml.StreamEndEvent):
            self._fault(_place(another), "a second document starts here; one file holds one contract")
        if not isinstance(tree, dict):
            self._fault(_place(first), f"found {_kind(tree)}, expected a mapping that starts with contract: node/v1")
            return {}
        return tree

    def _value(self, events: Iterator[Any], event: Any, path: Path, depth: int) -> Any:
        self.values[path] = place = _place(event)
        if isinstance(event, yaml.AliasEvent):
            self._fault(place, f"the alias *{event.anchor} is not allowed: write the value out")
            return None
        if event.anchor is not None:
            self._fault(place, f"the anchor &{event.anchor} is not allowed: write the value out where it is needed")
        if event.tag is not None:
            self._fault(place, f"the tag {event.tag} is not allowed: remove it")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if depth > DEPTH_MAX:
            self._fault(place, f"nested more than {DEPTH_MAX} levels deep")
            raise _Unusable
        return (self._mapping if isinstance(event, yaml.MappingStartEvent) else self._sequence)(events, path, depth)

    def _mapping(self, events: Iterator[Any], path: Path, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(events, event, path, depth)
            if key in mapping:
                first = self.keys[(*path, key)].line
                self._fault(_place(event), f"the key {key!r} is there twice, first in line {first}: remove one")
                self._value(events, next(events), (*path, key, "(again)"), depth + 1)
                continue
            self.keys[(*path, key)] = _place(event)
            mapping[key] = self._value(events, next(events), (*path, key), depth + 1)
        return mapping

    def _key(self, events: Iterator[Any], event: Any, path: Path, depth: int) -> str:
        if isinstance(event, yaml.ScalarEvent):
            if event.value == "<<" and event.implicit[0]:
                self._fault(_place(event), "merge keys (<<) are not allowed: write the keys out")
            elif not isinstance(found := self._value(events, event, (*path, event.value), depth), str):
                self._fault(_place(event), f"a key must be text, found {_kind(found)}: quote it")
            return str(event.value)
        self._value(events, event, (*path, "(key)"), depth + 1)
        self._fault(_place(event), "a key must be text")
        return "(key)"

    def _sequence(self, events: Iterator[Any], path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._value(events, event, (*path, len(items)), depth + 1))
        return items

    def _scalar(self, event: Any, place: Place) -> Any:
        text: str = event.value
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if not text:
            self._fault(place, "found no value; write one, null or {}")
            return None
        if _NUMBER.fullmatch(text):
            return self._number(text, place)
        for pattern, why in _MISREAD:
            if pattern.fullmatch(text):
                self._fault(place, f"found {text}: {why}")
                break
        return text

    def _number(self, text: str, place: Place) -> int | float:
        if _INTEGER.fullmatch(text) is None:
            return self._float(text, place)
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            self._fault(place, f"{text[:30]} is beyond 64 bits: quote it as text")
            return 0
        return int(text)

    def _float(self, text: str, place: Place) -> float:
        if not isfinite(number := float(text)):
            self._fault(place, f"{text} is too large for a number")
            return 0.0
        return number

    def _fault(self, place: Place, message: str) -> None:
        self.problems.append(Problem(self.path, place.line, place.column, message))


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _place_at(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, position - before.rfind("\n"))


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a boolean", type(None): "nothing"}
    return names.get(type(value), "a number")


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[Place, str]:
    """Say what libyaml found in terms of what to write."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    said = str(error.problem or error.context or "")
    hint = next((hint for fragment, hint in _SYNTAX_HINTS if fragment in said), "")
    lines = text.splitlines()
    if "${" in (lines[line] if line < len(lines) else "") or (line and "${" in lines[min(line, len(lines)) - 1]):
        hint = 'an expression has to be quoted: "${ ... }"'
    return Place(line + 1, column + 1), f"this is not YAML: {said}" + (f"; {hint}" if hint else "")
