"""What a model declares at a place of a contract, and what stands there: pydantic's locations, followed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from omnibase_core.contracts.document import Path


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
        """Give the keys that the model declares here."""
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
    """Say where in a contract, but here, there is such a key, if anywhere: it may be right in the wrong place."""
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
    """Give the pattern that text is held to by its declaration; none is the empty one."""
    bounds = get_args(declared)[1:] if get_origin(declared) is Annotated else ()
    return next((it.pattern for it in bounds if getattr(it, "pattern", None)), "")


def holds(part: Any, step: str | int) -> bool:
    """Say whether a part of a tree has a key, or a list an index."""
    return step in part if isinstance(part, dict) else isinstance(part, list) and step in range(len(part))


def part_of(tree: Any, path: Path) -> Any:
    """Give what stands at a path of a tree; None for nothing."""
    for step in path:
        if not holds(tree, step):
            return None
        tree = tree[step]
    return tree


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
        field.validation_alias if isinstance(field.validation_alias, str) else name: _annotated(field)
        for name, field in model.model_fields.items()
    }


def _annotated(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
