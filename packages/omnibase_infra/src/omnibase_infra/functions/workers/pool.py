"""The pool: so many workers at most, started as they are needed, and shared by turns."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omnibase_infra.functions.workers.process import WorkerProcess

_LOOK_S = 0.01
_END_S = 2.0


@dataclass(slots=True, eq=False)
class _Seat:
    """A place for one worker, which may be vacant."""

    worker: WorkerProcess | None = None


class WorkerPool:
    """Calls functions in processes of their own. Workers. Belongs to one event loop.

    A worker that was left in the middle of a call, by its budget or by cancelling, is killed; whoever needs one next
    starts it. Nothing is started before it is needed, and nothing again by itself: a worker that cannot be started, or
    dies, is the trouble of the node that asked for it, whose breaker says when that is tried again.
    """

    def __init__(self, *, workers: int, worker_bytes_max: int, environment: Mapping[str, str], strict: bool) -> None:
        """Keep no worker yet. They have the variables of `environment` alone; with `strict`, they watch functions."""
        self._environment = environment
        self._strict = strict
        self._seats = [_Seat() for _ in range(workers)]
        self._free = list(self._seats)
        self._worker_bytes_max = worker_bytes_max
        self._waiting: OrderedDict[str, deque[asyncio.Future[_Seat]]] = OrderedDict()
        self._ending: list[WorkerProcess] = []
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that there are now."""
        return sorted(seat.worker.pid for seat in self._seats if seat.worker is not None and not seat.worker.ended)

    async def call(self, function: str, argument: Any, /, *, budget_s: float) -> Any:
        """Call a function in the next worker that is free. Functions that wait for one take turns."""
        seat = await self._seat(function)
        try:
            return await self._worker(seat).call(function, argument, budget_s=budget_s)
        finally:
            self._leave(seat)

    def close(self) -> None:
        """End every worker. A call that is under way fails."""
        self._closed = True
        for seat in self._seats:
            if seat.worker is not None:
                seat.worker.kill()
        for seat in self._free:
            self._vacate(seat)
        for worker in [*self._ending, *(it.worker for it in self._seats if it.worker is not None)]:
            worker.wait(timeout_s=_END_S)

    async def _seat(self, function: str) -> _Seat:
        """Take a seat: the one that was used last, so that no more workers are started than are busy at once."""
        if self._free:
            return self._free.pop()
        turn: asyncio.Future[_Seat] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(function, deque()).append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was given a seat in the moment in which it left.
                self._pass_on(turn.result())
            raise

    def _worker(self, seat: _Seat) -> WorkerProcess:
        if self._closed:
            raise RuntimeError("the pool is closed")
        if seat.worker is not None and not seat.worker.usable:
            self._vacate(seat)
        if seat.worker is None:
            seat.worker = WorkerProcess(environment=self._environment, strict=self._strict)
        return seat.worker

    def _leave(self, seat: _Seat) -> None:
        worker = seat.worker
        if worker is not None and (not worker.usable or worker.size_bytes > self._worker_bytes_max):
            self._vacate(seat)
        self._pass_on(seat)

    def _pass_on(self, seat: _Seat) -> None:
        """Return a seat to the function whose turn it is, or to nobody: then it is free."""
        while self._waiting:
            function, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[function] = turns
            if not turn.done():
                turn.set_result(seat)
                return
        self._free.append(seat)

    def _vacate(self, seat: _Seat) -> None:
        """End the worker of a seat."""
        worker, seat.worker = seat.worker, None
        if worker is not None:
            worker.close()
            self._ending.append(worker)
            if not self._closed and len(self._ending) == 1:
                self._forget()

    def _forget(self) -> None:
        """Look whether those that were killed are no more, until all are: else they would stay as zombies."""
        self._ending = [worker for worker in self._ending if not worker.ended]
        if self._ending and not self._closed:
            asyncio.get_running_loop().call_later(_LOOK_S, self._forget)


@contextmanager
def worker_pool(
    *, workers: int, worker_bytes_max: int, environment: Mapping[str, str] | None = None, strict: bool = False
) -> Iterator[WorkerPool]:
    """Yield a pool for as long as the context is open; with `strict`, of workers that watch functions as they run.

    `environment` holds all variables that its workers have, by default none.
    """
    pool = WorkerPool(workers=workers, worker_bytes_max=worker_bytes_max, environment=environment or {}, strict=strict)
    try:
        yield pool
    finally:
        pool.close()
