"""Each guard of the architecture holds, and catches what breaks its rule."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import purity

ROOT = Path(__file__).parents[2]
CORE = "packages/omnibase_core/src/omnibase_core"
INFRA = "packages/omnibase_infra/src/omnibase_infra"
SPI = "packages/omnibase_spi/src/omnibase_spi"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the packages that may be broken."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "packages", folder / "packages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".importlinter", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the layers of the packages in a folder."""
    path = ":".join(str(it) for it in sorted(folder.glob("packages/*/src")))
    return subprocess.run(
        [str(BIN / "lint-imports"), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": path, "PATH": str(BIN), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def broken_contracts(output: str) -> list[str]:
    """Return the names of the contracts that import-linter calls broken."""
    return re.findall(r"^(.+) BROKEN(?: \(\d+ ignored imports?\))?$", output, flags=re.MULTILINE)


def test_the_layers_hold(copy: Path) -> None:
    """As they are, the packages break no rule."""
    done = lint_imports(copy)
    assert (done.returncode, broken_contracts(done.stdout)) == (0, []), done.stdout


BREACHES = {
    "spi in core": (f"{CORE}/ports.py", "import omnibase_spi", "infra imports spi imports core"),
    "infra in spi": (
        f"{SPI}/sources.py",
        "import omnibase_infra.host.contract_files",
        "infra imports spi imports core",
    ),
    "upwards in core": (f"{CORE}/envelope.py", "import omnibase_core.codec", "The layers of core"),
    "a new module of core": (f"{CORE}/helpers.py", "", "The layers of core"),
    "upwards in the engine": (
        f"{CORE}/engine/ledger.py",
        "import omnibase_core.engine.runtime",
        "The layers of the engine",
    ),
    "a new module of the engine": (f"{CORE}/engine/helpers.py", "", "The layers of the engine"),
    "upwards in the language": (
        f"{CORE}/contracts/node.py",
        "import omnibase_core.contracts.host",
        "The layers of the",
    ),
    "upwards in the tests of contracts": (
        f"{CORE}/contract_tests/scripted_handler.py",
        "import omnibase_core.contract_tests.runner",
        "The layers of the tests of contracts",
    ),
    "siblings in spi": (f"{SPI}/sources.py", "import omnibase_spi.factories", "The layers of spi"),
    "upwards in infra": (f"{INFRA}/http/values.py", "import omnibase_infra.secrets.current", "The layers of infra"),
    "upwards in a host": (
        f"{INFRA}/host/contract_files.py",
        "import omnibase_infra.host.plugins",
        "The layers of a host",
    ),
    "a new module of infra": (f"{INFRA}/utils.py", "", "The layers of infra"),
    "upwards in kafka": (
        f"{INFRA}/kafka/settings.py",
        "import omnibase_infra.kafka.topics",
        "The layers of the Kafka bus",
    ),
    "upwards in the workers": (
        f"{INFRA}/functions/workers/program.py",
        "import omnibase_infra.functions.workers.pool",
        "The layers of the workers",
    ),
    "more in a worker than it needs": (
        f"{INFRA}/functions/workers/program.py",
        "import pydantic",
        "A worker process imports",
    ),
    "a handler by name": (f"{INFRA}/cli/check.py", "import omnibase_infra.handlers.db", "No room names a handler"),
    "handlers": (f"{INFRA}/handlers/ftp.py", "import omnibase_infra.handlers.http", "No handler imports another"),
    "a socket in core": (f"{CORE}/codec.py", "import socket", "No code in core or spi does I/O"),
    "a file in core": (f"{CORE}/codec.py", "import io", "No code in core or spi does I/O"),
    "a clock in core": (f"{CORE}/engine/runtime.py", "import time", "No code in core or spi does I/O"),
    "chance in core": (f"{CORE}/engine/runtime.py", "import random", "No code in core or spi does I/O"),
    "an address in spi": (f"{SPI}/sources.py", "import urllib.request", "No code in core or spi does I/O"),
    "expressions": (f"{CORE}/engine/logic.py", "import cel_expr_python", "One importer of the expression engine"),
    "schemas": (f"{CORE}/engine/logic.py", "import jsonschema_rs", "The importers of the schema validator"),
    "yaml": (f"{INFRA}/host/contract_files.py", "import yaml", "One reader of YAML, and one formatter"),
    "kafka": (f"{INFRA}/host/process.py", "import confluent_kafka", "One room that imports the Kafka client"),
    "httpcore": (f"{INFRA}/demo/server.py", "import httpcore", "One importer of the HTTP client"),
    "psycopg": (f"{INFRA}/handlers/http/client.py", "import psycopg", "The importers of psycopg"),
    "pgparse": (f"{INFRA}/handlers/db/models.py", "import pgparse", "One importer of the parser of SQL"),
    "httpx2": (f"{INFRA}/handlers/llm/client.py", "import httpx2", "One importer of what the vendors' libraries"),
    "openai": (f"{INFRA}/handlers/llm/client.py", "import openai", "One importer of OpenAI's library"),
    "anthropic": (f"{INFRA}/handlers/llm/wire.py", "import anthropic", "One importer of Anthropic's library"),
    "upwards in HTTP": (
        f"{INFRA}/http/json_messages.py",
        "import omnibase_infra.http.json_client",
        "The layers of HTTP",
    ),
    "h11": (f"{INFRA}/handlers/http/client.py", "import h11", "The importers of h11"),
    "opentelemetry": (f"{INFRA}/host/process.py", "import opentelemetry.trace", "One importer of OpenTelemetry"),
    "web": (f"{INFRA}/host/health_server.py", "import uvicorn", "Nothing that serves HTTP but h11"),
    "click": (f"{INFRA}/host/process.py", "import click", "One room that knows the command line"),
}


@pytest.mark.parametrize(("path", "line", "contract"), BREACHES.values(), ids=list(BREACHES))
def test_a_breach_of_a_layer_is_caught(copy: Path, path: str, line: str, contract: str) -> None:
    """One import too many, or a module without a layer, breaks the contract that forbids it."""
    file = copy / path
    before = file.read_text() if file.exists() else None
    file.write_text(f"{before or ''}\n{line}\n")
    try:
        done = lint_imports(copy)
        assert done.returncode == 1, done.stdout + done.stderr
        assert any(name.startswith(contract) for name in broken_contracts(done.stdout)), done.stdout
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)


BANNED = {
    "a path that is opened": (CORE, "from pathlib import Path\n\nPath()"),
    "the time": (CORE, "from datetime import UTC, datetime\n\ndatetime.now(UTC)"),
    "a random id": (SPI, "from uuid import uuid4\n\nuuid4()"),
    "a connection": (CORE, 'import asyncio\n\nasyncio.open_connection("a", 1)'),
    "a process": (CORE, 'import asyncio\n\nasyncio.create_subprocess_exec("a")'),
    "the environment": (INFRA, 'import os\n\nos.environ["A"]'),
    "a variable": (INFRA, 'import os\n\nos.getenv("A")'),
}


@pytest.mark.parametrize(("package", "code"), BANNED.values(), ids=list(BANNED))
def test_a_banned_call_is_caught(package: str, code: str) -> None:
    """Ruff refuses what import-linter cannot see."""
    command = [str(BIN / "ruff"), "check", "--select", "TID251", "--stdin-filename", f"{package}/sample.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=f"{code}\n", capture_output=True, text=True, timeout=60, check=False)
    assert "TID251" in done.stdout, done.stdout + done.stderr


def run_as(filename: str, code: str) -> None:
    """Run a function as if it stood in a file of ours."""
    names: dict[str, object] = {}
    exec(compile(f"def function():\n    {code}\n", str(ROOT / filename), "exec"), names)  # noqa: S102 - the breach itself
    function = names["function"]
    assert callable(function)
    function()


@pytest.mark.parametrize(
    "code",
    [
        "open('/dev/null').close()",
        "import socket; socket.socket()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.listdir('/')",
        "import os; os.remove('/nowhere')",
        "import pathlib; pathlib.Path('/').iterdir().__next__()",
    ],
)
@pytest.mark.parametrize("package", [CORE, SPI])
def test_input_and_output_of_the_pure_packages_is_caught(package: str, code: str) -> None:
    """The audit hook stops it where it happens, and remembers it."""
    with purity.violations() as found, pytest.raises(purity.PurityViolation):
        run_as(f"{package}/sample.py", code)
    assert len(found) == 1
    assert "sample.py:2 caused" in found[0]


def test_a_swallowed_breach_is_remembered() -> None:
    """Code that catches everything hides nothing from the guard."""
    with purity.violations() as found:
        run_as(f"{CORE}/sample.py", "import contextlib\n    with contextlib.suppress(Exception): open('/dev/null')")
    assert len(found) == 1


def test_infra_may_and_imports_may() -> None:
    """The guard is about core and spi, and about what they do rather than what they import."""
    with purity.violations() as found:
        run_as(f"{INFRA}/sample.py", "open('/dev/null').close()")
        run_as(f"{CORE}/sample.py", "import sys; sys.modules.pop('this', None); import colorsys")
    assert found == []
