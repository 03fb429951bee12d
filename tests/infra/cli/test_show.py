"""The verbs that show contracts, format them and help to write them, as they are called."""

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner, Result

from omnibase_infra.authoring.reference import MARK
from omnibase_infra.cli import main
from omnibase_infra.host.settings import process_state_dir
from omnibase_infra.host.state import HostState, write_state

ROOT = Path(__file__).parents[3]
DEMO = "contracts/hosts/demo.yaml"


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a copy of the examples, with a state folder of its own."""
    monkeypatch.setenv("RUNTIME_HOST_STATE_DIR", str(tmp_path / "state"))
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    monkeypatch.chdir(tmp_path)


def call(*arguments: str, **environment: str) -> Result:
    """Run a verb in a terminal of 80 columns."""
    return CliRunner().invoke(main, arguments, terminal_width=80, env=environment)


def test_the_help_lists_every_verb_in_a_section() -> None:
    """Each on one line of 80 columns, with what it does told to the end."""
    lines = call("--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    verbs = main.list_commands(click.Context(main))
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in verbs]
    assert sorted(listed) == sorted(verbs)
    assert not [line for line in lines if line.startswith("  ") and line.endswith("...")]


@pytest.mark.parametrize("language", ["node", "host", "handler", "test"])
def test_schema_prints_json(language: str) -> None:
    """Ready to be written to a file."""
    done = call("schema", language)
    assert json.loads(done.stdout)["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize("paths", [[], ["contracts"], [DEMO]], ids=str)
def test_export_and_graph_take_a_host_a_folder_or_nothing(paths: list[str]) -> None:
    """Nothing means ./contracts, as most projects have it."""
    assert json.loads(call("export", "asyncapi", *paths).stdout)["asyncapi"] == "3.0.0"
    assert ElementTree.fromstring(call("graph", *paths).stdout).tag.endswith("svg")  # noqa: S314 - our own drawing
    assert call("graph", *paths, "--format", "mermaid").stdout.startswith("flowchart LR")


def test_export_prints_the_contract_of_one_handler() -> None:
    """As it is written to its file."""
    assert call("export", "handlers", "http").stdout == Path("contracts/handlers/http.yaml").read_text()


def test_export_writes_the_contracts_of_several_handlers() -> None:
    """A file each; without a name, of all that are installed."""
    assert call("export", "handlers", "db", "http", "--out", "two").stdout == "handlers: 2, folder: two\n"
    assert sorted(it.name for it in Path("two").iterdir()) == ["db.yaml", "http.yaml"]
    call("export", "handlers", "--out", "all")
    assert sorted(it.name for it in Path("all").iterdir()) == sorted(
        it.name for it in Path("contracts/handlers").iterdir()
    )


@pytest.mark.parametrize(
    ("types", "told"),
    [
        (["htp"], "there is no handler 'htp'; did you mean 'http'?"),
        (["db", "http"], "name one handler to print, or a folder with --out, such as contracts/handlers"),
        ([], "name one handler to print, or a folder with --out, such as contracts/handlers"),
    ],
    ids=str,
)
def test_export_says_which_handler_to_name(types: list[str], told: str) -> None:
    """Status 2, and nothing is printed."""
    done = call("export", "handlers", *types)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.split())


def test_docs_links_to_the_contract_of_a_handler() -> None:
    """Relative to the page, where the folder has one; a host alone knows none."""
    call("docs", "--out", "site/nodes")
    page = Path("site/nodes/fetch-greeting.md")
    assert "by the handler [`http`](../../contracts/handlers/http.yaml), target" in page.read_text()
    call("docs", DEMO, "--out", "site/nodes")
    assert "by the handler `http`, target" in page.read_text()


@pytest.mark.parametrize("verb", [["graph"], ["export", "asyncapi"], ["docs"]], ids=" ".join)
def test_without_contracts_they_say_what_to_name(verb: list[str], tmp_path: Path) -> None:
    """Status 2."""
    shutil.rmtree(tmp_path / "contracts")
    done = call(*verb)
    assert done.exit_code == 2
    assert "there is no folder ./contracts here" in done.stderr


def test_a_folder_without_a_host_is_nothing_to_draw(tmp_path: Path) -> None:
    """The next step is in the message."""
    shutil.rmtree(tmp_path / "contracts" / "hosts")
    done = call("graph")
    assert done.exit_code == 2
    assert "runtime-host new host NAME" in done.stderr


def test_docs_writes_pages_and_leaves_other_files_alone() -> None:
    """Its own pages are written again; anybody else's is never lost."""
    nodes = [it for it in Path("contracts/nodes").glob("*.yaml") if not it.name.endswith(".test.yaml")]
    assert call("docs").stdout == f"nodes: {len(nodes)}, index: reference/index.md\n"
    page = Path("reference/price-order.md")
    first = page.read_text()
    page.write_text(f"{MARK}\nold")
    assert call("docs").exit_code == 0
    assert page.read_text() == first
    page.write_text("mine")
    done = call("docs")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: page_not_ours: reference/price-order.md was not written by this command")
    assert page.read_text() == "mine"


