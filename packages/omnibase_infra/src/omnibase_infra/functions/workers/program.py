"""What runs inside a worker process: functions, one after the other, as the host at the other end of a socket asks.

A worker imports the standard library and what its functions import: it costs no more than a bare interpreter. Where
these know pydantic, it is core that calls them, as on the loop, since they may take or give a model.

A frame is the length of its body in four bytes and a number in eight, both big-endian, and the body as JSON. An answer
has the number of its question, so that nothing else is taken for it: a function may write to whatever is open here.

- `{"load": name}` is answered by `{"loaded": true}` or `{"missing": why}`.
- `{"call": name, "argument": value}` by `result`, `unfit` (why the result is no JSON) or `raised`, and `bytes`: what
  the worker then holds in memory.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, BinaryIO

from omnibase_infra.functions.importing import import_function

Find = Callable[[str], Callable[[Any], Any]]

HEADER_BYTES = 12
_LENGTH_BYTES = 4
FRAME_BYTES_MAX = 64 * 1024 * 1024

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"
_STANDARD_INPUT = 0


def serve(host_pid: int, find: Find = import_function) -> None:
    """Serve the host that is at standard input until it hangs up; `find` gives functions by name."""
    _follow(host_pid)
    find = cache(_with_models(find))
    asked, told = _take_over_input()
    memory = _memory()
    with suppress(ConnectionError):
        for number, question in _frames(asked):
            if "load" in question:
                answer = framed(number, _load(question["load"], find))
            else:
                answer = _answer(number, question, find, memory)
            with suppress(Exception):
                # Before it is told: whoever has the answer may kill the worker, and what was printed would be lost.
                sys.stdout.flush()
            told.write(answer)
            told.flush()


def framed(number: int, content: dict[str, Any]) -> bytes:
    """Return content as the frame of this number.

    Raises ValueError, TypeError or RecursionError where it is no JSON, or too large.
    """
    body = json.dumps(content).encode()
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"{len(body)} bytes as JSON, at most {FRAME_BYTES_MAX} can be passed on")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + number.to_bytes(HEADER_BYTES - _LENGTH_BYTES, "big") + body


def header(data: bytes) -> tuple[int, int]:
    """Return the length of a frame's body, and its number, by its first bytes."""
    return int.from_bytes(data[:_LENGTH_BYTES], "big"), int.from_bytes(data[_LENGTH_BYTES:], "big")


def _with_models(find: Find) -> Find:
    """Have functions that may take or give a model called as on the loop, through core."""

    def found(name: str) -> Callable[[Any], Any]:
        function = find(name)
        if "pydantic" not in sys.modules:
            return function  # nothing that it is annotated with can be a model
        from omnibase_core.handlers.signatures import NodeFunction

        return NodeFunction.of(name, function).call

    return found


def _follow(host_pid: int) -> None:
    """End when the host does, whatever a function is at, and not before: a signal to all is the host's to heed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != host_pid:
            sys.exit(0)  # it was gone before it could be followed
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 - pathlib takes its time to import
            # Where memory is short, a worker has to go before the host.
            score.write(_OOM_SCORE)
    with suppress(Exception):
        faulthandler.enable()  # says on standard error which line crashed


def _take_over_input() -> tuple[BinaryIO, BinaryIO]:
    """Keep the socket for ourselves: a function that reads standard input finds its end."""
    asked = os.fdopen(os.dup(_STANDARD_INPUT), "rb")
    told = os.fdopen(os.dup(_STANDARD_INPUT), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STANDARD_INPUT)
    os.close(nothing)
    return asked, told


def _memory() -> Callable[[], int]:
    """Return what tells how many bytes are resident; 0 where the system does not say."""
    try:
        statm, page_bytes = os.open("/proc/self/statm", os.O_RDONLY), os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return lambda: 0
    return lambda: int(os.pread(statm, 100, 0).split()[1]) * page_bytes


def _frames(asked: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    while len(begun := asked.read(HEADER_BYTES)) == HEADER_BYTES:
        length, number = header(begun)
        yield number, json.loads(asked.read(length))


def _load(name: str, find: Find) -> dict[str, Any]:
    try:
        find(name)
    except LookupError as error:
        return {"missing": str(error)}
    except BaseException as error:  # noqa: BLE001 - a module that wants to exit is a module that cannot be imported
        return {"missing": f"{name}: {_described(error)}"}
    return {"loaded": True}


def _answer(number: int, question: dict[str, Any], find: Find, memory: Callable[[], int]) -> bytes:
    try:
        return framed(number, {**_call(find(question["call"]), question["argument"]), "bytes": memory()})
    except (ValueError, TypeError, RecursionError) as error:
        return framed(number, {"unfit": f"its result: {error}", "bytes": memory()})


def _call(function: Callable[[Any], Any], argument: Any) -> dict[str, Any]:
    try:
        result = function(argument)
    except BaseException as error:  # noqa: BLE001 - a function that wants to exit has failed, and nothing else
        return {"raised": _told(error)}
    if not isinstance(result, dict):
        return {"result": None}
    return {"unfit": fault} if (fault := _fault(result, ())) else {"result": result}


def _told(error: BaseException) -> dict[str, Any]:
    """Return an error as the host would see it; core, if it is here at all, knows those that it defines."""
    ours = sys.modules.get("omnibase_core.errors")
    if ours is None or not isinstance(error, ours.CommandRejected | ours.CommandFailed):
        return {"code": "internal_error", "message": _described(error)}
    told = {
        "rejected": isinstance(error, ours.CommandRejected),
        "code": error.code,
        "message": str(error),
        "retryable": error.retryable,
        "retry_after_s": getattr(error, "retry_after_s", None),
    }
    return told if _fault(error.details, ()) else {**told, "details": error.details}


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error that cannot even say what it is
        return type(error).__name__


def _fault(value: Any, at: tuple[object, ...]) -> str | None:
    """Describe what JSON would refuse, or change without a word: tuples, and keys that are no text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                return f"{_place((*at, key, '[key]'))}: Input should be a valid string"
            if fault := _fault(inner, (*at, key)):
                return fault
        return None
    if isinstance(value, list):
        return next((fault for n, inner in enumerate(value) if (fault := _fault(inner, (*at, n)))), None)
    if value is None or isinstance(value, str | int | float):
        return None
    return f"{_place(at)}: input was not a valid JSON value"


def _place(at: tuple[object, ...]) -> str:
    return ".".join(map(str, at))
