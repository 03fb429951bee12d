"""What a model refused, said in the words of the contract: where it stands, what was found, what to write. Pure."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from omnibase_core.contracts import patterns
from omnibase_core.contracts.yaml.document import Document, Path, nearest, suggestion
from omnibase_core.contracts.yaml.scalars import shown
from omnibase_core.contracts.yaml.text import TextPosition
from omnibase_core.errors import Problem
from omnibase_core.model_errors import words_of
from omnibase_core.problem_codes import ProblemCode


@dataclass(frozen=True, slots=True)
class Spot:
    """How far a location of pydantic's was followed: the path, what the model declares there, what stands there."""

    path: Path
    declared: Any
    part: Any
    key: bool = False

    def follow(self, location: Path) -> "Spot":
        """Take each step that leads to a value; the others name a key, or the member of a union that was tried."""
        spot = self
        for step in location:
            spot = spot._step(step)
        return spot

    def known_keys(self) -> list[str]:
        """Return the keys that the model declares here."""
        return [key for option in _options(self.declared) if _is_model(option) for key in _fields(option)]

    def _step(self, step: str | int) -> "Spot":
        if step == "[key]":
            return replace(self, key=True)
        options = _options(self.declared)
        if len(options) > 1:
            return replace(self, declared=next((it for it in options if _is_labelled(it, step)), Any))
        child = _declared(options[0], step) if options else None
        if child is None and not holds(self.part, step):
            return self
        return Spot((*self.path, step), Any if child is None else child, part_of(self.part, (step,)))


def home_of(key: str, model: type[BaseModel], *, without: Any) -> str | None:
    """Describe where in a contract, but here, there is such a key, if anywhere: it may be right in the wrong place."""
    places: list[tuple[str, Any]] = [("", model)]
    seen: set[Any] = set()
    for place, declared in places:
        options = _options(declared)
        is_here = any(option in options for option in _options(without))
        for option in options:
            if not _is_model(option):
                # The values of a mapping, or the items of a list.
                step = ".NAME" if get_origin(option) in (dict, Mapping) else ""
                places += [(place + step, it) for it in get_args(option)[-1:]]
                continue
            fields = _fields(option)
            if place and key in fields and not is_here:
                return place
            if option not in seen:
                seen.add(option)
                places += [(f"{place}.{name}".lstrip("."), it) for name, it in fields.items()]
    return None


def pattern_of(declared: Any) -> str:
    """Return the pattern that text is held to by its declaration; none is the empty one."""
    bounds = get_args(declared)[1:] if get_origin(declared) is Annotated else ()
    return next((it.pattern for it in bounds if getattr(it, "pattern", None)), "")


def holds(part: Any, step: str | int) -> bool:
    """Check whether a part of a tree has a key, or a list an index."""
    return step in part if isinstance(part, dict) else isinstance(part, list) and step in range(len(part))


def part_of(tree: Any, path: Path) -> Any:
    """Return what stands at a path of a tree; None for nothing."""
    for step in path:
        if not holds(tree, step):
            return None
        tree = tree[step]
    return tree


def _options(declared: Any) -> list[Any]:
    """Return the types that a declaration allows, null aside."""
    if get_origin(declared) is Annotated:
        return _options(get_args(declared)[0])
    if get_origin(declared) in (Union, UnionType):
        return [option for part in get_args(declared) for option in _options(part)]
    return [] if declared is NoneType else [declared]


def _is_labelled(option: Any, label: str | int) -> bool:
    """Check whether pydantic means this member of a union: by its discriminating value, or by its name."""
    if not _is_model(option):
        return False
    tags = (tag for declared in _fields(option).values() for it in _options(declared) for tag in _literals(it))
    return label == option.__name__ or label in tags


def _literals(declared: Any) -> tuple[Any, ...]:
    return get_args(declared) if get_origin(declared) is Literal else ()


def _declared(option: Any, step: str | int) -> Any:
    """Return what a type declares one step below it; None where it does not say."""
    if _is_model(option):
        return _fields(option).get(str(step))
    arguments = [it for it in get_args(option) if it is not Ellipsis]
    return arguments[min(step, len(arguments) - 1) if isinstance(step, int) else -1] if arguments else None


