"""Strict YAML: the text of one contract file as a plain tree, with the place of every value. Pure and total.

YAML without its guesses and its machinery: a word means what JSON means by it (`scalars`), a key is text and stands
once, and there are no tags, anchors, aliases, merge keys, directives or second documents. Every fault is collected,
those that a model finds in the tree included.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.scalars import read_plain, shortened, shown
from omnibase_core.errors import Problem

DEPTH_MAX = 32
LENGTH_MAX = 262_144
"""In characters."""

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value: `("operations", "get_user", "errors", 0, "when")`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands. Lines and columns count from 1."""

    line: int
    column: int


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
    """Parse any text. Never raises: what is wrong is in the document's problems, in the order of their places."""
    unreadable = tuple(_unreadable(path, text))
    if unreadable:
        return Document(path, {}, {}, {}, unreadable)
    reader = _Reader(path, _events(path, text))
    try:
        tree = reader.root()
    except _Ended as ended:
        return Document(path, {}, {}, {}, tuple(sorted([*reader.problems, ended.problem])))
    return Document(path, tree, reader.values, reader.keys, tuple(sorted(reader.problems)))


def problems_of(document: Document, error: ValidationError, *, model: type[BaseModel], at: Path = ()) -> list[Problem]:
    """Give each fault that a model found in the part of the document at `at`, at its place and in a contract's words.

    What the document's own problems tell already is left out; what the members of a union expect is told as one.
    """
    told = {Place(problem.line, problem.column) for problem in document.problems}
    root = _Spot(at, model, _part(document.tree, at))
    faults: dict[tuple[Place, str], list[str]] = {}
    for details in error.errors(include_url=False):
        refusal = _refusal(document, dict(details), root)
        if not _is_told(refusal, document, told):
            place = document.place(refusal.path, key=refusal.key)
            faults.setdefault((place, refusal.found), []).append(refusal.expected)
    return [
        Problem(document.path, place.line, place.column, _joined(found, expected))
        for (place, found), expected in faults.items()
    ]


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
    events: Iterator[yaml.Event]
    problems: list[Problem] = field(default_factory=list)
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def root(self) -> Any:
        next(self.events)  # the start of the stream
        start = next(self.events)
        if not isinstance(start, yaml.DocumentStartEvent):
            raise _Ended(Problem(self.path, 1, 1, f"the file is empty, {_ROOT}"))
        if start.version or start.tags:
            self._fault(start, "directives (%YAML, %TAG) are not allowed; remove them")
        first = next(self.events)
        if not isinstance(first, yaml.MappingStartEvent):
            raise self._end(first, f"found {_kind(first)}, {_ROOT}")
        tree = self.value(first, ())
        next(self.events)  # the end of the document
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._fault(after, "a second document starts here; write each contract in a file of its own")
        return tree

    def value(self, event: yaml.Event, at: Path) -> Any:
        self.values[at] = _place(event)
        if isinstance(event, yaml.AliasEvent):
            self._fault(event, f"found the alias *{shortened(str(event.anchor))}; aliases are refused, {_WRITE_OUT}")
            return None
        self._refuse_properties(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(at) >= DEPTH_MAX:
            raise self._end(event, f"nested deeper than {DEPTH_MAX} levels; make it flatter")
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
                self._fault(event, again)
                self._skip(next(self.events), here)
            else:
                self.keys[here] = _place(event)
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
            self._fault(event, f"found {_kind(event)} as a key; write a key as text")
            self._skip(event, (*at, ""))
            return None
        self._refuse_properties(event)
        word = event.value
        if _is_plain(event) and read_plain(word) != (word, None):
            self._fault(event, _fault_of_key(word))
        return word

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if not _is_plain(event):
            return event.value
        value, fault = read_plain(event.value)
        if fault is not None:
            self._fault(event, fault)
        return value

    def _skip(self, event: yaml.Event, at: Path) -> None:
        """Read a value that has no path of its own; what is wrong within it is collected all the same."""
        replace(self, values={}, keys={}).value(event, at)

    def _refuse_properties(self, event: Any) -> None:
        if event.anchor is not None:
            self._fault(event, f"found the anchor &{shortened(event.anchor)}; anchors are refused, {_WRITE_OUT}")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._fault(event, f"found the tag {shortened(tag)}; tags are refused, remove it")

    def _fault(self, event: yaml.Event, message: str) -> None:
        place = _place(event)
        self.problems.append(Problem(self.path, place.line, place.column, message))

    def _end(self, event: yaml.Event, message: str) -> _Ended:
        place = _place(event)
        return _Ended(Problem(self.path, place.line, place.column, message))


_WRITE_OUT = "write the value out where it is needed"


def _place(event: Any) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1)


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return not event.style and event.tag is None


