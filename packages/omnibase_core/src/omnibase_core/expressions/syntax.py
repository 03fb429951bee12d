"""The tree of an expression, with the place of every node: read from the form in which the engine saves it.

That form is the protobuf message `cel.expr.CheckedExpr`, or `ParsedExpr` where types were not checked
(https://github.com/google/cel-spec, checked.proto and syntax.proto). It is read here field by field: there is little of
it, and the protobuf library would be one more dependency.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: None, a bool, int, float, str or bytes; `unsigned` tells `3u` from `3`."""

    id: int
    value: Any
    unsigned: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """What a name stands for."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or with `test` the macro `has(operand.field)`."""

    id: int
    operand: "Node"
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator, which is named as `_+_`; `target` is what a method is called on."""

    id: int
    function: str
    target: "Node | None"
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """`[a, ?b]`; `optional` are the indices of items with a question mark."""

    id: int
    items: tuple["Node", ...]
    optional: frozenset[int]


@dataclass(frozen=True, slots=True)
class MapEntry:
    """`key: value`, or with `optional` `?key: value`."""

    key: "Node | None"
    value: "Node"
    optional: bool


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """`{key: value}`; `message` is the name of the type where a message is written instead."""

    id: int
    message: str
    entries: tuple[MapEntry, ...]


@dataclass(frozen=True, slots=True)
class Comprehension:
    """What the macros all, exists, exists_one, map, filter and optMap become: a fold over `range`."""

    id: int
    variable: str
    range: "Node"
    result_name: str
    start: "Node"
    condition: "Node"
    step: "Node"
    result: "Node"


Node = Literal | Name | Select | Call | ListLiteral | MapLiteral | Comprehension
"""Every node has an `id`, by which its tree knows its place."""


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all that is below it."""
    yield node
    for part in parts(node):
        yield from walk(part)


def parts(node: Node) -> Iterator[Node]:
    """Yield the nodes that a node is made of."""
    match node:
        case Select(operand=operand):
            yield operand
        case Call(target=target, arguments=arguments):
            yield from (() if target is None else (target,))
            yield from arguments
        case ListLiteral(items=items):
            yield from items
        case MapLiteral(entries=entries):
            for entry in entries:
                yield from (() if entry.key is None else (entry.key,))
                yield entry.value
        case Comprehension():
            yield from (node.range, node.start, node.condition, node.step, node.result)


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of one text. Places are read only when something is wrong there; without a source, they are the ids."""

    root: Node
    source: bytes | None

    def offset(self, node: Node) -> int:
        """Return the place of a node in characters: of an operator its own, of a function that of its bracket."""
        if self.source is None:
            return node.id
        entries = (dict(_fields(entry)) for number, entry in _fields(self.source) if number == _SOURCE_POSITIONS)
        # What protobuf leaves out is zero.
        return next((entry.get(2, 0) for entry in entries if entry.get(1, 0) == node.id), 0)


def tree_of_path(steps: Sequence[str], text: str) -> Tree:
    """Return the tree of a text that is a name and fields that follow it."""
    node: Node = Name(text.index(steps[0]), steps[0])
    for step in steps[1:]:
        node = Select(text.index(".", node.id), node, step, test=False)
    return Tree(node, None)


def read_tree(saved: bytes) -> Tree:
    """Return the tree of an expression that the engine saved. Raises ValueError for what is none."""
    try:
        message = dict(_fields(saved))
        expression, source = _PARTS[message[_ANY_TYPE]]
        parts = dict(_fields(message[_ANY_VALUE]))
        return Tree(_node(parts[expression]), parts[source])
    except (IndexError, KeyError, struct.error) as error:
        raise ValueError("this is not a saved expression") from error


# --- The messages -------------------------------------------------------------------------------------------------

_ANY_TYPE, _ANY_VALUE = 1, 2
_PARTS = {b"type.googleapis.com/cel.expr.CheckedExpr": (4, 5), b"type.googleapis.com/cel.expr.ParsedExpr": (2, 3)}
"""In which fields the tree and its source stand."""
_SOURCE_POSITIONS = 4
_EXPRESSION_ID = 2
_INT64_BITS = 64


def _node(message: bytes) -> Node:
    parts = dict(_fields(message))
    identity = parts.pop(_EXPRESSION_ID, 0)
    [(kind, body)] = parts.items()
    return _READERS[kind](body, identity)


def _literal(body: bytes, identity: int) -> Node:
    [(kind, value)] = _fields(body)
    match kind:
        case 1:
            return Literal(identity, None)
        case 2:
            return Literal(identity, bool(value))
        case 3:
            return Literal(identity, value - (1 << _INT64_BITS) if value >> (_INT64_BITS - 1) else value)
        case 5:
            return Literal(identity, struct.unpack("<d", value)[0])
        case 6:
            return Literal(identity, value.decode())
    return Literal(identity, value, unsigned=kind == 4)


def _name(body: bytes, identity: int) -> Node:
    return Name(identity, _last(body, 1).decode())


def _select(body: bytes, identity: int) -> Node:
    parts = dict(_fields(body))
    return Select(identity, _node(parts[1]), parts[2].decode(), test=bool(parts.get(3, 0)))


def _call(body: bytes, identity: int) -> Node:
    parts = _fields(body)
    target = next((_node(value) for number, value in parts if number == 1), None)
    arguments = tuple(_node(value) for number, value in parts if number == 3)
    return Call(identity, _last(body, 2).decode(), target, arguments)


def _list(body: bytes, identity: int) -> Node:
    parts = _fields(body)
    items = tuple(_node(value) for number, value in parts if number == 1)
    packed = next((value for number, value in parts if number == 2), b"")
    return ListLiteral(identity, items, frozenset(_varints(packed)))


def _map(body: bytes, identity: int) -> Node:
    parts = _fields(body)
    message = next((value.decode() for number, value in parts if number == 1), "")
    entries = (dict(_fields(value)) for number, value in parts if number == 2)
    return MapLiteral(identity, message, tuple(_entry(entry) for entry in entries))


def _entry(parts: Mapping[int, Any]) -> MapEntry:
    key = _node(parts[3]) if 3 in parts else None
    return MapEntry(key, _node(parts[4]), optional=bool(parts.get(5, 0)))


def _comprehension(body: bytes, identity: int) -> Node:
    parts = dict(_fields(body))
    start, condition, step, result = (_node(parts[number]) for number in (4, 5, 6, 7))
    over = _node(parts[2])
    return Comprehension(identity, parts[1].decode(), over, parts[3].decode(), start, condition, step, result)


_READERS: Mapping[int, Callable[[bytes, int], Node]] = {
    3: _literal,
    4: _name,
    5: _select,
    6: _call,
    7: _list,
    8: _map,
    9: _comprehension,
}


# --- The wire format (https://protobuf.dev/programming-guides/encoding/) --------------------------------------------


def _fields(message: bytes) -> list[tuple[int, Any]]:
    """Return each field's number with its value: an int, or the bytes of what has a length or a fixed size."""
    found: list[tuple[int, Any]] = []
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            found.append((tag >> 3, value))
            continue
        size, at = _varint(message, at) if kind == _SIZED else (_FIXED[kind], at)
        found.append((tag >> 3, message[at : at + size]))
        at += size
    return found


_SIZED = 2
_FIXED = {1: 8, 5: 4}
"""How many bytes follow, by the kind of a field."""


def _varints(packed: bytes) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    byte = message[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        at += 1
        byte = message[at]
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, at + 1


def _last(message: bytes, number: int) -> bytes:
    found: bytes = dict(_fields(message))[number]
    return found
