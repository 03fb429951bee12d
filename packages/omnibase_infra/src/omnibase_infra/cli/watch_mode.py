"""Runs a verb again whenever what it read has changed: contracts, tests, and the modules of the nodes' functions."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.errors import InvalidContracts
from omnibase_infra.host.contract_files import read_with_tests
from omnibase_infra.host.loading import contracts_dir_above

_LOOK_S = 0.3
_AGAIN = ("-P", "-c", "from omnibase_infra.cli import main; main()")


def watch(arguments: Sequence[str], paths: Sequence[Path]) -> None:
    """Run `runtime-host` with these arguments at once and after every change below the paths, until Ctrl-C.

    Each run is a process of its own: nothing else forgets a module that was imported.
    """
    folders = {contracts_dir_above(path if path.is_dir() else path.parent) for path in paths}
    try:
        while True:
            modules = [file for folder in folders for file in _modules_named_in(folder)]
            before = _seen(folders, modules)
            subprocess.run([sys.executable, *_AGAIN, *arguments], check=False)  # noqa: S603 - our own program
            click.echo("\nwaiting for a change; Ctrl-C ends", err=True)
            while _seen(folders, modules) == before:
                time.sleep(_LOOK_S)
            click.echo(err=True)
    except KeyboardInterrupt:
        return


def _seen(folders: Iterable[Path], modules: Iterable[Path]) -> Mapping[Path, tuple[int, int]]:
    """Return each file with its time and size."""
    found: dict[Path, tuple[int, int]] = {}
    for file in (*(it for folder in folders for it in _contracts_below(folder)), *modules):
        try:
            status = file.stat()
        except OSError:
            continue  # It has just gone: that is a change too.
        found[file] = (status.st_mtime_ns, status.st_size)
    return found


def _contracts_below(folder: Path) -> Iterator[Path]:
    """Yield the files that may be contracts or tests. They are looked at several times a second, and so not opened."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if name.endswith((".yaml", ".yml")))


def _modules_named_in(folder: Path) -> Iterator[Path]:
    """Yield the modules of every package that a host or a test of a folder allows."""
    try:
        documents = [it for it in read_with_tests(folder) if "logic_packages" in it.text]
    except InvalidContracts:
        return  # What cannot be read is told by the run itself.
    for document in documents:
        packages = parse_document(str(document.path), document.text).tree.get("logic_packages")
        for package in packages if isinstance(packages, list) else ():
            yield from _modules(str(package))


def _modules(package: str) -> Iterator[Path]:
    """Yield the files of a package, without importing more of it than what is above it."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    for folder in spec.submodule_search_locations or ():
        yield from Path(folder).rglob("*.py")
    if spec.origin is not None:
        yield Path(spec.origin)
