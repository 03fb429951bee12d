"""The wheels of the packages, and clean environments with nothing but them."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


def run(*command: str | Path, cwd: Path, within_s: float = 300, **environment: str) -> str:
    """Run a command that has to succeed, and give what it printed."""
    done = subprocess.run(
        [str(it) for it in command],
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}, **environment},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def build_wheels(folder: Path) -> dict[str, Path]:
    """Build the wheel of each package, and give them by the names of the packages."""
    run(UV, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", folder, cwd=ROOT)
    return {it.name.partition("-")[0]: it for it in folder.glob("*.whl")}


def interpreter_of(version: str) -> Path | None:
    """Return an interpreter of a version such as `3.12` on this machine, None where there is none."""
    of_pyenv = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")
    named = shutil.which(f"python{version}")
    for path in (*([Path(named)] if named else []), *of_pyenv):
        # What pyenv puts on the path only says that the version is not active.
        if subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def environment_with(folder: Path, *packages: Path, python: str | Path = "3.11") -> Path:
    """Make a clean environment in an empty folder, install wheels, and return the folder of its commands."""
    run(UV, "venv", "--quiet", "--python", python, folder / "venv", cwd=folder)
    run(UV, "pip", "install", "--quiet", *packages, cwd=folder, VIRTUAL_ENV=str(folder / "venv"))
    return folder / "venv" / "bin"
