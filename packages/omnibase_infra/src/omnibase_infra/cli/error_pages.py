"""The pages of `docs/errors`, one a code, as they are installed with the package. Reads them, and nothing else."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def pages() -> Mapping[str, str]:
    """Return every code that has a page with what it says in one line, in the order of the codes."""
    folder = files(__package__) / "errors"
    names = sorted(it.name for it in folder.iterdir() if it.name.endswith(".md") and it.name != "README.md")
    return {code: _summary(page(code)) for code in (name.removesuffix(".md") for name in names)}


def page(code: str) -> str:
    """Return a code's page, as it is written."""
    return (files(__package__) / "errors" / f"{code}.md").read_text(encoding="utf-8")


def _summary(text: str) -> str:
    """Return the first paragraph below the title."""
    return text.split("\n\n", 2)[1].replace("\n", " ")
