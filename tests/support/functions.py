"""Functions of compute nodes that tests run in worker processes: good ones, and those that a host has to survive."""

import json
import os
import re
import signal
import stat
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from omnibase_core.errors import CommandRejected, HandlerError
from omnibase_infra.functions.workers.program import framed


def echo(argument: Any) -> dict[str, Any]:
    """Return the argument back."""
    return {"got": argument}


def give(name: str) -> Any:
    """Return what is no JSON object, or would be changed by becoming one."""
    return {
        "nothing": None,
        "a list": [1],
        "a tuple": {"a": (1, 2)},
        "a key that is no text": {"a": {1: 2}},
        "bytes": {"a": [b"x"]},
        "an object": object(),
        "too large": {"a": "x" * (65 * 1024 * 1024)},
        "a number too long": {"a": 10**5000},
    }[name]


def circle(_: Any) -> Any:
    """Return an object that holds itself."""
    result: dict[str, Any] = {}
    result["a"] = result
    return result


def who(_: Any) -> dict[str, Any]:
    """Describe which process this is, what it has imported, and how signals find it."""
    return {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "modules": sorted(sys.modules),
        "ignored": [it.name for it in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(it) is signal.SIG_IGN],
    }


def wild(_: Any) -> dict[str, Any]:
    """Search for ever in C: no signal handler of Python gets a turn."""
    return {"found": bool(re.match(r"(a+)+$", "a" * 40 + "b"))}


def sleep(seconds: float) -> dict[str, Any]:
    """Take so long."""
    time.sleep(seconds)
    return {"slept": seconds}


class Speechless(Exception):
    """An error that fails to say what it is."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


def fail(what: str) -> Any:
    """Raise what is asked for."""
    if what == "rejected":
        raise CommandRejected("too_old", "not any more", details={"age": 3})
    if what == "busy":
        raise HandlerError("busy", "later", retryable=True, retry_after_s=2.0, details={"at": (1, 2)})
    if what == "exit":
        sys.exit(3)
    if what == "speechless":
        raise Speechless
    raise ValueError(f"no such thing: {what}")


def leave(how: str) -> Any:
    """Raise what ends a process whose code lets it."""
    raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[how]


def end(how: str) -> Any:
    """End the process as something outside of Python would."""
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "crash": signal.SIGSEGV}[how])
    time.sleep(60)


def talk(_: Any) -> dict[str, Any]:
    """Write to standard output and standard error, and read standard input."""
    print("said to standard output")
    print("said to standard error", file=sys.stderr)
    return {"read": sys.stdin.read()}


def environment(_: Any) -> dict[str, Any]:
    """Return the environment of the process."""
    return dict(os.environ)


def stray(what: str) -> dict[str, Any]:
    """Write where only the process itself should, as a function with a wrong descriptor may: at once, or soon after."""
    forged = {"result": {"forged": True}, "bytes": 0}
    body = json.dumps(forged).encode()
    written = {
        "text": b"done: 1 row, nothing else to say\n",
        "a byte": b"x",
        "a frame": framed(1, forged),
        "a frame without a number": len(body).to_bytes(4, "big") + body,
    }[what.removeprefix("later ")]

    def write() -> None:
        for descriptor in range(64):
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.write(descriptor, written)
                    return

    if what.startswith("later "):
        threading.Timer(0.2, write).start()
    else:
        write()
    return {"strayed": what}


def stray_and_spin(_: Any) -> dict[str, Any]:
    """Write a byte where only the process itself should, and never come back."""
    stray("a byte")
    return wild(None)


def fork(_: Any) -> dict[str, Any]:
    """Come back twice, as code that forgets to end its child does."""
    return {"parent": os.fork() != 0}


def hold(size_bytes: int) -> dict[str, Any]:
    """Keep on to so much memory."""
    _held.append(bytearray(size_bytes))
    return {"pid": os.getpid()}


_held: list[bytearray] = []
