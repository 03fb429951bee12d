"""One worker process as the host sees it: started at once, asked by frames over a socket, killed when it must be."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from omnibase_core.errors import CommandFailed, CommandRejected, HandlerError, OnexError, WorkerDied
from omnibase_infra.functions.workers.program import FRAME_BYTES_MAX, HEADER_BYTES, framed, header

_PROGRAM = """\
import sys
sys.path[:] = sys.argv[2:]
from omnibase_infra.functions.workers.program import serve
serve(int(sys.argv[1]))
"""
_STRICT_PROGRAM = """\
import sys
sys.path[:] = sys.argv[2:]
from omnibase_infra.functions.purity.guard import guarded_import
from omnibase_infra.functions.workers.program import serve
serve(int(sys.argv[1]), guarded_import())
"""
_LOAD_S = 20.0
"""For how long a worker may start and import the module of a function."""
_HEADER_S = 1.0
"""For how long the header of an answer may come in pieces. A worker writes it at once."""
_CHUNK_BYTES = 256 * 1024
_EXIT_LOOKS = 100
_EXIT_LOOK_S = 0.005
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL})
"""Signals by which a process ends for what it did itself."""


class _OutOfStep(Exception):
    """What came is not the answer to what was asked. Says what it is instead."""


class WorkerProcess:
    """A process that calls functions, one at a time. Belongs to one event loop.

    It is started by executing an interpreter anew, never by forking this one, whose other threads would be gone in
    the middle of whatever they held. It is of a process group of its own, so that Ctrl-C in a terminal is not for it.
    """

    def __init__(self, *, environment: Mapping[str, str], strict: bool = False) -> None:
        """Start it with these variables and no others; with `strict`, it watches functions as they run.

        Raises HandlerError when the system refuses.
        """
        self.size_bytes = 0
        """What it held in memory after its last call."""
        self._loaded: set[str] = set()
        self._busy = False
        self._number = 0
        """Of the last question. None is asked twice in the life of a worker."""
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(0)
        try:
            with theirs:
                program = _STRICT_PROGRAM if strict else _PROGRAM
                command = [sys.executable, "-c", program, str(os.getpid()), *sys.path]
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    command, stdin=theirs.fileno(), env=environment, process_group=0
                )
        except OSError as error:
            self._socket.close()
            raise HandlerError(
                "worker_not_started", f"no worker can be started: {error.strerror}", retryable=True
            ) from error

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can be asked: it lives, and no call was left in the middle."""
        return not self._busy and not self.ended

    @property
    def ended(self) -> bool:
        """Whether it is no more. Asking is what lets the system forget it."""
        return self._process.poll() is not None

    async def call(self, function: str, argument: Any, *, budget_s: float) -> Any:
        """Call a function and give its result. Whatever this raises, look whether the worker is still usable.

        Raises TimeoutError where the function took longer than its budget, WorkerDied where the process ended under it
        or said what was not asked, HandlerError where it could not be imported or gave no JSON, and what it raised
        itself.
        """
        try:
            return await self._called(function, argument, budget_s=budget_s)
        except _OutOfStep as error:
            self.kill()
            message = f"{function}: its worker was killed: {error}"
            # Whichever function of the worker wrote what it had no business to write, it may have been another one.
            raise WorkerDied("worker_died", message, retryable=True) from error

    async def _called(self, function: str, argument: Any, *, budget_s: float) -> Any:
        if function not in self._loaded:
            await self._load(function)
        try:
            told = await self._ask({"call": function, "argument": argument}, within_s=budget_s)
        except EOFError as error:
            status = await self._status()
            message = f"{function}: its worker {_ending(status)} under the call"
            raise WorkerDied("worker_died", message, retryable=status < 0 and -status not in _CRASHES) from error
        self.size_bytes = int(told["bytes"])
        if "raised" in told:
            raise _raised(told["raised"])
        if "unfit" in told:
            raise HandlerError("invalid_result", f"{function}: {told['unfit']}")
        return told["result"]

    def kill(self) -> None:
        """End the process, and what it may have started; a call under way hears of it."""
        if not self.ended:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and let go of it. Not while it is asked."""
        self.kill()
        self._socket.close()

    def wait(self, *, timeout_s: float) -> None:
        """Wait, on the spot, until a process that was killed is no more."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    async def _load(self, function: str) -> None:
        try:
            told = await self._ask({"load": function}, within_s=_LOAD_S)
        except EOFError as error:
            why = f"it {_ending(await self._status())}"
            raise HandlerError("worker_not_started", f"{function}: no worker: {why}", retryable=True) from error
        except TimeoutError as error:
            why = f"it had not imported the module after {_LOAD_S:g} s"
            raise HandlerError("worker_not_started", f"{function}: no worker: {why}", retryable=True) from error
        if "missing" in told:
            raise HandlerError("function_unavailable", f"in a worker, {told['missing']}", retryable=True)
        self._loaded.add(function)

    async def _ask(self, question: dict[str, Any], *, within_s: float) -> Mapping[str, Any]:
        """Send a frame and give its answer.

        Raises EOFError when there is none, TimeoutError when it is late, _OutOfStep when it is another's.
        """
        self._number += 1
        frame = framed(self._number, question)
        self._busy = True
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, frame)
            in_time = await self._is_readable_within(within_s)
            told = await self._receive() if in_time else None
        except ConnectionError as error:
            raise EOFError from error
        if told is None:
            raise TimeoutError(f"no answer within {within_s:g} s")
        self._busy = False
        return told

    async def _is_readable_within(self, seconds: float) -> bool:
        """Wait for the first byte of an answer. One that came in time counts, however late the loop gets to see it."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[bool] = loop.create_future()

        def settle(*, came: bool) -> None:
            if not readable.done():
                readable.set_result(came)

        # In a turn of the loop, what was read comes before what is due.
        loop.add_reader(self._socket, lambda: settle(came=True))
        timer = loop.call_later(seconds, lambda: settle(came=False))
        try:
            return await readable
        finally:
            timer.cancel()
            loop.remove_reader(self._socket)

    async def _receive(self) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(_HEADER_S):
                length, number = header(await self._read(HEADER_BYTES))
        except TimeoutError as error:
            raise _OutOfStep("less came than the header of an answer") from error
        if number != self._number or length > FRAME_BYTES_MAX:
            raise _OutOfStep("what came is not the answer to this call")
        try:
            told = json.loads(await self._read(length))
        except (ValueError, RecursionError) as error:
            raise _OutOfStep("its answer is not valid JSON") from error
        if not isinstance(told, dict):
            raise _OutOfStep("its answer is not an object")
        return told

    async def _read(self, count: int) -> bytes:
        loop = asyncio.get_running_loop()
        read = bytearray()
        while len(read) < count:
            part = await loop.sock_recv(self._socket, min(count - len(read), _CHUNK_BYTES))
            if not part:
                raise EOFError
            read += part
        return bytes(read)

    async def _status(self) -> int:
        """Return how the process ended: its exit status, or the number of a signal below zero."""
        for _ in range(_EXIT_LOOKS):
            if (status := self._process.poll()) is not None:
                return status
            await asyncio.sleep(_EXIT_LOOK_S)
        # It has hung up and does not go.
        self.kill()
        return 0


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended (status {status})"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def _raised(told: Mapping[str, Any]) -> OnexError:
    """Return what a function raised, as if it had done so here."""
    code, message, details = told["code"], told["message"], told.get("details")
    if told.get("rejected"):
        return CommandRejected(code, message, details=details)
    return CommandFailed(
        code,
        message,
        retryable=bool(told.get("retryable")),
        retry_after_s=told.get("retry_after_s"),
        details=details,
    )
