"""What a call may give, and what it may change."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodWrapperType
from typing import Any

from omnibase_infra.functions.purity.findings import Impurity
from omnibase_infra.functions.purity.judge import is_generated
from omnibase_infra.functions.purity.known import (
    LOCAL_TIME,
    MUTATING_FUNCTIONS,
    MUTATORS,
    ORDERED,
    module_of,
    name_of,
    verdict,
)
from omnibase_infra.functions.purity.values import (
    C_METHODS,
    CHANGEABLE,
    CONTAINERS,
    DATA,
    MISSING,
    Atom,
    Bound,
    Closure,
    Fresh,
    Inside,
    Known,
    Value,
    elements,
    held,
    is_set,
    joined,
    known,
    looked_up,
    owner_of,
)
from omnibase_infra.functions.purity.world import FunctionScope, World, text_of

_SHALLOW = ORDERED | {"builtins.sorted", "builtins.set", "builtins.frozenset", "copy.copy", "builtins.type"}
"""These make a new container of what the old one holds."""
_GIVES_ITS_ARGUMENT = {"builtins.min", "builtins.max", "builtins.next", "functools.reduce", "operator.getitem"}
_GIVES_DATA = {"copy.deepcopy", "builtins.len", "builtins.sum", "builtins.any", "builtins.all", "builtins.str"}
_GIVES_SETS = {"union", "intersection", "difference", "symmetric_difference", "copy"}
_BY_NAME = {"operator.attrgetter", "operator.methodcaller"}
_PLAIN = (str, bytes, int, float, bool, complex, *CONTAINERS, range, type, object)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What a call is given."""

    given: Sequence[Value]
    named: Mapping[str, Value]
    rest: Value
    node: ast.Call

    @property
    def all(self) -> Value:
        """Everything together."""
        return joined([*self.given, *self.named.values(), self.rest])

    @property
    def count(self) -> int:
        """How many there are; one that is written None does not count."""
        written = [*self.node.args, *(it.value for it in self.node.keywords)]
        return sum(1 for it in written if not (isinstance(it, ast.Constant) and it.value is None))

    def after(self, owner: Value) -> "Arguments":
        """Put the object of a method in front."""
        return Arguments(given=[owner, *self.given], named=self.named, rest=self.rest, node=self.node)


