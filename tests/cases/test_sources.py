"""The cases themselves: each names the public reports that it comes from."""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = [it for it in sorted(HERE.glob("test_*.py")) if it.name != Path(__file__).name]


@pytest.mark.parametrize("path", MODULES, ids=[it.stem for it in MODULES])
def test_each_case_says_what_is_right_and_where_it_comes_from(path: Path) -> None:
    """Its docstring is the behaviour in words, and a paragraph `Source: ...`."""
    functions = [it for it in ast.parse(path.read_text()).body if isinstance(it, ast.FunctionDef)]
    cases = {it.name: ast.get_docstring(it) or "" for it in functions if it.name.startswith("test_")}
    assert cases
    assert [name for name, text in cases.items() if "\n\nSource: " not in text] == []