def _kind(event: yaml.Event) -> str:
    if isinstance(event, yaml.ScalarEvent):
        return shown(event.value) if event.value else "nothing"
    kinds = {yaml.AliasEvent: "an alias", yaml.SequenceStartEvent: "a list"}
    return kinds.get(type(event), "a mapping")


def _fault_of_key(word: str) -> str:
    if word == "<<":
        return "found the merge key <<; merging is refused, write the keys out"
    if not word:
        return "found no key; write its name before the colon"
    return f'found the key {shortened(word)}, which YAML may not read as text; write "{shortened(word)}"'


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

_END = "the end of the file"
_TAB = "a tab"


def _unreadable(path: str, text: str) -> Iterator[Problem]:
    if len(text) > LENGTH_MAX:
        yield Problem(path, 1, 1, f"found {len(text)} characters, expected at most {LENGTH_MAX}; split the contract")
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if match := _UNREADABLE.search(line):
            other = f"found the character U+{ord(match[0]):04X}; remove it, or escape it in double quotes"
            yield Problem(path, number, match.start() + 1, _UNREADABLE_WORDING.get(match[0], other))


def _events(path: str, text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _Ended(_syntax_problem(path, text.split("\n"), error)) from error


def _syntax_problem(path: str, lines: list[str], error: yaml.MarkedYAMLError) -> Problem:
    said = str(error.problem)
    place, found = _found(lines, error.problem_mark)
    if error.context_mark is not None and (found == _END or said == _LATE):
        # What is never closed is best shown where it starts; it is noticed only where something else comes.
        place, start = _found(lines, error.context_mark)
        found = found if found == _END else start
    expected, advice = _SYNTAX_WORDING.get(said, (f"which is no YAML: {said}", "quote it if it is text"))
    if found == _TAB:
        expected, advice = "expected spaces", "indent with spaces"
    elif "${" in lines[place.line - 1]:
        advice = 'quote the whole expression: "${ ... }"'
    return Problem(path, place.line, place.column, f"found {found}, {expected}; {advice}")


def _found(lines: list[str], mark: Any) -> tuple[Place, str]:
    """Give the place of a mark and what stands there. The end of the file may be marked one line too far."""
    line = min(mark.line, len(lines) - 1)
    column = mark.column if line == mark.line else len(lines[line])
    rest = lines[line][column:]
    if rest.startswith("\t"):
        return Place(line + 1, column + 1), _TAB
    at_end = not any(later.strip() for later in (rest, *lines[line + 1 :]))
    return Place(line + 1, column + 1), _END if at_end else shown(
        rest.strip()
    ) if rest.strip() else "the end of the line"


# --- What a model refused -----------------------------------------------------------------------------------------

_EXPECTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "float_parsing": "a number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "list_type": "a list",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "set_type": "a list",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "a length of at most {max_length}",
    "string_too_short": "a length of at least {min_length}",
    "string_type": "text",
    "too_long": "a length of at most {max_length}",
    "too_short": "a length of at least {min_length}",
    "tuple_type": "a list",
}
"""Pydantic's types of errors in the words of a contract."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """One fault: where it is, what was found there, and what was expected (which may be empty)."""

    path: Path
    found: str
    expected: str = ""
    key: bool = False


@dataclass(frozen=True, slots=True)
class _Spot:
    """How far a location of pydantic's was followed: the path, what the model declares there, what stands there."""

    path: Path
    declared: Any
    part: Any
    key: bool = False

    def follow(self, location: Path) -> "_Spot":
        """Take each step that leads to a value; the others name a key, or the member of a union that was tried."""
        spot = self
        for step in location:
            spot = spot._step(step)
        return spot

    def known_keys(self) -> list[str]:
        """Give the keys that the model declares here."""
        return [key for option in _options(self.declared) if _is_model(option) for key in _fields(option)]

    def _step(self, step: str | int) -> "_Spot":
        if step == "[key]":
            return replace(self, key=True)
        options = _options(self.declared)
        if len(options) > 1:
            return replace(self, declared=next((it for it in options if _is_labelled(it, step)), Any))
        child = _declared(options[0], step) if options else None
        if child is None and not _holds(self.part, step):
            return self
        return _Spot((*self.path, step), Any if child is None else child, _part(self.part, (step,)))


