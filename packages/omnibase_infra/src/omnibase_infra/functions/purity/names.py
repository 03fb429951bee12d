"""Finds what a name of a function stands for, and how the top of its module came by that."""

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from omnibase_infra.functions.purity.values import DATA, Value, known
from omnibase_infra.functions.purity.world import FunctionScope


class ImportOrigin(NamedTuple):
    """A name of another module, from which an import took it."""

    module: str
    name: str


def resolved(name: str, scope: FunctionScope) -> tuple[Value, bool]:
    """Find a name as Python would, and say whether it is global: here, around, in the module, among the built-ins."""
    at: FunctionScope | None = scope
    while at is not None:
        if name in at.own:
            return at.values.get(name, DATA), False
        if name in at.cells:
            return known(at.cells[name]), False
        at = None if name in at.globals else at.parent
    return known(scope.names[name] if name in scope.names else getattr(builtins, name, None)), True


def origins_of(name: str, top: ast.Module, names: Mapping[str, Any]) -> Iterator[ast.expr | ImportOrigin]:
    """Yield the expressions that the top of a module assigns to a name, or where it imports it from."""
    for statement in _statements(top.body):
        match statement:
            case ast.Assign(targets=targets, value=written) if name in _names_in(targets):
                yield written
            case ast.AnnAssign(target=target, value=ast.expr() as written) if name in _names_in([target]):
                yield written
            case ast.ImportFrom():
                yield from _imported(statement, name, names)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs at the top of a module, under conditions too."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, ()))


def _names_in(targets: Iterable[ast.expr]) -> set[str]:
    return {it.id for target in targets for it in ast.walk(target) if isinstance(it, ast.Name)}


def _imported(statement: ast.ImportFrom, name: str, names: Mapping[str, Any]) -> Iterator[ImportOrigin]:
    for alias in statement.names:
        if (alias.asname or alias.name) == name:
            package = str(names.get("__package__") or "").split(".")
            above = package[: len(package) - statement.level + 1] if statement.level else []
            yield ImportOrigin(".".join([*above, *filter(None, [statement.module])]), alias.name)
