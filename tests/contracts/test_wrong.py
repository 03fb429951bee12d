"""Wrong contracts, each with what is said about it, word for word and column for column.

The text beside a contract is what a user should be told. It is written first; then the check is made to say it.
"""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from omnibase_infra.cli import main

HERE = Path(__file__).parent
WRONG = sorted((HERE / "wrong").glob("*.yaml"))


def check(*paths: str) -> tuple[int, str]:
    """Check what is in the folder where the test works, in a terminal of 80 columns."""
    done = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["check", *paths])
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def _beside_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that has nodes to refer to, and a host of them all."""
    shutil.copytree(HERE / "good", tmp_path / "good")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", WRONG, ids=[path.stem for path in WRONG])
def test_a_wrong_contract_is_told_as_it_is_written_down(path: Path) -> None:
    """Every problem, each with its place, what was found, what to write, the line, the caret and the code."""
    shutil.copy(path, path.name)
    assert check("good", path.name) == (1, path.with_suffix(".txt").read_text())


def test_there_are_fifty_of_them_with_every_line_in_80_columns() -> None:
    """Fewer would leave kinds of faults out; what is wider would be broken by the terminal where it likes."""
    assert len(WRONG) >= 50
    lines = [line for path in WRONG for line in path.with_suffix(".txt").read_text().splitlines()]
    assert max(map(len, lines)) <= 80


def test_what_they_refer_to_is_good() -> None:
    """So that nothing else is told."""
    assert check("good") == (0, "nodes: 3, hosts: 1, problems: 0\n")
