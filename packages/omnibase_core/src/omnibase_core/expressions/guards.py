"""Guards: which keys an expression's own tests have found to be there. Pure."""

from dataclasses import replace

from omnibase_core.expressions.syntax import Call, Literal, Name, Node, Select

Steps = tuple[str, ...]
"""A name and the keys that lead on from it: `("payload", "user", "name")`."""

_NOTHING: frozenset[Steps] = frozenset()


def guards_of(node: Node) -> tuple[frozenset[Steps], frozenset[Steps]]:
    """Give the keys that are there if an expression is true, and those if it is false."""
    match node:
        case Select(test=True) if steps := steps_of(replace(node, test=False)):
            return frozenset({steps}), _NOTHING
        case Call(function="@in", arguments=(Literal(value=str(key)), owner)) if steps := steps_of(owner):
            return frozenset({(*steps, key)}), _NOTHING
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
    """Give the keys that lead to what a node reads; none for what is computed."""
    match node:
        case Name(name=name):
            return (name,)
        case Select(operand=operand, field=field, test=False):
            return (*above, field) if (above := steps_of(operand)) else ()
        case Call(function="_[_]", arguments=(owner, Literal(value=str(key)))):
            return (*above, key) if (above := steps_of(owner)) else ()
    return ()
