"""Calls into the Kafka client that are bounded from outside, since the client does not always keep its own time-outs.

A call that hangs cannot be interrupted: its thread is given up together with the client, and replaced. Such a thread
must be a daemon of its own: those of an executor are joined when the interpreter exits.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

_LOOK_EVERY_S = 0.25


class RunningCall(NamedTuple):
    """A call into the client that has not returned yet, and for how long."""

    name: str
    seconds: float


class CallHangs(Exception):
    """A call did not return in time; its thread was given up."""

    def __init__(self, running: RunningCall) -> None:
        """Name the call, and say how long it was waited for."""
        super().__init__(f"the Kafka client has not come back from {running.name} for {running.seconds:.0f} s")
        self.running = running


class _GivenUpError(Exception):
    """Unwinds a thread that was given up, when its call returns at last."""


class GuardedThread:
    """A daemon thread that does one piece of work after the other; each makes its calls into the client by `call`.

    Once given up, it begins no other call: that would be one on behalf of a transaction that somebody else recovers.
    """

    def __init__(self, name: str, *, call_s_max: float, at_end: Callable[[], None] = lambda: None) -> None:
        """Start the thread. No single call may take longer than `call_s_max`. `at_end` is done last, whatever ends it.

        What blocks when it is collected, as a client of Kafka does, is let go of in `at_end`: not on the loop.
        """
        self._call_s_max = call_s_max
        self._at_end = at_end
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._given_up = False
        self._call: tuple[str, float] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> RunningCall | None:
        """The call that is under way right now."""
        call = self._call
        return None if call is None else RunningCall(call[0], time.monotonic() - call[1])

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work on the thread and return its result. Raises CallHangs, or what the work raised."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._work.put(lambda: _settle(outcome, work))
        while not (await asyncio.wait({outcome}, timeout=_LOOK_EVERY_S))[0]:
            if (hanging := self._given_up_for()) is not None:
                raise CallHangs(hanging)
        return outcome.result()

    def call(self, name: str, function: Callable[[], T]) -> T:
        """Make a call into the client. On the thread only."""
        with self._lock:
            # Under the lock: between this look and the call nobody can come to believe that the thread is given up.
            if self._given_up:
                raise _GivenUpError
            self._call = (name, time.monotonic())
        try:
            return function()
        finally:
            with self._lock:
                self._call = None
                if self._given_up:
                    raise _GivenUpError

    def give_up(self) -> None:
        """Let the thread begin no other call, and end."""
        with self._lock:
            self._given_up = True
        self._work.put(None)

    async def end(self, *, within_s: float) -> bool:
        """Let the thread end, and return whether it did so in time."""
        self._work.put(None)
        await asyncio.to_thread(self._thread.join, within_s)
        return not self._thread.is_alive()

    def _given_up_for(self) -> RunningCall | None:
        """Return the thread up if its call has taken too long, and return that call."""
        with self._lock:
            # Under the lock, so that a call which returns right now is either in time, or ends the thread.
            running = self.running
            if running is None or running.seconds <= self._call_s_max:
                return None
            self._given_up = True
        self._work.put(None)
        return running

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
                del work
        except _GivenUpError:
            pass
        finally:
            self._at_end()


async def bounded(name: str, work: Callable[[], None], *, within_s: float) -> bool:
    """Do the work on a daemon thread, and return whether it ended in time; if not, it is left alone."""
    thread = GuardedThread(name, call_s_max=within_s)
    try:
        await thread.run(partial(thread.call, name, work))
    except CallHangs:
        return False
    finally:
        thread.give_up()
    return True


def _settle(outcome: "asyncio.Future[T]", work: Callable[[], T]) -> None:
    try:
        result = work()
    except _GivenUpError:
        raise
    except BaseException as error:  # noqa: BLE001 - the loop has to hear of it, whatever it is
        _tell(outcome, outcome.set_exception, error)
    else:
        _tell(outcome, outcome.set_result, result)


def _tell(outcome: "asyncio.Future[Any]", settle: Callable[[Any], None], value: Any) -> None:
    def settle_once() -> None:
        if not outcome.done():
            settle(value)

    # A loop that is closed has nobody left who waits.
    with suppress(RuntimeError):
        outcome.get_loop().call_soon_threadsafe(settle_once)
