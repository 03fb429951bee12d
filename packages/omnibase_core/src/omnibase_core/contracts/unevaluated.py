"""Expressions where nothing is evaluated: they would be taken, and sent, as they are written. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omnibase_core.contracts.document import Path
from omnibase_core.contracts.fitting import Misfit
from omnibase_core.contracts.scalars import shown

_EXPRESSION = re.compile(r"\$\{.*\}", re.DOTALL)
_EVALUATED = frozenset({"request", "answer"})
"""Keys of an operation below which each value may be an expression."""
_SCHEMAS = frozenset({"input", "output"})
_OF_A_SCHEMA = frozenset({"const", "enum", "default"})
"""Keys of a schema whose values are values; an example is one that somebody sent."""


def unevaluated(contract: Mapping[str, Any]) -> Iterator[Misfit]:
    """Find expressions in a node contract, as it is written, where they are none."""
    if isinstance(description := contract.get("description"), str):
        yield from _text(description, ("description",))
    operations = contract.get("operations")
    for name, operation in operations.items() if isinstance(operations, Mapping) else ():
        for key, value in operation.items() if isinstance(operation, Mapping) else ():
            at: Path = ("operations", name, key)
            if key in _EVALUATED:
                yield from _keys(value, at)
            elif key in _SCHEMAS:
                yield from _of_schema(value, at)
            elif key == "errors" and isinstance(value, list):
                for index, rule in enumerate(value):
                    if isinstance(rule, Mapping) and isinstance(message := rule.get("message"), str):
                        yield from _text(message, (*at, index, "message"))


def _keys(tree: Any, at: Path) -> Iterator[Misfit]:
    """Look at the keys of a mapping: their values are compiled, and have faults of their own."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if isinstance(key, str) and _EXPRESSION.search(key):
                yield _misfit(key, (*at, key), key=True)
            yield from _keys(value, (*at, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _keys(item, (*at, index))


def _of_schema(tree: Any, at: Path) -> Iterator[Misfit]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            for index, it in enumerate(value if isinstance(value, list) else [value]):
                if key in _OF_A_SCHEMA and isinstance(it, str) and _EXPRESSION.fullmatch(it.strip()):
                    yield _misfit(it, (*at, key, index) if isinstance(value, list) else (*at, key))
            if key != "examples":
                yield from _of_schema(value, (*at, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _of_schema(item, (*at, index))


def _text(text: str, at: Path) -> Iterator[Misfit]:
    if _EXPRESSION.search(text):
        yield _misfit(text, at)


def _misfit(text: str, at: Path, *, key: bool = False) -> Misfit:
    told = f"nothing is evaluated here: {shown(text)} would be taken as it is written; remove the ${{ }}"
    return Misfit(at=at, message=told, code="bad-expression", key=key)
