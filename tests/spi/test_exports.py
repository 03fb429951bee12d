"""What `omnibase_spi` exports: all that a plug-in's author meets in the signatures and docstrings of its Protocols."""

import re
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from inspect import getdoc, isclass
from types import FunctionType
from typing import Any

import pytest

import omnibase_spi
from omnibase_core import errors

EXPORTED = {name: getattr(omnibase_spi, name) for name in omnibase_spi.__all__}
ERRORS = {name for name, it in vars(errors).items() if isclass(it) and issubclass(it, errors.OnexError)}


def signatures_of(kind: Any) -> Iterator[Any]:
    """Yield what is written as a type in a Protocol's methods, properties and attributes, or in a value's fields."""
    if not isclass(kind):
        yield kind
        return
    if typing.is_typeddict(kind) or is_dataclass(kind) or issubclass(kind, tuple) or is_protocol(kind):
        yield from typing.get_type_hints(kind).values()
    for member in vars(kind).values():
        function = member.fget if isinstance(member, property) else member
        if is_protocol(kind) and isinstance(function, FunctionType):
            yield from typing.get_type_hints(function).values()


def is_protocol(kind: Any) -> bool:
    """Check whether a class is a Protocol itself."""
    return getattr(kind, "_is_protocol", False)


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes of this project that a type is made of."""
    if isclass(hint) and hint.__module__.startswith("omnibase_"):
        yield hint
    for part in typing.get_args(hint):
        for it in part if isinstance(part, list) else [part]:
            yield from classes_in(it)


@pytest.mark.parametrize("name", EXPORTED)
def test_what_a_signature_names_is_exported(name: str) -> None:
    """Nobody who implements a Protocol has to look for a type in the rooms of core."""
    named = {it for hint in signatures_of(EXPORTED[name]) for it in classes_in(hint)}
    assert {it.__name__ for it in named} - EXPORTED.keys() == set()


@pytest.mark.parametrize("name", [name for name, it in EXPORTED.items() if is_protocol(it)])
def test_the_errors_that_a_protocol_tells_of_are_exported(name: str) -> None:
    """What a method raises is written in its docstring."""
    told = " ".join(getdoc(it) or "" for it in [EXPORTED[name], *vars(EXPORTED[name]).values()])
    assert ERRORS & set(re.findall(r"\w+", told)) - EXPORTED.keys() == set()


def test_the_aliases_of_the_ports_are_exported() -> None:
    """A union or a sequence that signatures name stands there by its name, too."""
    assert {"Happening", "Headers"} <= EXPORTED.keys()
