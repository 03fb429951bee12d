"""Plug-ins, installed as far as the import system can tell."""

from pathlib import Path

import pytest


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    source: str,
    group: str = "omnibase.handlers",
    name: str = "mine",
) -> None:
    """Install a plug-in, as far as the import system can tell, until the end of the test."""
    (folder / f"{module}.py").write_text(source)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:factory\n")
    monkeypatch.syspath_prepend(str(folder))
