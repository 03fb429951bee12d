"""What the packages are: one version, exact pins, names, sizes, Protocols, and what importing them costs."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
NAMES = ("core", "spi", "infra")
LINES_MAX = 400
VAGUE = {"utils", "util", "shared", "common", "helpers", "helper", "base", "mixins", "misc", "manager"}


def project(name: str) -> dict[str, Any]:
    """Read a package's project table."""
    text = (ROOT / f"packages/omnibase_{name}/pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def test_the_packages_have_one_version_and_pin_each_other_exactly() -> None:
    """Public packages of these names exist: nothing may be taken from the index by accident."""
    versions = {project(name)["version"] for name in NAMES}
    assert len(versions) == 1
    [version] = versions
    ours = {name: sorted(it for it in project(name)["dependencies"] if it.startswith("omnibase")) for name in NAMES}
    assert ours == {
        "core": [],
        "spi": [f"omnibase-core=={version}"],
        "infra": [f"omnibase-core=={version}", f"omnibase-spi=={version}"],
    }


def test_core_needs_five_libraries() -> None:
    """Values, envelopes, YAML, expressions and schemas; nothing else."""
    names = {re.split(r"[<>=]", it)[0] for it in project("core")["dependencies"]}
    assert names == {"pydantic", "msgspec", "pyyaml", "cel-expr-python", "jsonschema-rs"}


def test_the_lock_file_names_one_public_index() -> None:
    """No setting of a machine is committed."""
    lock = (ROOT / "uv.lock").read_text()
    assert set(re.findall(r'registry = "([^"]+)"', lock)) == {"https://pypi.org/simple"}
    assert "index" not in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_small_and_named_for_what_it_holds(path: Path) -> None:
    """A module can be read in one sitting, and no room ties everything to everything."""
    assert len(path.read_text().splitlines()) <= LINES_MAX
    assert not {path.stem, *path.relative_to(ROOT).parts} & VAGUE


def behaviour_of(source: str) -> list[str]:
    """Name what a module of spi holds beyond docstrings, imports, `__all__` and Protocols without bodies."""
    found: list[str] = []
    for node in ast.parse(source).body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                pass
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                pass
            case ast.ClassDef(bases=[ast.Name(id="Protocol")]):
                found.extend(f"{node.name}: {ast.unparse(it)[:60]}" for it in node.body if not _is_declaration(it))
            case _:
                found.append(ast.unparse(node)[:60])
    return found


def _is_declaration(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return all(isinstance(it, ast.Expr) and isinstance(it.value, ast.Constant) for it in node.body)
    is_field = isinstance(node, ast.AnnAssign) and node.value is None
    return is_field or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def test_spi_is_protocols_only() -> None:
    """A plug-in author finds no behaviour to inherit."""
    modules = [it for it in SOURCES if "omnibase_spi" in it.parts]
    assert len(modules) >= 3
    assert [found for it in modules for found in behaviour_of(it.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "def helper(): ...\nx = 1",
        "class Handler: pass",
        'class Handler(Protocol):\n    def run(self):\n        """Run."""\n        return 1',
        "class Handler(Protocol):\n    retries: int = 3",
        "if True:\n    import os",
    ],
)
def test_behaviour_in_spi_is_caught(source: str) -> None:
    """Functions, plain classes, bodies, defaults and statements are behaviour."""
    assert behaviour_of(source) != []


def test_importing_core_loads_nothing_of_the_layers_above() -> None:
    """Core stands alone."""
    modules = "omnibase_core, omnibase_core.contracts.registry, omnibase_core.engine.runtime, omnibase_core.testing"
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"omnibase_spi", "omnibase_infra", "confluent_kafka", "httpcore"}
    assert "omnibase_core" in loaded


@pytest.mark.parametrize("module", ["cli", "host.plugins", "host.process"])
def test_only_a_host_that_calls_pays_for_the_client(module: str) -> None:
    """Neither the command line nor a host without such nodes imports what a handler talks through."""
    code = f"import sys, omnibase_infra.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"httpcore", "httpx", "h2", "certifi", "psycopg", "pgparse"} & set(done.stdout.split())
