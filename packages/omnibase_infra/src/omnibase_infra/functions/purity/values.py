"""What an expression may stand for, as far as reading can tell. Values only; nothing here runs a node's code.

A value is a set of atoms: it may be any of them. Data is what belongs to the call: arguments, numbers, text and what is
made of them. It is not written down, since it may be read and changed freely.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

CONTAINERS = (list, dict, set, frozenset, tuple, deque, bytearray, MappingProxyType)
CHANGEABLE = (list, dict, set, deque, bytearray)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis), type(NotImplemented))
C_METHODS = (MethodDescriptorType, WrapperDescriptorType)
_ELEMENTS_MAX = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """An object that is there before the call and after it: a global, a default, what a closure holds."""

    thing: Any

    def __eq__(self, other: object) -> bool:
        """Be the same where the object is the same, however it compares."""
        return isinstance(other, Known) and self.thing is other.thing

    def __hash__(self) -> int:
        """Hash what cannot be hashed, too."""
        return id(self.thing)


@dataclass(frozen=True, slots=True)
class Fresh:
    """An object of this class that the call made itself."""

    kind: type


@dataclass(frozen=True, slots=True)
class Inside:
    """A container that the call made itself, and that holds this."""

    atom: "Known | Fresh | Bound | Closure"


@dataclass(frozen=True, slots=True)
class Bound:
    """A method of an object; `function` is a function or a descriptor written in C."""

    function: Known
    owner: "Known | Fresh"


@dataclass(frozen=True, slots=True)
class Closure:
    """A function that is defined inside of the one that is read; `scope` is its number."""

    scope: int


Atom = Known | Fresh | Inside | Bound | Closure
Value = frozenset[Atom]
DATA: Value = frozenset()


def known(thing: Any) -> Value:
    """Return the value of an object that is there already. Numbers and text are data."""
    if isinstance(thing, _PLAIN):
        return DATA
    if isinstance(thing, MethodType):
        return frozenset({Bound(Known(thing.__func__), Known(thing.__self__))})
    if isinstance(thing, tuple | frozenset) and not elements_of(thing):
        return frozenset({Known(thing)}) if isinstance(thing, frozenset) else DATA
    return frozenset({Known(thing)})


def elements_of(container: Any) -> Value:
    """Return what a container that is there already holds, other than data."""
    if not isinstance(container, CONTAINERS) or isinstance(container, bytearray):
        return DATA
    parts: Iterable[Any] = container
    if isinstance(container, dict | MappingProxyType):
        parts = [*container.keys(), *container.values()]
    return joined(known(part) for part, _ in zip(parts, range(_ELEMENTS_MAX), strict=False))


def joined(values: Iterable[Value]) -> Value:
    """Return the value that may be any of these."""
    return frozenset().union(*values)


def held(value: Value) -> Value:
    """Return a new container that holds a value."""
    return frozenset(atom if isinstance(atom, Inside) else Inside(atom) for atom in value)


def elements(value: Value) -> Value:
    """Return what may come out of a container."""
    found: set[Atom] = set()
    for atom in value:
        if isinstance(atom, Inside):
            found |= {atom, atom.atom}
        elif isinstance(atom, Known):
            inner = elements_of(atom.thing)
            found |= inner | held(inner)
    return frozenset(found)


def is_set(value: Value) -> bool:
    """Check whether it may be a set."""
    kinds = (it.kind if isinstance(it, Fresh) else type(it.thing) for it in value if isinstance(it, Fresh | Known))
    return any(issubclass(kind, set | frozenset) for kind in kinds)


@dataclass(frozen=True, slots=True)
class Getter:
    """An attribute that is computed by a function of its object."""

    function: FunctionType
    owner: Known | Fresh


MISSING = object()


def looked_up(kind: type, name: str) -> Any:
    """Find an attribute in a class and its ancestors, without running anything; MISSING where there is none."""
    for it in kind.__mro__:
        if name in vars(it):
            return vars(it)[name]
    return MISSING


def attribute_of(atom: Known | Fresh, name: str) -> Value | Getter:
    """Return what an attribute of an object stands for, without running any code of it."""
    if isinstance(atom, Fresh):
        return _bound(looked_up(atom.kind, name), atom.kind, atom)
    thing = atom.thing
    if isinstance(thing, ModuleType):
        return known(getattr(thing, name, None))  # a module may give its names lazily
    if isinstance(thing, type):
        return _bound(looked_up(thing, name), thing, None)
    own = _own(thing)
    raw = looked_up(type(thing), name)
    if name in own and not isinstance(raw, property):
        return known(own[name])
    return _bound(raw, type(thing), atom)


def _bound(raw: Any, kind: type, owner: Known | Fresh | None) -> Value | Getter:
    if raw is MISSING:
        return DATA
    if isinstance(raw, staticmethod):
        return known(raw.__func__)
    if isinstance(raw, classmethod | ClassMethodDescriptorType):
        function = raw.__func__ if isinstance(raw, classmethod) else raw
        return frozenset({Bound(Known(function), Known(kind))})
    if isinstance(raw, FunctionType | MethodDescriptorType | WrapperDescriptorType):
        return known(raw) if owner is None else frozenset({Bound(Known(raw), owner)})
    if isinstance(raw, property | cached_property):
        getter = raw.fget if isinstance(raw, property) else raw.func
        return Getter(getter, owner) if owner is not None and isinstance(getter, FunctionType) else DATA
    if isinstance(raw, MemberDescriptorType | GetSetDescriptorType):
        return known(_slot(raw, owner.thing)) if isinstance(owner, Known) else DATA
    return known(raw)


def _own(thing: Any) -> Mapping[str, Any]:
    """Return an object's own attributes, past any `__getattr__` of it."""
    try:
        found: Mapping[str, Any] = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found


def _slot(raw: MemberDescriptorType | GetSetDescriptorType, thing: Any) -> Any:
    try:
        return raw.__get__(thing, type(thing))
    except AttributeError:
        return None


def owner_of(thing: Any) -> Any:
    """Return the object that a method written in C belongs to; None where it belongs to a module or a class."""
    owner = getattr(thing, "__self__", None) if isinstance(thing, BuiltinFunctionType | MethodWrapperType) else None
    return None if isinstance(owner, ModuleType | type) else owner


def callables_in(thing: Any) -> Iterator[Any]:
    """Yield the functions that a function of the standard library calls on behalf of who made it."""
    if isinstance(thing, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
        return
    yield from (it for it in [getattr(thing, "__wrapped__", None)] if it is not None)
    for cell in getattr(thing, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a cell that nothing has filled yet
            continue
