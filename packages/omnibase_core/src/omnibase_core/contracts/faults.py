"""What a model refused, said in the words of the contract: where it stands, what was found, what to write. Pure."""

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.document import Document, Path, nearest
from omnibase_core.errors import Problem

_EXPECTED = {
    "string_type": "text: quote it",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} character",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
}


def problems_of(
    document: Document, error: ValidationError, *, model: type[BaseModel], at: Path = ()
) -> Sequence[Problem]:
    """Give each fault that a model found in the part of the document below `at`, at its place."""
    return [_problem(document, dict(fault), model, at) for fault in error.errors()]


def _problem(document: Document, fault: dict[str, Any], model: type[BaseModel], at: Path) -> Problem:
    location: Path = tuple(step for step in fault["loc"] if step != "[key]")
    path = (*at, *location)
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            return document.problem(path, _unknown_key(location, model), key=True)
        case "missing":
            return document.problem(path[:-1], f"missing key {path[-1]!r}")
        case "value_error":
            return document.problem(path, str(context.get("error", fault["msg"])))
        case "literal_error" | "enum":
            return document.problem(path, _not_allowed(fault["input"], str(context["expected"])))
        case kind:
            expected = _EXPECTED.get(kind, "").format(**context) or fault["msg"]
            return document.problem(path, f"found {_shown(fault['input'])}, expected {expected}")


def _unknown_key(location: Path, model: type[BaseModel]) -> str:
    key = str(location[-1])
    known = _keys_at(model, location[:-1])
    near = nearest(key, known)
    if near is not None:
        return f"unknown key {key!r}; did you mean {near!r}?"
    return f"unknown key {key!r}; expected one of: {', '.join(known)}"


def _keys_at(annotation: Any, location: Path) -> list[str]:
    """Walk the model's annotations along a location, and give the keys that may stand there."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in option.model_fields.items()}
            if not location:
                return list(fields)
            if location[0] in fields:
                return _keys_at(fields[str(location[0])], location[1:])
        elif location and get_args(option):
            return _keys_at(get_args(option)[-1], location[1:])
    return []


def _options(annotation: Any) -> Sequence[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [option for part in get_args(annotation) for option in _options(part)]
    return [annotation]


def _not_allowed(found: Any, expected: str) -> str:
    allowed = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    near = nearest(str(found), allowed)
    hint = f"did you mean {near!r}?" if near else f"expected one of: {', '.join(allowed)}"
    return f"found {_shown(found)}; {hint}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    text = repr(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