def test_docs_shows_what_functions_answer() -> None:
    """For nodes of hosts, whose contracts allow the package; of a node by itself, nothing is imported."""
    call("docs")
    assert '"score": 80' in Path("reference/score-lead.md").read_text()
    call("docs", "contracts/nodes/score-lead.yaml", "--out", "alone")
    assert '"score": 80' not in Path("alone/score-lead.md").read_text()


def test_fmt_writes_only_what_changes() -> None:
    """And says which."""
    path = Path("contracts/nodes/echo.yaml")
    tidy = path.read_text()
    path.write_text(tidy.replace("kind: effect\n", "").replace("handler: local", "handler: local\nkind:   effect"))
    checked = call("fmt", "contracts", "--check")
    assert (checked.exit_code, checked.stdout) == (1, f"would format {path}\n")
    shown = call("fmt", "contracts", "--diff")
    assert (shown.exit_code, "-kind:   effect" in shown.stdout, "+kind: effect" in shown.stdout) == (0, True, True)
    assert path.read_text() != tidy
    assert call("fmt", "contracts").stdout == f"formatted {path}\n"
    assert path.read_text() == tidy
    assert call("fmt", "contracts", "--check").exit_code == 0


def test_fmt_refuses_a_contract_with_problems() -> None:
    """They are told as `check` tells them, and no file is written, not even a good one."""
    untidy = Path("contracts/nodes/echo.yaml")
    untidy.write_text(untidy.read_text().replace("kind: effect", "kind:   effect"))
    before = untidy.read_text()
    faulty = Path("contracts/nodes/mask-email.yaml")
    faulty.write_text(faulty.read_text().replace("kind: compute", "kind: compute\nkind: compute"))
    done = call("fmt", "contracts")
    assert done.exit_code == 1
    assert f"{faulty}:5:1: duplicate key 'kind'" in done.stderr
    assert untidy.read_text() == before


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    """Each shell has its own."""
    done = call("completion", shell)
    assert done.exit_code == 0
    assert "_RUNTIME_HOST_COMPLETE" in done.stdout


def test_a_shell_completes_verbs_hosts_and_running_nodes() -> None:
    """What it asks is answered by the state files and the folders at hand."""
    state = HostState.model_validate(
        {"host": "demo", "pid": os.getpid(), "started_at": "2026-01-01T00:00:00Z", "nodes": {"echo": 1}}
        | {"bootstrap_servers": "x", "contract_path": "x", "contracts_dir": "x"}
    )
    state_dir = process_state_dir()
    write_state(state_dir, state)
    assert "graph" in _completed("runtime-host gr")
    assert "contracts/hosts/demo.yaml" in _completed("runtime-host run con")
    assert "echo" in _completed("runtime-host send ec")
    state_dir.chmod(0o777)
    assert not _completed("runtime-host send ec").strip()


def _completed(line: str) -> str:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_RUNTIME_HOST_COMPLETE": "bash_complete"}
    return CliRunner().invoke(main, env=words, prog_name="runtime-host").stdout
