"""Code that messages tell to write: how keys are read and asked for, whatever their names. Pure."""

import re
from collections.abc import Iterator
from dataclasses import replace

from omnibase_core.expressions.narrowing import Fact, Facts, Steps, steps_through
from omnibase_core.expressions.syntax import Call, Node, Select
from omnibase_core.expressions.types import DYNAMIC, Type

RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)
"""What is no field to the engine."""

_FIELD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def read(steps: Steps) -> str:
    """Return the code that reads a key."""
    name, *keys = steps
    return name + "".join(f".{key}" if is_field(key) else f"[{literal(key)}]" for key in keys)


def is_there(steps: Steps) -> str:
    """Return the code that asks whether a key is there."""
    *owner, key = steps
    return f"has({read(steps)})" if is_field(key) else f"{literal(key)} in {read(tuple(owner))}"


def or_else(owner: str, key: str) -> str:
    """Return the code that reads a key of an owner, which is code itself, or gives something else."""
    return f"{owner}.?{key}.orValue(...)" if is_field(key) else f"{owner}[?{literal(key)}].orValue(...)"


def literal(text: str) -> str:
    """Return a text as an expression writes it."""
    escaped = (rf"\u{ord(sign):04x}" if sign < " " else rf"\{sign}" if sign in "\\'" else sign for sign in text)
    return f"'{''.join(escaped)}'"


def instead_of_absent(steps: Steps) -> str:
    """Return what to write to read a key that may be absent."""
    return f"{is_there(steps)} ? {read(steps)} : ..., or {or_else(read(steps[:-1]), steps[-1])}"


def instead_of_null(node: Node, owner: Steps, root: Type, known: Facts) -> str:
    """Return what to write in place of a node that looks into what may be null; `root` is the type of its name."""
    asked = list(_asked(owner, root, known))
    whole = steps_through(replace(node, test=False) if isinstance(node, Select) else node)
    if isinstance(node, Select) and node.test:
        return " && ".join([*asked, is_there(whole)])
    if isinstance(node, Call) and node.function == "@in":
        return " && ".join([*asked, "..."])
    if len(whole) <= len(owner):  # It is a macro, or reads a key that is computed.
        return f"{' && '.join(asked)} ? ... : ..."
    # All that it takes to read the key itself.
    return f"{' && '.join(_asked(whole, root, known, to_read=True))} ? {read(whole)} : ..."


def _asked(steps: Steps, root: Type, known: Facts, *, to_read: bool = False) -> Iterator[str]:
    """Yield the tests that have to hold before something is looked into, or only read."""
    found = root
    for end in range(2, len(steps) + 1):
        field = found.fields.get(steps[end - 1])
        found = DYNAMIC if field is None else field.type
        if field is not None and not field.required and Fact(steps[:end]) not in known:
            yield is_there(steps[:end])
        is_read = to_read and end == len(steps)
        if "null" in found.kinds and not is_read and Fact(steps[:end], not_null=True) not in known:
            yield f"{read(steps[:end])} != null"


def is_field(key: str) -> bool:
    """Check whether a key may stand after a point; any other stands in brackets."""
    return _FIELD.fullmatch(key) is not None and key not in RESERVED