class Calls:
    """Follows calls into functions that are read, and knows the others by name."""

    def __init__(self, world: World) -> None:
        """Add to what is known."""
        self._world = world

    def call(self, value: Value, arguments: Arguments, scope: FunctionScope) -> Value:
        """Return what calling a value may give."""
        return joined(self._call(atom, arguments, scope) for atom in value) | (
            self._handed_on(arguments) if not value else DATA
        )

    def _call(self, atom: Atom, arguments: Arguments, scope: FunctionScope) -> Value:
        match atom:
            case Closure(scope=number):
                return self._into([self._world.scopes[number]], arguments)
            case Bound(function=Known(thing=function), owner=owner):
                return self._method(function, owner, arguments, scope)
            case Inside():
                return elements(frozenset({atom})) | self._handed_on(arguments)
            case Known(thing=FunctionType() as function):
                if not self._world.reads(module_of(function)):
                    return self._library(name_of(function), arguments, scope)
                return self._into(self._world.functions(function, scope), arguments)
            case Known(thing=type() as kind):
                return self._construct(kind, arguments, scope)
            case Known(thing=partial() as function):
                return self._world.hand_on(known(function.func), joined([arguments.all, *map(known, function.args)]))
            case Known(thing=thing):
                return self._object(thing, atom, arguments, scope)
            case Fresh(kind=kind):
                called = looked_up(kind, "__call__")
                bound = Bound(Known(called), atom)
                return DATA if called is MISSING else self._call(bound, arguments, scope)

    def _into(self, scopes: Sequence[FunctionScope], arguments: Arguments) -> Value:
        return joined(self._world.call(it, arguments.given, arguments.named, elements(arguments.rest)) for it in scopes)

    def _object(self, thing: Any, atom: Known, arguments: Arguments, scope: FunctionScope) -> Value:
        """Call an object that is no function of Python: one of C, a descriptor, or one with `__call__`."""
        if isinstance(thing, C_METHODS):
            first = arguments.given[0] if arguments.given else DATA
            for owner in first:
                if isinstance(owner, Known | Fresh):
                    self._changes(thing.__name__, owner, scope, arguments.node)
            return self._library(name_of(thing), arguments, scope)
        if isinstance(thing, BuiltinFunctionType | MethodWrapperType):
            owner = owner_of(thing)
            if owner is not None:
                return self._method(thing, Known(owner), arguments, scope)
            return self._library(name_of(thing), arguments, scope)
        called = looked_up(type(thing), "__call__")
        return DATA if called is MISSING else self._call(Bound(Known(called), atom), arguments, scope)

    def _method(self, function: Any, owner: Known | Fresh, arguments: Arguments, scope: FunctionScope) -> Value:
        if isinstance(function, FunctionType) and self._world.reads(module_of(function)):
            return self._into(self._world.functions(function, scope), arguments.after(frozenset({owner})))
        name = function.__name__
        self._changes(name, owner, scope, arguments.node)
        kind = owner.kind if isinstance(owner, Fresh) else type(owner.thing)
        if isinstance(owner, Known) and isinstance(owner.thing, type):
            self._library(name_of(function), arguments, scope)
            return _made(owner.thing) | held(arguments.all)
        if issubclass(kind, set | frozenset):
            if name == "pop":
                self._world.found(
                    scope, arguments.node, Impurity.ORDER, f"{text_of(arguments.node)} takes any of a set"
                )
            return frozenset({Fresh(set)}) if name in _GIVES_SETS else elements(frozenset({owner}))
        inner = elements(frozenset({owner}))
        if issubclass(kind, CONTAINERS):
            return held(inner) if name == "copy" else inner | held(inner)
        self._library(f"{name_of(kind)}.{name}", arguments, scope)
        return _made(kind) | self._handed_on(arguments)

    def _changes(self, name: str, owner: Known | Fresh, scope: FunctionScope, node: ast.AST) -> None:
        if not isinstance(owner, Known) or name not in MUTATORS:
            return
        thing = owner.thing
        if isinstance(thing, CHANGEABLE) or name in {"__setattr__", "__delattr__"} or not isinstance(thing, _PLAIN):
            self._world.found(scope, node, Impurity.STATE, f"{text_of(node)} changes what outlives the call")

    def _construct(self, kind: type, arguments: Arguments, scope: FunctionScope) -> Value:
        if kind is type and len(arguments.given) == 1:
            return joined(_class_of(atom) for atom in arguments.given[0])
        if not self._world.reads(module_of(kind)):
            return self._library(name_of(kind), arguments, scope) | _made(kind)
        made: Value = frozenset({Fresh(kind)})
        for name in ("__new__", "__init__"):
            function = looked_up(kind, name)
            function = getattr(function, "__func__", function)
            if isinstance(function, FunctionType) and self._world.reads(module_of(function)):
                owner = known(kind) if name == "__new__" else made
                self._into(self._world.functions(function, scope), arguments.after(owner))
            elif isinstance(function, FunctionType) and is_generated(function):
                for field, value in arguments.named.items():
                    self._world.learn_attribute(kind, field, value)
        return made

    def _library(self, name: str, arguments: Arguments, scope: FunctionScope) -> Value:
        """Return what a function gives that is known by its name."""
        node = arguments.node
        if name in LOCAL_TIME and arguments.count < LOCAL_TIME[name]:
            impurity = Impurity.RANDOMNESS if name.startswith("random.") else Impurity.CLOCK
            text = (
                f"{text_of(node)} depends on {'chance' if impurity is Impurity.RANDOMNESS else 'the clock or its zone'}"
            )
            self._world.found(scope, node, impurity, text)
        if name == "zoneinfo.ZoneInfo" and not isinstance(scope.node, ast.Module):
            text = f"{text_of(node)} reads a file at each first call; make the zone at the top of the module"
            self._world.found(scope, node, Impurity.IO, text)
        if name in _BY_NAME and not all(_is_public(it) for it in node.args):
            self._world.found(scope, node, Impurity.DYNAMIC, f"{text_of(node)} takes an attribute by name")
        if name in MUTATING_FUNCTIONS and arguments.given:
            for atom in arguments.given[0]:
                if isinstance(atom, Known) and (
                    isinstance(atom.thing, CHANGEABLE) or name in {"builtins.setattr", "builtins.delattr"}
                ):
                    text = f"{text_of(node)} changes what outlives the call"
                    self._world.found(scope, node, Impurity.STATE, text)
        if (name in ORDERED or name.startswith("itertools.")) and any(is_set(it) for it in arguments.given):
            self._world.found(scope, node, Impurity.ORDER, f"{text_of(node)} shows the order of a set")
        if verdict(name) is None and name in _GIVES_DATA:
            return self._handed_on(arguments) & DATA
        if name in _GIVES_ITS_ARGUMENT:
            return arguments.all | elements(arguments.all) | self._handed_on(arguments)
        if name in _SHALLOW or name.startswith("itertools."):
            inner = joined(elements(it) for it in (*arguments.given, arguments.rest))
            return held(inner | joined(arguments.named.values())) | held(self._handed_on(arguments))
        return held(arguments.all) | self._handed_on(arguments)

    def _handed_on(self, arguments: Arguments) -> Value:
        """A function that is given to another is called by it, with whatever else it was given."""
        everything = arguments.all
        return self._world.hand_on(everything, everything)


def _made(kind: type) -> Value:
    if issubclass(kind, set | frozenset):
        return frozenset({Fresh(set)})
    return (
        DATA
        if issubclass(kind, (str, bytes, int, float, bool, complex, list, dict, tuple))
        else frozenset({Fresh(kind)})
    )


def _class_of(atom: Atom) -> Value:
    if isinstance(atom, Fresh):
        return known(atom.kind)
    return known(type(atom.thing)) if isinstance(atom, Known) else DATA


def _is_public(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and not node.value.startswith(("_", "now", "today", "utcnow"))
    )
