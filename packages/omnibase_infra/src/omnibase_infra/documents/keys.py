"""Which keys the contract languages declare, and in which order: read off the models. Pure."""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel


def keys_of(declared: Any) -> list[str]:
    """Give the keys of a model in their order; none for what is no model."""
    model = _model_of(declared)
    return [] if model is None else [_key(name, model) for name in model.model_fields]


def below(declared: Any, key: str | None) -> Any:
    """Give what is declared for a key of a mapping, or for the items of a list."""
    model = _model_of(declared)
    if model is not None:
        fields = {_key(name, model): it.annotation for name, it in model.model_fields.items()}
        return fields.get(str(key))
    arguments = [arguments for it in _options(declared) if (arguments := get_args(it))]
    return arguments[0][-1] if arguments else None


def _key(name: str, model: type[BaseModel]) -> str:
    return model.model_fields[name].alias or name


def _model_of(declared: Any) -> type[BaseModel] | None:
    return next((it for it in _options(declared) if isinstance(it, type) and issubclass(it, BaseModel)), None)


def _options(declared: Any) -> list[Any]:
    if get_origin(declared) is Annotated:
        return _options(get_args(declared)[0])
    if get_origin(declared) in (Union, UnionType):
        return [it for part in get_args(declared) for it in _options(part) if it is not NoneType]
    return [declared]
