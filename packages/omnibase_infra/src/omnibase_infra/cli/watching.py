"""Runs a verb again whenever what it read has changed: contracts, tests, and the modules of the nodes' functions."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from omnibase_core.contracts.document import parse_document
from omnibase_core.errors import InvalidContracts
from omnibase_infra.cli.contracts import contracts_dir_above
from omnibase_infra.files import read_with_tests

_LOOK_S = 0.3
_AGAIN = ("-P", "-c", "from omnibase_infra.cli import main; main()")


def watch(arguments: Sequence[str], paths: Sequence[Path]) -> None:
    """Run `runtime-host` with these arguments at once and after every change below the paths, until Ctrl-C.

    Each run is a process of its own: nothing else forgets a module that was imported.
    """
    try:
        while True:
            before = _seen(paths)
            subprocess.run([sys.executable, *_AGAIN, *arguments], check=False)  # noqa: S603 - our own program
            click.echo("\nwaiting for a change; Ctrl-C ends", err=True)
            while _seen(paths) == before:
                time.sleep(_LOOK_S)
            click.echo(err=True)
    except KeyboardInterrupt:
        return


def _seen(paths: Iterable[Path]) -> Mapping[Path, tuple[int, int]]:
    """Give each file with its time and size."""
    found: dict[Path, tuple[int, int]] = {}
    for path in paths:
        for file in _files(contracts_dir_above(path if path.is_dir() else path.parent)):
            try:
                status = file.stat()
            except OSError:
                continue  # It has just gone: that is a change too.
            found[file] = (status.st_mtime_ns, status.st_size)
    return found


def _files(folder: Path) -> Iterator[Path]:
    try:
        documents = list(read_with_tests(folder))
    except InvalidContracts as error:
        yield from (Path(problem.path) for problem in error.problems)
        return
    packages: set[str] = set()
    for document in documents:
        yield Path(document.path)
        if "logic_packages" in document.text:
            listed = parse_document(str(document.path), document.text).tree.get("logic_packages")
            packages.update(it for it in listed if isinstance(it, str)) if isinstance(listed, list) else None
    for package in packages:
        yield from _modules(package)


def _modules(package: str) -> Iterator[Path]:
    """Give the files of a package, without importing more of it than what is above it."""
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
