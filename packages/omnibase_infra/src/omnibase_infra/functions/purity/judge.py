"""Judges what a function refers to: an object that is there already, whether or not it is called."""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import fields
from functools import _lru_cache_wrapper, partial
from inspect import isasyncgenfunction, iscoroutinefunction
from types import BuiltinFunctionType, FunctionType, GenericAlias, MethodWrapperType, ModuleType
from typing import Any

from omnibase_infra.functions.purity.findings import Impurity
from omnibase_infra.functions.purity.known import LOCAL_TIME, MUTATORS, module_of, name_of, verdict
from omnibase_infra.functions.purity.values import (
    CHANGEABLE,
    Bound,
    Fresh,
    Known,
    Value,
    callables_in,
    elements_of,
    owner_of,
)
from omnibase_infra.functions.purity.world import FunctionScope, World, text_of

_TOO_MANY = 200
_BEFORE = {"__init__", "__new__", "__post_init__", "__init_subclass__"}
"""What has run by the time that an object is there."""


class Judge:
    """Looks once at each object that functions refer to, and has the functions of read packages read."""

    def __init__(self, world: World) -> None:
        """Add to what is known."""
        self._world = world
        self._seen: set[Known] = set()

    def refer(self, value: Value, scope: FunctionScope, node: ast.AST) -> None:
        """Judge whatever a value may be."""
        for atom in value:
            if isinstance(atom, Bound):
                self._method(atom, scope, node)
            elif isinstance(atom, Known):
                self._judge(atom, scope, node)

    def _judge(self, atom: Known, scope: FunctionScope, node: ast.AST) -> None:
        self._world.spend()
        thing = atom.thing
        if isinstance(thing, ModuleType | GenericAlias):
            return
        if isinstance(thing, FunctionType):
            self._function(thing, scope, node)
        elif isinstance(thing, type):
            self._class(atom, scope, node)
        elif isinstance(thing, _lru_cache_wrapper):
            if verdict(name_of(thing.__wrapped__)) is not None:
                self._world.found(scope, node, Impurity.CACHE, f"{text_of(node)} keeps results between calls")
            self._judge(Known(thing.__wrapped__), scope, node)
        elif isinstance(thing, partial):
            for part in callables_in(thing):
                self._judge(Known(part), scope, node)
        elif isinstance(thing, BuiltinFunctionType | MethodWrapperType):
            self._builtin(thing, scope, node)
        else:
            self._object(atom, scope, node)

    def _method(self, method: Bound, scope: FunctionScope, node: ast.AST) -> None:
        function, owner = method.function.thing, method.owner
        if isinstance(owner, Known) and name_of(type(owner.thing)) == "random.Random":
            self._world.found(scope, node, Impurity.RANDOMNESS, f"{text_of(node)} rolls dice that outlive the call")
        elif isinstance(owner, Known) and function.__name__ in MUTATORS and isinstance(owner.thing, CHANGEABLE):
            self._world.found(scope, node, Impurity.STATE, f"{text_of(node)} changes what outlives the call")
        else:
            self._judge(method.function, scope, node)
            self._belongs(function, owner, scope)

    def _belongs(self, function: Any, owner: Known | Fresh, scope: FunctionScope) -> None:
        """Let a method that is read know its object."""
        if isinstance(function, FunctionType) and self._world.reads(module_of(function)):
            for inner in self._world.functions(function, scope):
                self._world.call(inner, [frozenset({owner})], {})

    def _function(self, function: FunctionType, scope: FunctionScope, node: ast.AST) -> None:
        if not self._world.reads(module_of(function)):
            self._name(name_of(function), scope, node)
            for part in callables_in(function):
                inner = elements_of(part) or [Known(part)]
                for atom in inner:
                    if isinstance(atom, Known) and (callable(atom.thing) and atom not in self._seen):
                        self._seen.add(atom)
                        self._judge(atom, scope, node)
            return
        if iscoroutinefunction(function) or isasyncgenfunction(function):
            self._world.found(scope, node, Impurity.ASYNC, f"{function.__name__} is async")
        if not self._world.functions(function, scope) and not is_generated(function):
            text = f"the source of {module_of(function)}:{function.__qualname__} is not to be found"
            self._world.found(scope, node, Impurity.UNREADABLE, text)

    def _class(self, atom: Known, scope: FunctionScope, node: ast.AST) -> None:
        kind = atom.thing
        if not self._world.reads(module_of(kind)):
            self._name(name_of(kind), scope, node)
        elif atom not in self._seen:
            self._seen.add(atom)
            for base in kind.__mro__[1:]:
                self._judge(Known(base), scope, node)
            for function, owner in _called_by_python(kind):
                self._judge(Known(function), scope, node)
                self._belongs(function, owner, scope)

    def _builtin(self, function: Any, scope: FunctionScope, node: ast.AST) -> None:
        """Judge what is written in C: a function, or a method of an object that outlives the call."""
        owner = owner_of(function)
        if owner is not None and function.__name__ in MUTATORS and _keeps_state(owner):
            self._world.found(scope, node, Impurity.STATE, f"{text_of(node)} changes what outlives the call")
        elif owner is not None and name_of(type(owner)) == "random.Random":
            self._world.found(scope, node, Impurity.RANDOMNESS, f"{text_of(node)} is {name_of(function)}")
        elif not self._world.reads(module_of(function)):
            self._name(name_of(function), scope, node)

    def _object(self, atom: Known, scope: FunctionScope, node: ast.AST) -> None:
        thing = atom.thing
        name = name_of(thing)
        if hasattr(type(thing), "__next__") and not self._world.reads(type(thing).__module__):
            text = f"{text_of(node)} is an iterator that outlives the call"
            self._world.found(scope, node, Impurity.STATE, text)
        elif name == "random.Random":
            self._world.found(scope, node, Impurity.STATE, f"{text_of(node)} is a generator that outlives the call")
        elif self._world.reads(type(thing).__module__):
            self._judge(Known(type(thing)), scope, node)
            for function, _ in _called_by_python(type(thing)):
                if getattr(function, "__name__", "") not in _BEFORE:
                    self._belongs(function, atom, scope)
        elif thing is vars(builtins):
            self._world.found(scope, node, Impurity.DYNAMIC, f"{text_of(node)} is __builtins__")
        elif (impurity := verdict(name)) is not None:
            what = name if name != name_of(type(thing)) else f"an object of {name}"
            self._world.found(scope, node, impurity, f"{text_of(node)} is {what}")
        elif atom not in self._seen:
            self._seen.add(atom)
            for inner in list(elements_of(thing))[:_TOO_MANY]:
                self.refer(frozenset({inner}), scope, node)

    def _name(self, name: str, scope: FunctionScope, node: ast.AST) -> None:
        if name not in LOCAL_TIME and (impurity := verdict(name)) is not None:
            short = name.removeprefix("builtins.")
            written = short if isinstance(node, ast.Import | ast.ImportFrom) else text_of(node)
            text = written if written == short else f"{written} is {short}"
            self._world.found(scope, node, impurity, text)


