"""How docstrings of functions begin: with what the function does, in the words that Python's own library uses."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTEAD = {
    "Give": "Return or Yield",
    "Say": "Return, Check whether, Describe or Report",
    "Hold": "Take, Keep or Check",
    "Tell": "Report, Distinguish or Check whether",
    "Note": "Record",
}
"""First words that tell a reader less than the field's own."""


def _misbegun(source: str) -> Iterator[str]:
    """Yield each function whose docstring begins otherwise than it should."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "").partition(" ")[0]
            if first in INSTEAD:
                yield f"{node.name} in line {node.lineno}: {first}; write {INSTEAD[first]}"


def test_docstrings_begin_with_what_is_done() -> None:
    """In the product and in the tests' support."""
    folders = [ROOT / "packages", ROOT / "tests" / "support"]
    found = {
        str(path.relative_to(ROOT)): problems
        for folder in folders
        for path in folder.rglob("*.py")
        if (problems := list(_misbegun(path.read_text())))
    }
    assert found == {}


def test_the_guard_sees_what_it_is_for() -> None:
    """Also in a method, and not in a name that merely begins alike."""
    source = 'class A:\n    def b(self):\n        """Give it."""\n\n\ndef c():\n    """Given it, return."""\n'
    assert list(_misbegun(source)) == ["b in line 2: Give; write Return or Yield"]