def _is_model(declared: Any) -> bool:
    return isinstance(declared, type) and issubclass(declared, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return what a model declares, by the keys that a contract writes."""
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else name: _annotated(field)
        for name, field in model.model_fields.items()
    }


def _annotated(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


class InvalidValue(ValueError):
    """What a model's own check refuses, with the kind of fault that it is."""

    def __init__(self, message: str, *, code: ProblemCode, nearest: str | None = None) -> None:
        """Take what was found and what to write; `nearest` is the word that was probably meant."""
        self.code = code
        self.nearest = nearest
        super().__init__(message)


def problems_of(document: Document, error: ValidationError, *, model: type[BaseModel], at: Path = ()) -> list[Problem]:
    """Return each fault that a model found in the part of the document at `at`, at its place and in a contract's words.

    What the document's own problems tell already is left out; what the members of a union expect is told as one.
    """
    told = {TextPosition(problem.line, problem.column) for problem in document.problems}
    root = Spot(at, model, part_of(document.tree, at))
    faults: dict[tuple[TextPosition, str], list[_Refusal]] = {}
    refusals = [_refusal(document, dict(details), root) for details in error.errors(include_url=False)]
    misspelt = {(*it.path[:-1], it.nearest) for it in refusals if it.code == "unknown-key"}
    for refusal in refusals:
        is_there = refusal.code == "missing-key" and refusal.path in misspelt
        if not is_there and not _is_told(refusal, document, told):
            place = document.place(refusal.path, key=refusal.key)
            faults.setdefault((place, refusal.found), []).append(refusal)
    return [_problem(document, place, refusals) for (place, _), refusals in faults.items()]


def as_meant(document: Document, error: ValidationError, *, model: type[BaseModel]) -> Document:
    """Read each misspelt key as the one that was probably meant, if that is not there, so as to look at its value."""
    root = Spot((), model, document.tree)
    for details in error.errors(include_url=False):
        if details["type"] == "extra_forbidden":
            *above, key = details["loc"]
            owner = root.follow(tuple(above))
            near = nearest(str(key), owner.known_keys())
            if near is not None and not holds(part_of(document.tree, owner.path), near):
                document = document.renamed((*owner.path, key), near)
    return document


def without_faults(tree: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """Return what is left of a tree without the parts that a model refused: in it, more may be wrong."""
    rest: dict[str, Any] = deepcopy(dict(tree))
    for details in error.errors():
        if details["type"] == "missing":
            continue  # It is not there; or it is by now, where a misspelt key was read as it (`as_meant`).
        *above, last = (step for step in details["loc"] if step != "[key]")
        owner = part_of(rest, tuple(above))
        if isinstance(owner, list) and isinstance(last, int):
            # What comes after would lose its place.
            owner[:] = owner[:last]
        elif holds(owner, last):
            del owner[last]
    return rest


@dataclass(frozen=True, slots=True)
class _Refusal:
    """One fault: where it is, what was found there, and what was expected (which may be empty)."""

    path: Path
    found: str
    expected: str = ""
    key: bool = False
    code: ProblemCode = "wrong-value"
    nearest: str | None = None


def _refusal(document: Document, details: Mapping[str, Any], root: Spot) -> _Refusal:
    location: Path = details["loc"]
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(root, root.follow(location[:-1]), str(location[-1]))
        case "missing":
            return _missing_key(document, root.follow(location[:-1]), str(location[-1]))
        case "union_tag_not_found":
            return _missing_key(document, root.follow(location), context["discriminator"].strip("'"))
        case "union_tag_invalid":
            path = (*root.follow(location).path, context["discriminator"].strip("'"))
            expected, near = _choice(context["tag"], context["expected_tags"])
            return _Refusal(path, f"found {shown(context['tag'])}", expected, nearest=near)
        case "enum" | "literal_error":
            expected, near = _choice(details["input"], context["expected"])
            return _Refusal(root.follow(location).path, f"found {shown(details['input'])}", expected, nearest=near)
    spot = root.follow(location)
    found, expected = _worded(details)
    expected += _advice(expected, details["input"], key=str(location[-1]) if location else "")
    pattern = context.get("pattern") or (pattern_of(spot.declared) if details["type"] == "string_type" else "")
    if correction := patterns.corrected(pattern, details["input"]):
        code: ProblemCode = "wrong-type" if details["type"] == "string_type" else "wrong-value"
        told = f"{correction[0]}; write {correction[1]}"
        return _Refusal(spot.path, found, told, key=spot.key, code=code, nearest=correction[1])
    expected = patterns.expected(pattern) or expected
    near = getattr(context.get("error"), "nearest", None)
    return _Refusal(spot.path, found, expected, key=spot.key, code=_code(details["type"], context), nearest=near)


def _unknown_key(root: Spot, owner: Spot, key: str) -> _Refusal:
    home = home_of(key, root.declared, without=owner.declared)
    hint, near = suggestion(key, owner.known_keys(), otherwise=home and f"it belongs in {home}")
    return _Refusal((*owner.path, key), f"unknown key {shown(key)}; {hint}", key=True, code="unknown-key", nearest=near)


def _missing_key(document: Document, owner: Spot, key: str) -> _Refusal:
    """Name the key from where the document ends: what should hold it may be missing too."""
    path = (*owner.path, key)
    present = next((length for length in range(len(path), 0, -1) if path[:length] in document.values), 0)
    return _Refusal(path, f"missing key {'.'.join(map(str, path[present:]))!r}", code="missing-key")


def _worded(details: Mapping[str, Any]) -> tuple[str, str]:
    """Describe what was found and what was expected; a check of the model's own says all in its message."""
    said, expected = words_of(details)
    found = f"found {shown(details['input'])}"
    if expected:
        return found, expected
    return (said if details["type"] in ("value_error", "assertion_error") else f"{found}: {said}"), ""


def _advice(expected: str, value: Any, *, key: str) -> str:
    """Describe what to write, where it can be told from what was found."""
    if isinstance(value, str) and value.startswith("${secret."):
        return "; a secret is text, so write the value itself"
    if expected == "a list" and isinstance(value, Mapping):
        return "; write '- ' before each item"
    if expected == "a list" and isinstance(value, str) and _PLAIN.fullmatch(value):
        return f"; write [{value}]"
    if expected == "an integer" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if expected == "a number" and key.endswith("_s") and (seconds := patterns.seconds(value)):
        return f" of seconds; write {seconds}"
    return ""


_PLAIN = re.compile(r"[\w.:/-]{1,40}")


def _code(kind: str, context: Mapping[str, Any]) -> ProblemCode:
    """Distinguish a value of another type from one of the right type that is not allowed."""
    error = context.get("error")
    if isinstance(error, InvalidValue):
        return error.code
    return "wrong-type" if kind.endswith(("_type", "_parsing", "_from_float")) else "wrong-value"


def _choice(found: Any, allowed: str) -> tuple[str, str | None]:
    """Return what pydantic lists (`'a', 'b' or 'c'`) and, where there is a choice, what was probably meant."""
    words = re.findall(r"'([^']*)'", allowed)
    near = nearest(found, words) if isinstance(found, str) and len(words) > 1 else None
    return (f"{allowed}; did you mean {near!r}?" if near else allowed), near


def _problem(document: Document, place: TextPosition, refusals: Sequence[_Refusal]) -> Problem:
    """Report as one what the members of a union said of one value."""
    first = refusals[0]
    alternatives = " or ".join(dict.fromkeys(it.expected for it in refusals if it.expected))
    message = f"{first.found}, expected {alternatives}" if alternatives else first.found
    near = next((it.nearest for it in refusals if it.nearest), None)
    return document.problem_at(place, message, code=first.code, nearest=near)


def _is_told(refusal: _Refusal, document: Document, told: set[TextPosition]) -> bool:
    """Check whether the document's own problems are about this value. A mapping starts at its first key."""
    exact = (document.keys if refusal.key else document.values).get(refusal.path)
    is_word = refusal.key or not isinstance(part_of(document.tree, refusal.path), dict | list)
    return is_word and exact in told
