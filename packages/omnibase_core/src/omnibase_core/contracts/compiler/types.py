"""Whether what a mapping gives fits what is expected of it, as far as that is known before there is a value. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.yaml.document import Path, suggestion
from omnibase_core.contracts.yaml.scalars import shown
from omnibase_core.expressions import Type, is_expression, kind_of
from omnibase_core.model_errors import place_in, words_of
from omnibase_core.problem_codes import ProblemCode


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeProblem:
    """One thing that does not fit: where it is written, and what is wrong with it."""

    at: Path
    message: str
    code: ProblemCode = "wrong-type"
    key: bool = False
    nearest: str | None = None


def misfits(tree: Any, leaves: Mapping[Path, Type], expected: Type, at: Path) -> Iterator[TypeProblem]:
    """Yield what is certain not to fit in a mapping; `leaves` has the types of its expressions."""
    if expected.dynamic:
        return
    if at in leaves:
        if fault := clash(leaves[at], expected):
            yield TypeProblem(at=at, message=f"the expression {fault}")
    elif isinstance(tree, Mapping) and expected.may_be(("map",)):
        yield from _misfits_of_object(tree, leaves, expected, at)
    elif isinstance(tree, list) and expected.may_be(("list",)):
        for index, item in enumerate(tree):
            yield from misfits(item, leaves, expected.inner(), (*at, index))
    elif not _fits(kind_of(tree), expected):
        yield TypeProblem(at=at, message=f"found {shown(tree)}, expected {expected}")


def misfits_of_leaves(tree: Any, leaves: Mapping[Path, Type], expected: Type, at: Path) -> Iterator[TypeProblem]:
    """Return what is certain not to fit of the expressions in a mapping, where another looks at the rest."""
    return (misfit for misfit in misfits(tree, leaves, expected, at) if misfit.at in leaves)


def misfits_of_constants(request: Mapping[str, Any], model: type[BaseModel], at: Path) -> Iterator[TypeProblem]:
    """Yield what a model refuses of the keys of a request that hold no expression, and of one where none does."""
    known = {field.alias or name for name, field in model.model_fields.items()}
    constant = {key: value for key, value in request.items() if key in known and not _holds_expression(value)}
    is_whole = len(constant) == len(request)
    try:
        model.model_validate(constant)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            location = details["loc"]
            # What keys are to each other is known where all of them are; one that is missing is told elsewhere.
            if location[0] in constant if location else is_whole:
                said, expected = words_of(details)
                told = said or f"found {shown(details['input'])}, expected {expected}"
                yield TypeProblem(at=(*at, *place_in(request, location)), message=told, code="wrong-value")


def clash(found: Type, expected: Type) -> str | None:
    """Describe why no value of one type is one of another; None where one may be."""
    if found.dynamic or expected.dynamic or not found.kinds:
        return None
    if not any(_fits(kind, expected) for kind in found.kinds):
        advice = "; write int(...) around it" if found.kinds == {"double"} and "int" in expected.kinds else ""
        return f"gives {found}, expected {expected}{advice}"
    if found.kinds == {"list"} and found.item is not None:
        inner = clash(found.item, expected.inner())
        return None if inner is None else f"gives an array whose item {inner}"
    return _clash_of_objects(found, expected) if found.kinds == {"map"} else None


def _clash_of_objects(found: Type, expected: Type) -> str | None:
    for name, field in expected.fields.items():
        there = found.fields.get(name)
        if there is None and found.extra is None and field.required:
            return f"gives an object without {name!r}, which is required"
        if there is not None and (inner := clash(there.type, field.type)):
            return f"gives an object whose {name!r} {inner}"
    if expected.extra is None:
        surplus = (name for name, it in found.fields.items() if it.required and name not in expected.fields)
        first = next(surplus, None)
        if first is not None:
            return f"gives an object with {first!r}, expected only: {', '.join(expected.fields) or '(none)'}"
    return None


def _misfits_of_object(
    tree: Mapping[str, Any], leaves: Mapping[Path, Type], expected: Type, at: Path
) -> Iterator[TypeProblem]:
    meant = set()
    for key, value in tree.items():
        declared = expected.fields.get(key)
        if declared is None and expected.extra is None:
            hint, near = suggestion(key, expected.fields)
            meant.add(near)
            told = f"unknown key {key!r}; {hint}"
            yield TypeProblem(at=(*at, key), message=told, code="unknown-key", key=True, nearest=near)
        elif (inner := expected.extra if declared is None else declared.type) is not None:
            yield from misfits(value, leaves, inner, (*at, key))
    for name, field in expected.fields.items():
        if field.required and name not in tree and name not in meant:
            yield TypeProblem(at=at, message=f"missing key {name!r}", code="missing-key")


def _fits(kind: str, expected: Type) -> bool:
    return kind in expected.kinds or (kind == "int" and "double" in expected.kinds)


def _holds_expression(tree: Any) -> bool:
    if isinstance(tree, Mapping):
        return any(map(_holds_expression, tree.values()))
    return any(map(_holds_expression, tree)) if isinstance(tree, list) else is_expression(tree)
