"""The pages of codes: one for each, and its examples are what it says that they are."""

import re
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner, Result

from omnibase_core.errors import InvalidContracts
from omnibase_core.problem_codes import ProblemCode
from omnibase_infra.cli import main
from omnibase_infra.cli.error_pages import page, pages
from omnibase_infra.host.contract_files import find_with_tests
from omnibase_infra.host.loading import registry_of

ROOT = Path(__file__).parents[3]
CODES = sorted(get_args(ProblemCode))
_BLOCK = re.compile(r"^```(?:yaml|text|python) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def explain(*arguments: str) -> Result:
    """Run the verb in a terminal of 80 columns."""
    return CliRunner().invoke(main, ["explain", *arguments], terminal_width=80)


def _codes_of(folder: Path, section: str) -> set[str]:
    """Write the files of a section of a page, check them, and give the codes of what is found."""
    for name, text in _BLOCK.findall(section):
        path = folder / (name or "contract.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = find_with_tests(folder)
    try:
        registry_of(found.documents, found.problems)
    except InvalidContracts as error:
        return {problem.code for problem in error.problems}
    return set()


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    """A code without a page explains nothing; a page without a code is never found."""
    assert list(pages()) == CODES


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_told_somewhere(code: str) -> None:
    """Each stands in the source beside the list of all codes, so that something can have it."""
    sources = [path.read_text() for path in (ROOT / "packages").rglob("src/**/*.py") if ".venv" not in path.parts]
    assert sum(source.count(f'"{code}"') for source in sources) > 1


@pytest.mark.parametrize("code", CODES)
def test_the_examples_of_a_page_are_wrong_and_right(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong one has just the fault that the page is about, and the right one has none."""
    monkeypatch.syspath_prepend(tmp_path / "right")
    monkeypatch.syspath_prepend(tmp_path / "wrong")
    _, wrong, right = re.split(r"^## (?:Wrong|Right)$", page(code), flags=re.MULTILINE)
    assert _codes_of(tmp_path / "wrong", wrong) == {code}
    assert _codes_of(tmp_path / "right", right) == set()


@pytest.mark.parametrize("code", CODES)
def test_a_page_starts_with_its_code_and_fits_a_terminal(code: str) -> None:
    """A title, one line that says it all, and nothing that is wider than 80 columns."""
    assert re.match(rf"# {code}\n\n[A-Z`][^\n]+\.\n\n[A-Z`]", page(code))
    assert max(map(len, page(code).splitlines())) <= 80


def test_the_index_of_the_documentation_has_every_page() -> None:
    """What `explain` lists is what the documentation lists."""
    listed = [f"- [`{code}`]({code}.md): {meaning}" for code, meaning in pages().items()]
    index = (ROOT / "docs" / "errors" / "README.md").read_text()
    assert [line for line in index.splitlines() if line.startswith("- ")] == listed


def test_explain_prints_the_page() -> None:
    """As it is written, and as it stands in brackets behind a message too."""
    assert explain("unknown-key").stdout == page("unknown-key")
    assert explain("[Unknown-Key]").stdout == page("unknown-key")


def test_explain_alone_lists_all() -> None:
    """One line a code, and none too wide."""
    done = explain()
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == CODES
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("unknwon-key", "did you mean 'unknown-key'?"), ("E501", "`runtime-host explain` lists them all")],
)
def test_a_code_that_is_none_gets_the_nearest(asked: str, hint: str) -> None:
    """It is wrong usage, with status 2."""
    done = explain(asked)
    assert done.exit_code == 2
    assert f"there is no code '{asked}'; {hint}" in done.stderr
