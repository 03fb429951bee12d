"""What runs beside the work: it is begun here, begins again when it fails, and never ends without a word."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from omnibase_core.engine.instance import is_cancelled
from omnibase_core.errors import described
from omnibase_core.policies import RetryPolicy
from omnibase_core.ports import Observer

_BACKOFF = RetryPolicy(initial_s=1.0, max_s=60.0)
_WELL_S = 300.0
"""What has run for so long begins anew at the first pause; and what failed longer ago is no trouble any more."""


class Ended(RuntimeError):
    """Something that is to run for as long as the host does has ended by itself."""


@asynccontextmanager
async def in_background(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run this while the context is open. When it ends by itself, the loop's exception handler is told, and it begins
    again after a pause: a second at first, and a minute at the most.
    """
    task = asyncio.create_task(_kept_up(name, work), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _kept_up(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop, failures = asyncio.get_running_loop(), 0
    while True:
        began_s = loop.time()
        error: BaseException = Ended("it ended by itself")
        try:
            await work()
        except BaseException as raised:
            if is_cancelled(raised) or isinstance(raised, KeyboardInterrupt | SystemExit):
                raise
            error = raised
        failures = 1 if loop.time() - began_s >= _WELL_S else failures + 1
        loop.call_exception_handler({"message": name, "exception": error})
        # Nothing else waits for it, so that no dice are needed.
        await asyncio.sleep(_BACKOFF.delay_s(failures, chance=1.0))


class Troubles:
    """What has gone wrong beside the work: told in the log each time, and in `/health` for five minutes."""

    def __init__(self, observer: Observer, *, redact: Callable[[str], str]) -> None:
        """Know of nothing. `redact` takes secrets out of what is kept."""
        self._observer = observer
        self._redact = redact
        self._latest: dict[str, tuple[float, str]] = {}

    def take(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what the loop reports: an exception handler of asyncio, which gets also what nobody awaited."""
        name, error = str(context.get("message", "a task")), context.get("exception")
        task = context.get("task") or context.get("future")
        if isinstance(task, asyncio.Task):
            name = task.get_name()
        reason = described(error) if isinstance(error, BaseException) else str(context.get("message"))
        self._latest[name] = (loop.time(), self._redact(reason))
        self._observer.event("error", "background_task_failed", task=name, reason=reason)

    def latest(self, now_s: float) -> dict[str, str]:
        """Return what failed of late, by its name, with the reason; `now_s` is the loop's time."""
        self._latest = {name: it for name, it in self._latest.items() if now_s - it[0] < _WELL_S}
        return {name: reason for name, (_, reason) in self._latest.items()}
