"""Watches a function while it runs: for tests, and for `runtime-host run --strict`.

Python's audit events (https://docs.python.org/3/library/audit_events.html) tell of files, sockets and processes, and
the profiler tells of every call, which shows what no event does: the clock, chance and the environment. A function is
called twice, with equal arguments: what gives two results, or changes its argument, is no function of it.

Calls from C to C are not seen (`map(time.time, ...)`), nor is a state that no result shows: reading finds those.
"""

# Else the first datetime.strptime imports it, and that looks like the function's own import.
import _strptime  # type: ignore[import-not-found]  # noqa: F401
import random
import sys
import threading
from collections.abc import Callable
from copy import deepcopy
from functools import cache, wraps
from types import FrameType, ModuleType
from typing import Any

from omnibase_core.errors import ImpureFunction
from omnibase_core.ports import PureFunction
from omnibase_infra.functions.importing import import_function
from omnibase_infra.functions.purity.findings import ADVICE, Impurity
from omnibase_infra.functions.purity.known import name_of, verdict

_IMPORTLIB = "<frozen importlib"
_UNWRITTEN = (_IMPORTLIB, "<string>")
"""Files of code that nobody wrote: imports, and the methods of dataclasses."""
_SHARED_DICE = random._inst  # noqa: SLF001 - its methods are the module's functions
_EVENTS = {
    "open": Impurity.IO,
    "os": Impurity.IO,
    "socket": Impurity.IO,
    "shutil": Impurity.IO,
    "pathlib": Impurity.IO,
    "glob": Impurity.IO,
    "tempfile": Impurity.IO,
    "sqlite3": Impurity.IO,
    "urllib": Impurity.IO,
    "http": Impurity.IO,
    "mmap": Impurity.IO,
    "fcntl": Impurity.IO,
    "builtins.input": Impurity.IO,
    "builtins.id": Impurity.IDENTITY,
    "subprocess": Impurity.PROCESS,
    "_thread": Impurity.PROCESS,
    "signal": Impurity.PROCESS,
    "syslog": Impurity.LOG,
    "ctypes": Impurity.DYNAMIC,
    "compile": Impurity.DYNAMIC,
    "exec": Impurity.DYNAMIC,
    "code": Impurity.DYNAMIC,
    "function": Impurity.DYNAMIC,
    "sys": Impurity.DYNAMIC,
    "gc": Impurity.DYNAMIC,
    "marshal": Impurity.DYNAMIC,
    "pickle": Impurity.DYNAMIC,
    "import": Impurity.IMPORT,
}
"""Audit events by what they begin with."""
_OUR_OWN = {"sys._getframe", "sys.setprofile"}
"""Who calls these is seen by the profiler. A signal that comes while it looks makes the interpreter take it away."""


class _Seen(BaseException):
    """Not an Exception: a function that catches those goes no further either."""


