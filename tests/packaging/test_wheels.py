"""What is built, installed and run as a user would: the three wheels, and the plug-in of the documentation."""

import json
import re
import sqlite3
import subprocess
import zipfile
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.hosts import Machine, RunningHost
from tests.support.processes import Child, until
from tests.support.wheels import ROOT, UV, build_wheels, environment_with, interpreter_of, run

NAMES = ("omnibase_core", "omnibase_spi", "omnibase_infra")
NEED_MORE = {
    "omnibase_infra.handlers.llm.anthropic_api",
    "omnibase_infra.handlers.llm.openai_api",
    "omnibase_infra.handlers.llm.wire",
    "omnibase_infra.host.tracing",
}
"""Modules that stand on what a user installs beside: the extra `llm`, and OpenTelemetry. Nothing else imports them."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheel of each package."""
    return build_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with all three."""
    return environment_with(tmp_path_factory.mktemp("installed"), *wheels.values())


@pytest.mark.parametrize("count", [1, 2, 3], ids=NAMES)
def test_a_wheel_installs_with_the_layers_below_alone_and_imports(
    wheels: dict[str, Path], tmp_path: Path, count: int
) -> None:
    """Every module of it can be imported, with no more installed than it asks for; few need an extra, and say so."""
    bin_folder = environment_with(tmp_path, *(wheels[name] for name in NAMES[:count]))
    with zipfile.ZipFile(wheels[NAMES[count - 1]]) as wheel:
        names = [it for it in wheel.namelist() if it.endswith(".py")]
        assert f"{NAMES[count - 1]}/py.typed" in wheel.namelist()
        assert any(it.endswith("licenses/LICENSE") for it in wheel.namelist())
    modules = [it.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for it in names]
    assert len(modules) > 2
    alone = [it for it in modules if it not in NEED_MORE]
    run(bin_folder / "python", "-W", "error", "-c", f"import {', '.join(alone)}", cwd=tmp_path)
    assert len(modules) - len(alone) == (len(NEED_MORE) if count == len(NAMES) else 0)
    listed = run(UV, "pip", "list", "--format", "freeze", cwd=tmp_path, VIRTUAL_ENV=str(tmp_path / "venv"))
    assert [name for name in NAMES if name.replace("_", "-") in listed] == list(NAMES[:count])


def test_the_demo_runs_from_the_wheels_in_any_folder(installed: Path, tmp_path: Path) -> None:
    """The examples ship in the wheel: every node answers."""
    state = str(tmp_path / "state")
    said = run(installed / "runtime-host", "demo", "--once", cwd=tmp_path, RUNTIME_HOST_STATE_DIR=state)
    answered = re.search(r"(\d+) of (\d+) commands answered", said)
    assert answered is not None
    assert answered[1] == answered[2] != "0"
    assert max(map(len, said.splitlines())) <= 80
    assert run(installed / "omninode-runtime-host", "--version", cwd=tmp_path) == "runtime-host, version 1.0.0\n"


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_later_versions_of_python_serve_as_well(version: str, wheels: dict[str, Path], tmp_path: Path) -> None:
    """The demo answers, and the examples pass the tests beside them."""
    python = interpreter_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    bin_folder = environment_with(tmp_path, *wheels.values(), python=python)
    state = str(tmp_path / "state")
    said = run(bin_folder / "runtime-host", "demo", "--once", cwd=tmp_path, RUNTIME_HOST_STATE_DIR=state)
    assert re.search(r"\b9 of 9 commands answered", said)
    run(bin_folder / "runtime-host", "test", ROOT / "contracts", "--fail-under", "100", cwd=tmp_path)


def plugin_of_the_page(folder: Path, package: Path) -> Path:
    """Write the files of docs/plugins.md into a folder, and build the wheel of one of its packages."""
    page = (ROOT / "docs" / "plugins.md").read_text()
    for name, text in re.findall(r"^File `([^`]+)`:\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", cwd=package)
    [plugin] = (folder / "dist").glob("*.whl")
    return plugin


def test_the_plugin_of_the_documentation_works(wheels: dict[str, Path], tmp_path: Path) -> None:
    """The files of docs/plugins.md, built as a wheel, installed beside the host, checked and run."""
    plugin = plugin_of_the_page(tmp_path, tmp_path)
    bin_folder = environment_with(tmp_path, *wheels.values(), plugin)
    with sqlite3.connect(tmp_path / "places.db") as database:
        database.execute("create table cities (name text, people integer)")
        database.execute("insert into cities values ('Ulm', 126000)")
    database.close()
    assert "nodes: 1, hosts: 1, problems: 0" in run(bin_folder / "runtime-host", "check", "contracts", cwd=tmp_path)
    _exported(bin_folder, tmp_path)
    assert "# unknown-key\n" in run(bin_folder / "runtime-host", "explain", "unknown-key", cwd=tmp_path)

    machine = Machine(tmp_path, tenant="docs", broker="embedded", command=str(bin_folder / "runtime-host"))
    machine.host_path = tmp_path / "contracts" / "hosts" / "places.yaml"
    child = Child(
        ["/usr/bin/env", "-C", str(tmp_path), str(bin_folder / "runtime-host"), "run", str(machine.host_path)],
        tmp_path / "host.log",
        environment={"RUNTIME_HOST_STATE_DIR": str(tmp_path / "state"), "RUNTIME_HOST_LOG_FORMAT": "json"},
    )
    try:
        RunningHost(child).until_ready()
        found = machine.call("send", "find-city", "--payload", '{"name": "Ulm"}')
        assert (found.returncode, found.stdout) == (0, '{\n  "people": 126000\n}\n')
        missing = machine.call("send", "find-city", "--payload", '{"name": "Atlantis"}')
        assert (missing.returncode, missing.stderr) == (1, "error: no_such_city: no such city\n")
        assert child.stop() == 0
    finally:
        child.kill()


def _exported(bin_folder: Path, folder: Path) -> None:
    """Write the handler contract of the plug-in as the page tells, and see that it is checked."""
    run(bin_folder / "runtime-host", "export", "handlers", "sqlite", "--out", "contracts/handlers", cwd=folder)
    written = (folder / "contracts" / "handlers" / "sqlite.yaml").read_text()
    assert "meaning: The file is busy or out of reach.\n    retryable: true\n" in written
    found = run(bin_folder / "runtime-host", "check", "contracts", cwd=folder)
    assert "nodes: 1, hosts: 1, handlers: 1, problems: 0" in found


def test_the_store_and_the_bus_of_the_documentation_work(wheels: dict[str, Path], tmp_path: Path) -> None:
    """A host without Kafka: the orders of a file are taken once, also by the host that is started after the first."""
    folder = tmp_path / "files"
    bin_folder = environment_with(tmp_path, *wheels.values(), plugin_of_the_page(tmp_path, folder))
    host_path = folder / "contracts" / "hosts" / "orders.yaml"
    checked = run(bin_folder / "runtime-host", "check", host_path, cwd=folder)
    assert "nodes: 1, hosts: 1, problems: 0" in checked
    schema = json.loads(run(bin_folder / "runtime-host", "schema", "host", cwd=folder))
    assert schema["$defs"]["bus.files"]["required"] == ["type", "inbox", "outbox"]

    def texts_of_answers(*sent: str) -> list[str]:
        lines = [json.dumps(_order(number, text)) for number, text in enumerate(sent)]
        (folder / "inbox.jsonl").write_text("\n".join(lines))
        (folder / "outbox.jsonl").write_text("")
        child = Child(
            ["/usr/bin/env", "-C", str(folder), str(bin_folder / "runtime-host"), "run", str(host_path)],
            tmp_path / f"host-of-{sent[0]}.log",
            environment={"RUNTIME_HOST_STATE_DIR": str(tmp_path / "state"), "RUNTIME_HOST_LOG_FORMAT": "json"},
        )

        def answers() -> list[str]:
            lines = [json.loads(line) for line in (folder / "outbox.jsonl").read_text().splitlines()]
            return [it["value"]["payload"]["text"] for it in lines if ".evt.node.take-order." in it["topic"]]

        try:
            RunningHost(child).until_ready()
            until(lambda: len(answers()) >= len(sent), within_s=30, what="answers")
            assert child.stop() == 0
        finally:
            child.kill()
        return answers()

    assert texts_of_answers("first", "second") == ["first", "first"]
    assert texts_of_answers("third") == ["first"]
    asked = subprocess.run(
        [bin_folder / "runtime-host", "dlq", "list", "take-order", "--host", host_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 1
    assert asked.stderr == "error: not_kafka: the bus of host 'orders' is not kafka; this is for hosts on Kafka alone\n"


def _order(number: int, text: str) -> dict[str, object]:
    """Return a line of the inbox: an order that always has the same number."""
    identity = str(UUID(int=number + 1))
    envelope = {
        "envelope_version": 1,
        "envelope_id": identity,
        "correlation_id": identity,
        "node_slug": "take-order",
        "payload": {"order": "o-1", "text": text},
        "timestamp": "2026-01-01T00:00:00Z",
    }
    return {"topic": "onex.app.dev.docs.cmd.node.take-order.v1", "key": "o-1", "value": envelope}
