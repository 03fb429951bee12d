"""`runtime-host new`, from an empty folder: what it writes passes every check, and nothing is overwritten."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.handlers.compute import COMPUTE
from omnibase_core.ports import HandlerDescription, OperationDescription
from omnibase_infra.authoring.scaffold import LOGIC_PACKAGE, effect_node
from omnibase_infra.cli import main
from omnibase_infra.host.plugins import handler_factories
from tests.support.commands import AnyModel, registry

HANDLERS = sorted(set(handler_factories()) - {COMPUTE})


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work where nothing is; what a verb adds to the search path goes again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    for name in [it for it in sys.modules if it.partition(".")[0] == LOGIC_PACKAGE]:
        monkeypatch.delitem(sys.modules, name)


def call(*arguments: str) -> Result:
    """Run a verb."""
    return CliRunner().invoke(main, arguments, terminal_width=80)


def wrote(done: Result) -> list[str]:
    """Return the files that were written."""
    return [line.removeprefix("wrote ") for line in done.stdout.splitlines() if line.startswith("wrote ")]


@pytest.mark.parametrize("handler", HANDLERS)
def test_an_effect_node_of_any_handler_passes_check_test_and_fmt(handler: str) -> None:
    """With the host that is made for it, at once."""
    done = call("new", "node", "first-node", "--handler", handler)
    assert done.exit_code == 0, done.stderr
    files = ["contracts/nodes/first-node.yaml", "contracts/nodes/first-node.test.yaml", "contracts/hosts/local.yaml"]
    assert wrote(done) == files
    assert done.stdout.endswith("\nNext: runtime-host check contracts\n")
    _passes_all()


@pytest.mark.parametrize("name", ["count-words", "class", "x"])
def test_a_compute_node_has_its_function(name: str) -> None:
    """In a package of its own, which the host allows; a word of Python is no name of a function."""
    done = call("new", "node", name, "--kind", "compute")
    assert done.exit_code == 0, done.stderr
    assert f"logic/{name.replace('-', '_')}{'_' if name == 'class' else ''}.py" in wrote(done)
    _passes_all()


def _passes_all() -> None:
    checked = call("check", "contracts")
    assert checked.exit_code == 0, checked.stdout
    assert "nodes: 1, hosts: 1" in checked.stdout
    tested = call("test", "contracts", "--coverage", "--fail-under", "100")
    assert tested.exit_code == 0, tested.stdout
    assert call("fmt", "contracts", "--check").exit_code == 0


def test_a_node_beside_others_is_for_a_host_to_add() -> None:
    """A host contract that somebody wrote is not changed; a host that is made takes all nodes, and their targets."""
    call("new", "node", "first")
    done = call("new", "node", "second", "--handler", "http", "--target", "crm")
    assert len(wrote(done)) == 2
    assert "Add second to the nodes of a host" in done.stdout
    assert call("new", "host", "staging").exit_code == 0
    text = Path("contracts/hosts/staging.yaml").read_text()
    assert "nodes: [first, second]" in text
    assert "targets: {crm: {base_url: http://localhost:8080}}" in text
    assert call("check", "contracts").exit_code == 0


def test_no_file_is_overwritten() -> None:
    """Not even one of several: then nothing is written."""
    call("new", "node", "mine", "--kind", "compute")
    Path("contracts/nodes/mine.yaml").unlink()
    Path("logic/mine.py").write_text("mine = 1\n")
    done = call("new", "node", "mine", "--kind", "compute")
    assert done.exit_code == 1
    assert "logic/mine.py already exists; nothing was written" in done.stderr
    assert not Path("contracts/nodes/mine.yaml").exists()
    assert call("new", "host", "local").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["node", "FindUser"], "did you mean 'find-user'?"),
        (["node", "find_user"], "did you mean 'find-user'?"),
        (["node", "7 seas"], "did you mean 'seas'?"),
        (["node", "123"], "lower-case words joined by hyphens"),
        (["node", "a" * 60], f"did you mean '{'a' * 48}'?"),
        (["node", "a", "--handler", "htp"], "did you mean 'http'?"),
        (["node", "a", "--handler", "compute"], "handler 'compute' is not registered"),
        (["node", "a", "--handler", "http", "--target", "My CRM"], "did you mean 'my-crm'?"),
        (["node", "a", "--target", "crm"], "the handler local has no targets"),
        (["node", "a", "--kind", "compute", "--handler", "http"], "--handler is for --kind effect"),
        (["host", "Staging"], "did you mean 'staging'?"),
        (["host", "staging"], "make one with: runtime-host new node NAME"),
    ],
    ids=" ".join,
)
def test_wrong_usage_says_what_to_write(arguments: list[str], said: str) -> None:
    """Status 2, and no file."""
    done = call("new", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert list(Path().iterdir()) == []


def test_a_plugin_that_says_little_gets_a_node_all_the_same() -> None:
    """A model that asks for nothing and gives anything: its author fills in the rest."""
    odd = HandlerDescription(
        handler_type="odd",
        operations={"do": OperationDescription(request=AnyModel, result=AnyModel)},
        settings=AnyModel,
    )

    made = effect_node("a-node", odd, None, _loaded)
    assert "handler: odd" in made.contract
    assert "payload_invalid" in made.test


def _loaded(files: Mapping[str, str]) -> CompiledNode:
    renamed = {name: text.replace("handler: odd", "handler: scripted") for name, text in files.items()}
    return next(iter(registry(renamed).nodes.values()))
