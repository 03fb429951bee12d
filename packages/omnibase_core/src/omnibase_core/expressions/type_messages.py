"""What is said of a type that does not fit, and what to write instead. Pure."""

import json
from collections.abc import Sequence

from omnibase_core.expressions.narrowing import steps_through
from omnibase_core.expressions.syntax import Call, Literal, Node, Select
from omnibase_core.expressions.types import NUMBERS, Type


def owner_of(node: Select | Call) -> Node:
    """Return the node whose key is read."""
    return node.operand if isinstance(node, Select) else node.arguments[0]


def said(node: Node) -> str:
    """Describe what a node reads, as it is written."""
    steps = steps_through(node)
    return repr(".".join(steps)) if steps else "this value"


def with_article(found: Type) -> str:
    """Describe a type in a sentence: `a string`, `an integer or null`."""
    word = str(found)
    return f"{'an' if word[0] in 'aeio' else 'a'} {word}" if word not in ("null", "bytes", "anything") else word


def default_in_words(value: str | float, found: Type) -> str:
    """Describe a default as a literal of an expression."""
    match value:
        case str():
            return "'" + json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
        case bool():
            return str(value).lower()
    return repr(float(value) if found.kinds == {"double"} else value)


_MIXED = frozenset({"_+_", "_-_", "_*_", "_/_"})


def advice_on(node: Call, types: Sequence[Type]) -> str:
    """Describe what to write instead, where that is clear."""
    kinds = [it.kinds for it in types]
    arguments = node.arguments if node.target is None else (node.target, *node.arguments)
    if {"optional"} in kinds:
        return "; end the optional with .orValue(...)"
    if node.function in _MIXED and {"double"} in kinds and {"int"} in kinds:
        literal = arguments[kinds.index(frozenset({"int"}))]
        if isinstance(literal, Literal):
            return f"; write {literal.value}.0"
        return "; write double(...) around the integer"
    if node.function in ("_+_", "_==_", "_!=_") and {"string"} in kinds and any(it and it <= NUMBERS for it in kinds):
        return "; write string(...) around the number"
    return ""
