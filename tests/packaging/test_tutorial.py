"""docs/tutorial.md, done by a reader with nothing but the installed command and an empty folder."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.pages import Change, Command, differs, steps_of
from tests.support.processes import Child
from tests.support.wheels import ROOT, build_wheels, environment_with

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
WITHIN_S = 300


def test_the_tutorial_works_from_an_empty_folder(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """Every command prints what the page says, and the whole takes less than five minutes."""
    bin_folder = environment_with(
        tmp_path_factory.mktemp("installed"), *build_wheels(tmp_path_factory.mktemp("wheels")).values()
    )
    (folder := tmp_path / "empty").mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")},
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "RUNTIME_HOST_STATE_DIR": str(tmp_path / "state"),
    }
    began_s = time.monotonic()
    hosts: list[Child] = []
    try:
        for step in steps_of(PAGE):
            if isinstance(step, Change):
                step.apply(folder)
            elif " run " in step.line:
                hosts.append(_start(step, folder, environment, tmp_path / "host.log"))
            else:
                _do(step, folder, environment)
        assert [host.stop(signal.SIGINT) for host in hosts] == [0]
    finally:
        for host in hosts:
            host.kill()
    assert time.monotonic() - began_s < WITHIN_S


def _do(command: Command, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-c", command.line], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    printed = done.stdout + done.stderr
    missing = differs(printed, command.printed)
    assert missing is None, f"$ {command.line}\n{printed}\nThe page expects: {missing}"


def _start(command: Command, folder: Path, environment: dict[str, str], log: Path) -> Child:
    started = Child(["/usr/bin/env", "-C", str(folder), *command.line.split()], log, environment=environment)
    started.until_says("host_started", within_s=60)
    return started


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        (["one", "...", "three in 9.99 s"], None),
        (["o... e", "", "thr"], "o... e"),
        (["t...e"], None),
        (["three", "one"], "one"),
        (["four"], "four"),
    ],
)
def test_what_a_page_expects_has_to_come_in_order(expected: list[str], missing: str | None) -> None:
    """A page that promises more than there is fails."""
    assert differs("one\ntwo\nthree in 0.01 s\n", expected) == missing


def test_a_page_is_read_as_its_reader_does(tmp_path: Path) -> None:
    """Commands with their output, and changes of the file that was named last."""
    page = "In `a/b.py`:\n\n```diff\n-x\n+y\n+z\n```\n\n```console\n$ one\nsaid\n$ two\n```\n"
    change, one, two = steps_of(page)
    assert (one, two) == (Command("one", ["said"]), Command("two", []))
    assert isinstance(change, Change)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("w\nx\n")
    change.apply(tmp_path)
    assert (tmp_path / "a" / "b.py").read_text() == "w\ny\nz\n"
    with pytest.raises(AssertionError, match="has 0 times"):
        change.apply(tmp_path)
