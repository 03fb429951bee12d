"""Reads contract files for FileRegistry. Nothing here knows what they say."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.ports import ContractDocument

_SUFFIXES = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class ContractFiles:
    """What was read, and what could not be."""

    documents: Sequence[ContractDocument]
    problems: Sequence[Problem]


def read_contracts(path: PurePath, /) -> Iterable[ContractDocument]:
    """Read as `find_contracts` does. A ContractReader. Raises InvalidContracts with everything that cannot be read."""
    return _all_of(find_contracts(path))


def find_contracts(path: PurePath, /) -> ContractFiles:
    """Read the file, or every `*.yaml` and `*.yml` below the folder in the order of their paths.

    Hidden files and folders and the tests of contracts (`*.test.yaml`) are left out. Links are followed to what is
    named as a contract itself: a fault is shown with its line, and that of a linked `.env` may be a secret. That there
    is nothing to read is a problem. A byte that is no UTF-8 becomes a lone surrogate, as which its document refuses it
    at its very place.
    """
    return _read(path, _is_contract)


def read_with_tests(path: PurePath, /) -> Iterable[ContractDocument]:
    """Read as `find_with_tests` does. A ContractReader. Raises InvalidContracts with everything that cannot be read."""
    return _all_of(find_with_tests(path))


def find_with_tests(path: PurePath, /) -> ContractFiles:
    """Read as `find_contracts` does, and the tests of contracts with it."""
    return _read(path, lambda child: _is_contract(child) or is_test(child))


def is_test(path: PurePath) -> bool:
    """Check whether a file is named as the tests of a contract are."""
    return path.suffix in _SUFFIXES and path.stem.endswith(".test")


def _all_of(found: ContractFiles) -> Iterable[ContractDocument]:
    if found.problems:
        raise InvalidContracts(found.problems)
    return found.documents


def _read(path: PurePath, wanted: Callable[[Path], bool]) -> ContractFiles:
    reading = _Reading(wanted)
    reading.visit(Path(path))
    return ContractFiles(reading.documents, reading.problems)


class _Reading:
    """One walk through files and folders: what was read so far, and what could not be."""

    def __init__(self, wanted: Callable[[Path], bool]) -> None:
        self._wanted = wanted
        self.documents: list[ContractDocument] = []
        self.problems: list[Problem] = []
        self._folders: set[tuple[int, int]] = set()

    def visit(self, path: Path) -> None:
        if not path.is_dir():
            self._file(path)
            return
        self._folder(path)
        if not self.documents and not self.problems:
            self._problem(path, "no contract below this folder; expected files named *.yaml or *.yml")

    def _folder(self, path: Path) -> None:
        try:
            status = path.stat()
            children = sorted(path.iterdir())
        except OSError as error:
            self._problem(path, f"the folder cannot be read: {error.strerror}")
            return
        # A folder that links lead to twice is read once, and so a circle of links comes to an end.
        if (identity := (status.st_dev, status.st_ino)) in self._folders:
            return
        self._folders.add(identity)
        for child in children:
            if child.name.startswith("."):
                continue
            if child.is_dir():
                self._folder(child)
            elif self._wanted(child) and _is_file(child):
                self._file(child)

    def _file(self, path: Path) -> None:
        if (linked := _linked_elsewhere(path)) is not None:
            told = f"the link leads to {linked!r}, which is not named as a contract (*.yaml, *.yml) and is not read"
            self._problem(path, f"{told}; link to a contract, or copy it")
            return
        try:
            text = path.read_bytes().decode(errors="surrogateescape")
        except OSError as error:
            self._problem(path, f"the file cannot be read: {error.strerror}")
        else:
            self.documents.append(ContractDocument(path, text))

    def _problem(self, path: Path, message: str) -> None:
        self.problems.append(Problem(str(path), 1, 1, message, code="unreadable-file"))


def _is_contract(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not is_test(path)


def _linked_elsewhere(path: Path) -> str | None:
    """Return the name of the file that a link leads to in the end, where that is not named as a contract."""
    if not path.is_symlink() or not path.is_file():
        return None
    name = path.resolve().name
    return None if Path(name).suffix in _SUFFIXES and not name.startswith(".") else name


def _is_file(path: Path) -> bool:
    # A pipe would keep the reader waiting; a link that leads nowhere is named like a contract, and so is a fault.
    return path.is_file() or not path.exists()