class Guard:
    """Watches functions on the thread that calls them. One is enough for a process."""

    def __init__(self) -> None:
        """Start to listen. An audit hook stays for as long as the process lives; it is idle outside of a call."""
        self._verdicts: dict[object, Impurity | None] = {}
        self._here = threading.local()
        sys.addaudithook(self._audit)

    def guarded(self, function: PureFunction, *, name: str) -> PureFunction:
        """Return a function that does the same, and raises ImpureFunction where it is not pure."""

        @wraps(function)  # its models are read from its annotations
        def watched(argument: Any) -> Any:
            before = deepcopy(argument)
            result = self._watched(function, argument, name)
            if argument != before:
                raise _impure(name, "it changed its argument", Impurity.STATE)
            again = self._watched(function, before, name)
            if result != again and repr(result) != repr(again):
                raise _impure(name, "two calls with one argument gave two results", Impurity.STATE)
            return result

        return watched

    def _watched(self, function: PureFunction, argument: Any, name: str) -> Any:
        """Call it. What was seen is told even if the function swallowed it."""
        before = sys.getprofile()
        seen: list[tuple[str, Impurity]] = []
        self._here.seen = seen
        result = None
        try:
            try:
                sys.setprofile(self._profile)
                self._here.watching = True
                result = function(argument)
            except _Seen:
                pass
            finally:
                self._stop(before)
        finally:
            # A signal that interrupts the function may interrupt what ends the watching, too.
            self._stop(before)
        if seen:
            what, impurity = seen[0]
            raise _impure(name, what, impurity)
        return result

    def _stop(self, before: Any) -> None:
        self._here.watching = False
        sys.setprofile(before)

    def _profile(self, frame: FrameType, event: str, called: Any) -> None:
        here = self._here
        if not here.watching or event not in {"call", "c_call"}:
            return
        here.watching = False  # what judging does is nobody's event
        try:
            caller = frame if event == "c_call" else frame.f_back
            impurity = self._of_builtin(called) if event == "c_call" else self._of_code(frame)
            if impurity is None or caller is None or not (_is_users(caller) or _is_told_anyhow(frame)):
                return
            what = name_of(called) if event == "c_call" else _name_of_code(frame)
            self._tell(caller, what.removeprefix("builtins."), impurity)
        finally:
            here.watching = True

    def _of_builtin(self, function: Any) -> Impurity | None:
        owner = getattr(function, "__self__", None)
        if isinstance(owner, random.Random):
            return Impurity.RANDOMNESS if owner is _SHARED_DICE else None
        key = (owner if isinstance(owner, type | ModuleType) else type(owner), function.__name__)
        if key not in self._verdicts:
            self._verdicts[key] = _known_impurity(name_of(function))
        return self._verdicts[key]

    def _of_code(self, frame: FrameType) -> Impurity | None:
        code = frame.f_code
        if code.co_name == "<module>" or code.co_filename.startswith(_UNWRITTEN):
            return None
        if isinstance(owner := frame.f_locals.get("self"), random.Random):
            return Impurity.RANDOMNESS if owner is _SHARED_DICE or _is_unseeded(frame) else None
        if code not in self._verdicts:
            self._verdicts[code] = _known_impurity(_name_of_code(frame))
        return self._verdicts[code]

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not getattr(self._here, "watching", False):
            return
        impurity = _EVENTS.get(event) or _EVENTS.get(event.partition(".")[0])
        if impurity is None or event in _OUR_OWN:
            return
        frame = _caller(sys._getframe(1))  # noqa: SLF001 - the one way to the caller of an audit hook
        if _is_users(frame):
            self._tell(frame, f"{event} {arguments!r:.80}", impurity)

    def _tell(self, frame: FrameType, what: str, impurity: Impurity) -> None:
        """Describe where the node's own code, rather than the library's, came to it."""
        at: FrameType | None = frame
        while at is not None and not (_is_users(at) and not at.f_code.co_filename.startswith(_UNWRITTEN)):
            at = at.f_back
        at = at or frame
        self._here.seen.append((f"{at.f_code.co_filename}:{at.f_lineno}: {what}", impurity))
        raise _Seen


def guarded_import() -> Callable[[str], PureFunction]:
    """Return an `import_function` whose functions are watched while they run."""
    return lambda name: _guard().guarded(import_function(name), name=name)


@cache
def _guard() -> Guard:
    """Return the one of this process: nothing takes an audit hook away again."""
    return Guard()


def _caller(frame: FrameType) -> FrameType:
    """Return the nearest frame that is not the machinery of imports."""
    while frame.f_code.co_filename.startswith(_IMPORTLIB) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _is_users(frame: FrameType) -> bool:
    """Check whether a frame is not of the standard library: what that does inside of a call is its own affair."""
    return verdict(_module_of(frame)) is Impurity.UNKNOWN


def _is_told_anyhow(frame: FrameType) -> bool:
    """Check whether it matters even where the library calls it: `random.Random()` does, and `os.environ.get`."""
    return _is_unseeded(frame) or _name_of_code(frame).startswith("os._Environ.")


def _is_unseeded(frame: FrameType) -> bool:
    """Check whether a frame is `random.Random.seed` without a seed."""
    is_seed = frame.f_code.co_name == "seed" and isinstance(frame.f_locals.get("self"), random.Random)
    return is_seed and frame.f_locals.get("a") is None


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).lstrip("_")


def _name_of_code(frame: FrameType) -> str:
    return f"{_module_of(frame)}.{frame.f_code.co_qualname}"


def _known_impurity(name: str) -> Impurity | None:
    impurity = verdict(name)
    return None if impurity is Impurity.UNKNOWN else impurity


def _impure(name: str, what: str, impurity: Impurity) -> ImpureFunction:
    return ImpureFunction("impure_function", f"{name}: {what}; {ADVICE[impurity]}", details={"impurity": impurity})
