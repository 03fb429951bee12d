"""SharedResource: something that is open, who uses it, and how it is closed once nobody does."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Open = Callable[[], AbstractAsyncContextManager[T]]


class SharedResource(Generic[T]):
    """One opening of a resource. It lives in a task of its own, since a context ends in the task where it began.

    `retire` lets it close as soon as its users have left, and after `drain_s` seconds at the latest.
    """

    def __init__(self, resource: "asyncio.Future[T]", drain_s: float) -> None:
        """Keep what `begin` opens."""
        self._resource = resource
        self._drain_s = drain_s
        self._users = 0
        self._retired = asyncio.Event()
        self._unused = asyncio.Event()
        self._unused.set()

    @classmethod
    async def begin(cls, open_: Open[T], *, drain_s: float) -> "SharedResource[T]":
        """Open it, and give it once it is open. Raises what opening raises; cancelling leaves nothing open."""
        opening = cls(asyncio.get_running_loop().create_future(), drain_s)
        opening._task = asyncio.create_task(opening._live(open_))
        try:
            either: set[asyncio.Future[Any]] = {opening._task, opening._resource}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await opening.end()
            raise
        if not opening._resource.done():
            opening._task.result()
        return opening

    @property
    def resource(self) -> T:
        """What is open."""
        return self._resource.result()

    def enter(self) -> None:
        """Use it: it stays open until `leave`."""
        self._users += 1
        self._unused.clear()

    def leave(self) -> None:
        """Use it no more."""
        self._users -= 1
        if not self._users:
            self._unused.set()

    async def retire(self) -> None:
        """Close it when its users have left, and wait for that. Raises what closing raises."""
        self._retired.set()
        await asyncio.shield(self._task)

    async def end(self) -> None:
        """Close it now, whoever uses it."""
        self._task.cancel()
        await asyncio.wait({self._task})

    _task: "asyncio.Task[None]"

    async def _live(self, open_: Open[T]) -> None:
        async with open_() as resource:
            self._resource.set_result(resource)
            await self._retired.wait()
            try:
                async with asyncio.timeout(self._drain_s):
                    await self._unused.wait()
            except TimeoutError:
                return
