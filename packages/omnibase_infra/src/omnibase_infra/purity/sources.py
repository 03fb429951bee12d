"""Finds the syntax tree of a function that is in memory, and gives parts of it as text. Reads modules' files alone."""

import ast
import linecache
from collections.abc import Mapping, Sequence
from functools import cache
from types import CodeType, FunctionType
from typing import Any

_TEXT_MAX = 60

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Sources:
    """The trees of modules, each parsed once."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._trees: dict[str, ast.Module | None] = {}
        self._definitions: dict[str, dict[int, list[Definition]]] = {}

    def definitions(self, function: FunctionType) -> Sequence[Definition]:
        """Give where a function is written: several, if lambdas share the line; none, if there is no source."""
        code: CodeType = function.__code__
        if code.co_filename not in self._definitions:
            tree = self.tree(code.co_filename, function.__globals__)
            self._definitions[code.co_filename] = {} if tree is None else _by_line(tree)
        found = self._definitions[code.co_filename].get(code.co_firstlineno, [])
        return [it for it in found if ("<lambda>" if isinstance(it, ast.Lambda) else it.name) == code.co_name]

    def tree(self, path: str, names: Mapping[str, Any]) -> ast.Module | None:
        """Parse a module's file; None where it cannot be read. `names` are the module's globals."""
        if path not in self._trees:
            linecache.checkcache(path)
            text = "".join(linecache.getlines(path, dict(names)))
            try:
                self._trees[path] = ast.parse(text) if text else None
            except SyntaxError:
                self._trees[path] = None
        return self._trees[path]


@cache
def text_of(node: ast.AST) -> str:
    """Give the text of an expression, cut where it gets long."""
    text = ast.unparse(node)
    return text if len(text) <= _TEXT_MAX else f"{text[: _TEXT_MAX - 3]}..."


def _by_line(tree: ast.Module) -> dict[int, list[Definition]]:
    """Sort definitions by the line at which their code begins: that of the first decorator."""
    found: dict[int, list[Definition]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(node.lineno, []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            line = min([node.lineno, *(it.lineno for it in node.decorator_list)])
            found.setdefault(line, []).append(node)
    return found
