"""The purity guard: under the whole suite, no code of core or spi may start I/O or a process.

Python tells an audit hook of each file, socket and process (https://docs.python.org/3/library/audit_events.html) that
is opened. Where the nearest frame of ours is one of core or spi, the event fails and so does the test. Importing a
module and creating a class, which read files of their own, are no behaviour and are exempt.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

_PACKAGES = Path(__file__).parents[2] / "packages"
_PURE = tuple(f"{_PACKAGES / f'omnibase_{name}'}/" for name in ("core", "spi"))
_OURS = f"{_PACKAGES}/"
_MEANS_IO = (
    "glob.",
    "http.",
    "os.",
    "pathlib.",
    "shutil.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "tempfile.",
    "urllib.",
)

_violations: list[str] = []


class PurityViolation(RuntimeError):
    """Core or spi tried to do I/O."""


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" and not event.startswith(_MEANS_IO):
        return
    if (frame := _pure_frame()) is not None:
        violation = f"{frame.f_code.co_filename}:{frame.f_lineno} caused {event} {arguments!r:.200}"
        _violations.append(violation)
        raise PurityViolation(violation)


def _pure_frame() -> FrameType | None:
    """Return the nearest frame of ours if it is a function of core or spi, and no import lies between."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - the one way to the caller of an audit hook
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return None
        if name.startswith(_OURS):
            is_definition = frame.f_code.co_name == "<module>"
            return frame if name.startswith(_PURE) and not is_definition else None
        frame = frame.f_back
    return None


@contextmanager
def violations() -> Iterator[list[str]]:
    """Collect the violations of the block instead of failing for them: for the guard's own test."""
    before = list(_violations)
    _violations.clear()
    collected: list[str] = []
    try:
        yield collected
    finally:
        collected.extend(_violations)
        _violations[:] = before


@pytest.fixture(autouse=True)
def _pure() -> Iterator[None]:
    """Fail the test in which core or spi did I/O, even where something swallowed the error."""
    yield
    found = list(_violations)
    _violations.clear()
    assert not found, "\n".join(found)


sys.addaudithook(_audit)
