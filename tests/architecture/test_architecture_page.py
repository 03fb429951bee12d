"""docs/architecture.md names files, folders and functions: they exist, functions in the files beside them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
SOURCES = sorted(ROOT.glob("packages/*/src"))

_PATH = re.compile(r"`((?:omnibase_\w+|tests)/[\w./]*)`")
_FUNCTION = re.compile(r"`([\w.]+)\(\)`")
_PARAGRAPH = re.compile(r"\n\n|\n(?=[|-])")


def named_paths(text: str) -> list[Path]:
    """Return where the paths in a text point to."""
    return [_found(path) for path in _PATH.findall(text)]


def _found(path: str) -> Path:
    places = [folder / path for folder in (ROOT, *SOURCES)]
    return next((it for it in places if it.exists()), places[0])


def defined_in(path: Path) -> set[str]:
    """Return the functions of a file, and the methods of its classes as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = {it.name for it in node.body if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)}
            names |= {f"{node.name}.{method}" for method in methods}
            names |= {method for method in methods if node.name.startswith("_")}
    return names


def unknown_functions(paragraph: str) -> set[str]:
    """Return the functions that are in none of the files which the same paragraph, or row of a table, names."""
    files = [path for path in named_paths(paragraph) if path.is_file()]
    return set(_FUNCTION.findall(paragraph)) - {name for path in files for name in defined_in(path)}


@pytest.mark.parametrize("path", sorted(set(_PATH.findall(PAGE))))
def test_the_page_names_what_exists(path: str) -> None:
    """A file is a file, and what ends in a slash a folder."""
    assert _found(path).is_dir() if path.endswith("/") else _found(path).is_file()


@pytest.mark.parametrize("paragraph", [it for it in _PARAGRAPH.split(PAGE) if _FUNCTION.search(it)])
def test_functions_are_where_the_page_says(paragraph: str) -> None:
    """Each function is in a file that is named in its paragraph."""
    assert unknown_functions(paragraph) == set()


def test_every_room_is_on_the_page() -> None:
    """A folder that is added to core or infra has to be explained."""
    rooms = {
        f"{it.parent.name}/{it.name}/"
        for folder in SOURCES
        for it in (folder / folder.parent.name).iterdir()
        if (it / "__init__.py").is_file()
    }
    assert rooms <= set(_PATH.findall(PAGE))


def test_what_does_not_exist_is_noticed() -> None:
    """The checks above can fail."""
    assert not _found("omnibase_core/engine/nowhere.py").exists()
    assert unknown_functions("`Ledger.nothing()` in `omnibase_core/engine/ledger.py`") == {"Ledger.nothing"}
