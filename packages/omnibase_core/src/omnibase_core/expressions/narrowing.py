"""Guards: what an expression's own tests have found of keys, that they are there and not null. Pure."""

from dataclasses import replace
from typing import NamedTuple

from omnibase_core.expressions.syntax import Call, Literal, Name, Node, Select

Steps = tuple[str, ...]
"""A name and the keys that lead on from it: `("payload", "user", "name")`."""


class Fact(NamedTuple):
    """What a test has found: that a key is there, or with `not_null` that its value is not null."""

    steps: Steps
    not_null: bool = False


Facts = frozenset[Fact]

_NOTHING: Facts = frozenset()


def guards_of(node: Node) -> tuple[Facts, Facts]:
    """Return what is known if an expression is true, and what if it is false."""
    match node:
        case Select(test=True) if steps := steps_of(replace(node, test=False)):
            return frozenset({Fact(steps)}), _NOTHING
        case Call(function="@in", arguments=(Literal(value=str(key)), owner)) if steps := steps_of(owner):
            return frozenset({Fact((*steps, key))}), _NOTHING
        case Call(function="_==_" | "_!=_", arguments=(value, Literal(value=None)) | (Literal(value=None), value)) if (
            steps := steps_of(value)
        ):
            differs = frozenset({Fact(steps, not_null=True)})
            return (differs, _NOTHING) if node.function == "_!=_" else (_NOTHING, differs)
        case Call(function="!_", arguments=(operand,)):
            if_true, if_false = guards_of(operand)
            return if_false, if_true
        case Call(function="_&&_" | "_||_", arguments=(left, right)):
            (left_true, left_false), (right_true, right_false) = guards_of(left), guards_of(right)
            if node.function == "_&&_":
                return left_true | right_true, left_false & right_false
            return left_true & right_true, left_false | right_false
    return _NOTHING, _NOTHING


def steps_of(node: Node) -> Steps:
    """Return the keys that lead to what a node reads; none for what is computed."""
    match node:
        case Name(name=name):
            return (name,)
        case Select(operand=operand, field=field, test=False):
            return (*above, field) if (above := steps_of(operand)) else ()
        case Call(function="_[_]", arguments=(owner, Literal(value=str(key)))):
            return (*above, key) if (above := steps_of(owner)) else ()
    return ()


def steps_through(node: Node) -> Steps:
    """Return the keys that lead to what a node reads, whether as optionals or not; none for what is computed."""
    match node:
        case Select(operand=operand, field=field, test=False):
            return (*above, field) if (above := steps_through(operand)) else ()
        case Call(function="_[_]" | "_[?_]" | "_?._", arguments=(owner, Literal(value=str(key)))):
            return (*above, key) if (above := steps_through(owner)) else ()
    return steps_of(node)
