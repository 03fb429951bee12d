"""AsyncAPI's own parser, from npm: installed once, as locked, and without running anybody's scripts."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[2] / ".cache"


def findings(document: Mapping[str, Any]) -> list[str]:
    """Return what the parser finds wrong with a document; nothing where it is valid and without a warning."""
    done = subprocess.run(
        ["node", str(_HERE / "check.mjs"), str(_installed())],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert (done.returncode == 0) == (len(lines) == 1), done.stdout
    return [] if done.returncode == 0 else lines


def _installed() -> Path:
    """Return the folder with the parser. Without Node.js the test is left out, unless REQUIRE_NODE=1 forbids that."""
    if shutil.which("npm") is None:
        assert os.environ.get("REQUIRE_NODE") != "1", "REQUIRE_NODE=1, and there is no npm to install the parser with"
        pytest.skip("there is no npm to install AsyncAPI's parser with")
    manifest = json.loads((_HERE / "package.json").read_text())
    folder = _CACHE / f"asyncapi-{manifest['dependencies']['@asyncapi/parser']}"
    if not folder.exists():
        partial = folder.with_suffix(f".{os.getpid()}")
        partial.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, partial)
        # A package's own scripts are not run: one of them reports to its maker.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=partial, check=True, timeout=300, capture_output=True)
        partial.rename(folder)
    return folder