def _refusal(document: Document, details: Mapping[str, Any], root: _Spot) -> _Refusal:
    location: Path = details["loc"]
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(root.follow(location[:-1]), str(location[-1]))
        case "missing":
            return _missing_key(document, root.follow(location[:-1]), str(location[-1]))
        case "union_tag_not_found":
            return _missing_key(document, root.follow(location), context["discriminator"].strip("'"))
        case "union_tag_invalid":
            path = (*root.follow(location).path, context["discriminator"].strip("'"))
            return _Refusal(path, f"found {shown(context['tag'])}", _choice(context["tag"], context["expected_tags"]))
    spot = root.follow(location)
    found, expected = _worded(details["type"], details["input"], details["msg"], context)
    return _Refusal(spot.path, found, expected, key=spot.key)


def _unknown_key(owner: _Spot, key: str) -> _Refusal:
    known = owner.known_keys()
    near = nearest(key, known)
    hint = f"did you mean {near!r}?" if near else f"expected one of: {', '.join(known) or '(none)'}"
    return _Refusal((*owner.path, key), f"unknown key {shown(key)}; {hint}", key=True)


def _missing_key(document: Document, owner: _Spot, key: str) -> _Refusal:
    """Name the key from where the document ends: what should hold it may be missing too."""
    path = (*owner.path, key)
    present = next((length for length in range(len(path), 0, -1) if path[:length] in document.values), 0)
    return _Refusal(path, f"missing key {'.'.join(map(str, path[present:]))!r}")


def _worded(kind: str, value: Any, message: str, context: Mapping[str, Any]) -> tuple[str, str]:
    """Say what was found and what was expected; a check of the model's own says all in its message."""
    found = f"found {shown(value)}"
    if kind in ("value_error", "assertion_error"):
        return message.removeprefix("Value error, ").removeprefix("Assertion failed, "), ""
    if kind in ("literal_error", "enum"):
        return found, _choice(value, context["expected"])
    if kind in _EXPECTED:
        return found, _EXPECTED[kind].format(**context)
    said, _, expected = message.partition("Input should be ")
    return (found, expected) if expected else (f"{found}: {said}", "")


def _choice(found: Any, allowed: str) -> str:
    """Give what pydantic lists (`'a', 'b' or 'c'`) and, where there is a choice, what was probably meant."""
    words = re.findall(r"'([^']*)'", allowed)
    near = nearest(found, words) if isinstance(found, str) and len(words) > 1 else None
    return f"{allowed}; did you mean {near!r}?" if near else allowed


def _joined(found: str, expected: Iterable[str]) -> str:
    alternatives = " or ".join(dict.fromkeys(it for it in expected if it))
    return f"{found}, expected {alternatives}" if alternatives else found


def _is_told(refusal: _Refusal, document: Document, told: set[Place]) -> bool:
    """Say whether the document's own problems are about this very value. A mapping starts where its first key does."""
    exact = (document.keys if refusal.key else document.values).get(refusal.path)
    is_word = refusal.key or not isinstance(_part(document.tree, refusal.path), dict | list)
    return is_word and exact in told


def _options(declared: Any) -> list[Any]:
    """Give the types that a declaration allows, null aside."""
    if get_origin(declared) is Annotated:
        return _options(get_args(declared)[0])
    if get_origin(declared) in (Union, UnionType):
        return [option for part in get_args(declared) for option in _options(part)]
    return [] if declared is NoneType else [declared]


def _is_labelled(option: Any, label: str | int) -> bool:
    """Say whether pydantic means this member of a union: by its discriminating value, or by its name."""
    if not _is_model(option):
        return False
    tags = (tag for declared in _fields(option).values() for it in _options(declared) for tag in _literals(it))
    return label == option.__name__ or label in tags


def _literals(declared: Any) -> tuple[Any, ...]:
    return get_args(declared) if get_origin(declared) is Literal else ()


def _declared(option: Any, step: str | int) -> Any:
    """Give what a type declares one step below it; None where it does not say."""
    if _is_model(option):
        return _fields(option).get(str(step))
    arguments = [it for it in get_args(option) if it is not Ellipsis]
    return arguments[min(step, len(arguments) - 1) if isinstance(step, int) else -1] if arguments else None


def _is_model(declared: Any) -> bool:
    return isinstance(declared, type) and issubclass(declared, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Give what a model declares, by the keys that a contract writes."""
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else name: field.annotation
        for name, field in model.model_fields.items()
    }


def _holds(part: Any, step: str | int) -> bool:
    return step in part if isinstance(part, dict) else isinstance(part, list) and step in range(len(part))


def _part(tree: Any, path: Path) -> Any:
    """Give what stands at a path of a tree; None for nothing."""
    for step in path:
        if not _holds(tree, step):
            return None
        tree = tree[step]
    return tree
