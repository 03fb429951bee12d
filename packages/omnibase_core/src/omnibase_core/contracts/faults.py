"""What a model refused, said in the words of the contract: where it stands, what was found, what to write. Pure."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts import forms
from omnibase_core.contracts.declared import Spot, holds, home_of, part_of, pattern_of
from omnibase_core.contracts.document import Document, Path, nearest, suggestion
from omnibase_core.contracts.scalars import shown
from omnibase_core.contracts.text import Place
from omnibase_core.errors import Problem
from omnibase_core.model_words import words_of
from omnibase_core.problem_codes import ProblemCode


class Refused(ValueError):
    """What a model's own check refuses, with the kind of fault that it is."""

    def __init__(self, message: str, *, code: ProblemCode, nearest: str | None = None) -> None:
        """Say what was found and what to write; `nearest` is the word that was probably meant."""
        self.code = code
        self.nearest = nearest
        super().__init__(message)


def problems_of(document: Document, error: ValidationError, *, model: type[BaseModel], at: Path = ()) -> list[Problem]:
    """Give each fault that a model found in the part of the document at `at`, at its place and in a contract's words.

    What the document's own problems tell already is left out; what the members of a union expect is told as one.
    """
    told = {Place(problem.line, problem.column) for problem in document.problems}
    root = Spot(at, model, part_of(document.tree, at))
    faults: dict[tuple[Place, str], list[_Refusal]] = {}
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
    """Give what is left of a tree without the parts that a model refused: in it, more may be wrong."""
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
    if correction := forms.corrected(pattern, details["input"]):
        code: ProblemCode = "wrong-type" if details["type"] == "string_type" else "wrong-value"
        told = f"{correction[0]}; write {correction[1]}"
        return _Refusal(spot.path, found, told, key=spot.key, code=code, nearest=correction[1])
    expected = forms.expected(pattern) or expected
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
    """Say what was found and what was expected; a check of the model's own says all in its message."""
    said, expected = words_of(details)
    found = f"found {shown(details['input'])}"
    if expected:
        return found, expected
    return (said if details["type"] in ("value_error", "assertion_error") else f"{found}: {said}"), ""


def _advice(expected: str, value: Any, *, key: str) -> str:
    """Say what to write, where it can be told from what was found."""
    if isinstance(value, str) and value.startswith("${secret."):
        return "; a secret is text, so write the value itself"
    if expected == "a list" and isinstance(value, Mapping):
        return "; write '- ' before each item"
    if expected == "a list" and isinstance(value, str) and _PLAIN.fullmatch(value):
        return f"; write [{value}]"
    if expected == "an integer" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if expected == "a number" and key.endswith("_s") and (seconds := forms.seconds(value)):
        return f" of seconds; write {seconds}"
    return ""


_PLAIN = re.compile(r"[\w.:/-]{1,40}")


def _code(kind: str, context: Mapping[str, Any]) -> ProblemCode:
    """Tell a value of another type from one of the right type that is not allowed."""
    error = context.get("error")
    if isinstance(error, Refused):
        return error.code
    return "wrong-type" if kind.endswith(("_type", "_parsing", "_from_float")) else "wrong-value"


def _choice(found: Any, allowed: str) -> tuple[str, str | None]:
    """Give what pydantic lists (`'a', 'b' or 'c'`) and, where there is a choice, what was probably meant."""
    words = re.findall(r"'([^']*)'", allowed)
    near = nearest(found, words) if isinstance(found, str) and len(words) > 1 else None
    return (f"{allowed}; did you mean {near!r}?" if near else allowed), near


def _problem(document: Document, place: Place, refusals: Sequence[_Refusal]) -> Problem:
    """Tell as one what the members of a union said of one value."""
    first = refusals[0]
    alternatives = " or ".join(dict.fromkeys(it.expected for it in refusals if it.expected))
    message = f"{first.found}, expected {alternatives}" if alternatives else first.found
    near = next((it.nearest for it in refusals if it.nearest), None)
    return document.problem_at(place, message, code=first.code, nearest=near)


def _is_told(refusal: _Refusal, document: Document, told: set[Place]) -> bool:
    """Say whether the document's own problems are about this very value. A mapping starts where its first key does."""
    exact = (document.keys if refusal.key else document.values).get(refusal.path)
    is_word = refusal.key or not isinstance(part_of(document.tree, refusal.path), dict | list)
    return is_word and exact in told
