"""What a node's function takes and gives, read from its annotations, and the one way to call it. Pure.

A function takes one JSON value and gives a JSON object. Where its parameter or its result is annotated with a pydantic
model, the argument is validated into it and the result is dumped. Wherever functions are called, on the loop or in a
worker process, they are called through this.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from omnibase_core.errors import CommandRejected, HandlerError

_OBJECT = TypeAdapter(dict[str, JsonValue], config=ConfigDict(strict=True))


@dataclass(frozen=True, slots=True)
class NodeFunction:
    """A pure function under the name by which contracts know it.

    `takes` and `gives` are models, or None for any JSON; `annotations` has what is written of the two, model or not.
    """

    name: str
    function: Callable[[Any], Any]
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, function: Callable[[Any], Any]) -> "NodeFunction":
        """Read what a function takes and gives. Raises ValueError, which says what is wrong with it."""
        try:
            parameters = list(signature(function).parameters.values())
        except (TypeError, ValueError):
            # What is written in C may not tell what it takes.
            return cls(name, function)
        needed = [it for it in parameters if it.default is Parameter.empty and it.kind not in _VARIADIC]
        placed = [it for it in parameters if it.kind in _PLACED]
        if not placed or len(needed) > 1 or (needed and needed[0] is not placed[0]):
            raise ValueError(f"{name} is called with one argument, but it takes: {_listed(parameters)}")
        hints = _hints(name, function)
        annotations = {"takes": hints.get(placed[0].name), "gives": hints.get("return")}
        return cls(name, function, _model(annotations["takes"]), _model(annotations["gives"]), annotations)

    def call(self, argument: Any) -> Mapping[str, Any]:
        """Call the function. What it raises itself is its node's bug.

        Raises CommandRejected for an argument off its model, HandlerError for a result that is no object.
        """
        return self._dumped(self.function(self._validated(argument)))

    def _validated(self, argument: Any) -> Any:
        if self.takes is None:
            return argument
        try:
            return self.takes.model_validate(argument)
        except ValidationError as error:
            faults = [f"{_path(it['loc'])}: {it['msg']}" for it in error.errors(include_url=False)]
            raise CommandRejected("payload_invalid", "; ".join(faults), details={"faults": faults}) from error

    def _dumped(self, result: Any) -> Mapping[str, Any]:
        if isinstance(result, BaseModel):
            dumped: dict[str, Any] = result.model_dump(mode="json", by_alias=True)
            return dumped
        if self.gives is not None:
            found, expected = type(result).__name__, self.gives.__name__
            raise HandlerError("invalid_result", f"{self.name}: found {found}, expected {expected}")
        return json_object(self.name, result)


def json_object(name: str, result: Any) -> Mapping[str, Any]:
    """Return what a function has given, if it is a JSON object. Raises HandlerError, which names the function."""
    try:
        return _OBJECT.validate_python(result)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(step) for step in fault["loc"]) or "its result"
        raise HandlerError("invalid_result", f"{name}: {where}: {fault['msg']}") from error


_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_PLACED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)


def _hints(name: str, function: Callable[[Any], Any]) -> Mapping[str, Any]:
    try:
        return get_type_hints(function)
    except TypeError:
        # It is no function, but something else that can be called.
        return {}
    except Exception as error:
        raise ValueError(f"the annotations of {name} cannot be read: {type(error).__name__}: {error}") from error


def _model(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _listed(parameters: list[Parameter]) -> str:
    return ", ".join(str(it) for it in parameters) or "none"


def _path(steps: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
