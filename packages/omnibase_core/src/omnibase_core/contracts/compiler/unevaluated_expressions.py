"""Expressions where nothing is evaluated: they would be taken, and sent, as they are written. Pure.

In a node these are expressions outside of mappings; in a host, what other tools take from the environment.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omnibase_core.contracts.compiler.types import TypeProblem
from omnibase_core.contracts.yaml.document import Path
from omnibase_core.contracts.yaml.scalars import shown

_EXPRESSION = re.compile(r"\$\{.*\}", re.DOTALL)
_EVALUATED = frozenset({"request", "answer"})
"""Keys of an operation below which each value may be an expression."""
_SCHEMAS = frozenset({"input", "output"})
_OF_A_SCHEMA = frozenset({"const", "enum", "default"})
"""Keys of a schema whose values are values; an example is one that somebody sent."""


def unevaluated(contract: Mapping[str, Any]) -> Iterator[TypeProblem]:
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


def unread(contract: Mapping[str, Any]) -> Iterator[TypeProblem]:
    """Find what a host contract, as it is written, would take from the environment: it reads nothing but secrets."""
    for part, value in contract.items():
        for at, text in _texts(value, (part,)):
            written = _VARIABLE.search(text)
            is_request = part == "watches" and at[2:3] == ("request",)  # Whose expressions are told by themselves.
            if written is None or is_request:
                continue
            if not _SECRET.match(written[0]):
                yield TypeProblem(
                    at=at,
                    message=f"found {shown(text)}, but {_NOTHING_READ}; {_instead(written, at)}",
                    code="wrong-value",
                )
            elif part not in _WITH_SECRETS:
                told = f"found {shown(text)}, but secrets may stand in bus, handlers and idempotency alone"
                yield TypeProblem(at=at, message=f"{told}; write the value itself", code="wrong-value")


_VARIABLE = re.compile(r"\$\{[^{}]*\}")
_DEFAULT = re.compile(r"\$\{\s*\w+\s*:-?(?P<default>[^{}]+)\}")
_SECRET = re.compile(r"\$\{\s*secret")
_WITH_SECRETS = frozenset({"bus", "handlers", "idempotency"})
_NOTHING_READ = "a host contract reads nothing from the environment"


def _instead(written: re.Match[str], at: Path) -> str:
    if at == ("bus", "bootstrap_servers"):
        return "write host:port, and give another one with: runtime-host run --broker HOST:PORT"
    default = _DEFAULT.fullmatch(written[0])
    value = f"write {default['default'].strip()}" if default else "write the value"
    for_others = ", and have a host contract for each environment"
    return (
        f"{value}{for_others}"
        if at[0] not in _WITH_SECRETS
        else f"{value}{for_others}, or ${{secret.NAME}} for a secret"
    )


def _texts(tree: Any, at: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(tree, str):
        yield at, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, (*at, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _texts(item, (*at, index))


def _keys(tree: Any, at: Path) -> Iterator[TypeProblem]:
    """Look at the keys of a mapping: their values are compiled, and have faults of their own."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if isinstance(key, str) and _EXPRESSION.search(key):
                yield _misfit(key, (*at, key), key=True)
            yield from _keys(value, (*at, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _keys(item, (*at, index))


def _of_schema(tree: Any, at: Path) -> Iterator[TypeProblem]:
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


def _text(text: str, at: Path) -> Iterator[TypeProblem]:
    if _EXPRESSION.search(text):
        yield _misfit(text, at)


def _misfit(text: str, at: Path, *, key: bool = False) -> TypeProblem:
    told = f"nothing is evaluated here: {shown(text)} would be taken as it is written; remove the ${{ }}"
    return TypeProblem(at=at, message=told, code="bad-expression", key=key)