def is_generated(function: FunctionType) -> bool:
    """Check whether the standard library wrote a method for a class: of a dataclass or a named tuple."""
    return function.__name__.startswith("__") and function.__code__.co_filename.startswith("<")


def _keeps_state(owner: Any) -> bool:
    return isinstance(owner, CHANGEABLE) or not isinstance(owner, tuple | frozenset | str | bytes | int | float)


def _called_by_python(kind: type) -> Iterator[tuple[Any, Known | Fresh]]:
    """Yield the methods of a class that no call names: operators, validators, factories of fields."""
    for name, member in vars(kind).items():
        function = getattr(member, "__func__", member)
        if isinstance(function, FunctionType) and name.startswith("__") and not is_generated(function):
            yield function, Known(kind) if name in {"__new__", "__init_subclass__"} else Fresh(kind)
    for validator in _validators(kind):
        yield getattr(validator, "__func__", validator), Fresh(kind)
    for field in getattr(kind, "__dataclass_fields__", {}).values():
        if callable(field.default_factory):
            yield field.default_factory, Fresh(kind)
    for field in getattr(kind, "__pydantic_fields__", {}).values():
        if field.default_factory is not None:
            yield field.default_factory, Fresh(kind)


def _validators(kind: type) -> Iterator[Any]:
    """Yield the functions that pydantic calls for a model."""
    decorators = getattr(kind, "__pydantic_decorators__", None)
    for field in fields(decorators) if decorators is not None else ():
        found = getattr(decorators, field.name)
        yield from (it.func for it in found.values())
