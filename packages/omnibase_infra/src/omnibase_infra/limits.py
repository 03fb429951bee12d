"""How much is asked of a target at a time: calls wait here for their turn, whatever handler does them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

from omnibase_core.contracts.host import TargetLimits
from omnibase_core.errors import TargetBusy
from omnibase_core.ports import Handler, HandlerCall

_SHARE = 0.5
"""How much of its time a call may wait: the rest is for what it does, so that no wait looks like a slow target."""


@dataclass(slots=True)
class Turns:
    """The turns of one target: so many at once, and so many a second, in the order in which they were asked for."""

    name: str
    limits: TargetLimits
    _places: asyncio.Semaphore = field(init=False)
    _next_s: float = field(init=False, default=-inf)
    """When the next call may begin, in the loop's time."""

    def __post_init__(self) -> None:
        """Make as many places as there are."""
        self._places = asyncio.Semaphore(self.limits.concurrency)

    @asynccontextmanager
    async def one(self, *, within_s: float) -> AsyncIterator[bool]:
        """Give a turn that lasts as long as the context, and whether it had to be waited for.

        Raises TargetBusy where there is none within these seconds.
        """
        is_full = self._places.locked()
        ends_s = asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(ends_s):
                await self._places.acquire()
        except TimeoutError as error:
            limit = f"{self.limits.concurrency} calls are under way (limits.{self.name}.concurrency)"
            raise TargetBusy(f"target {self.name!r}: {limit} and none ended within {within_s:g} s") from error
        try:
            wait_s = await self._moment(ends_s)
            yield is_full or wait_s > 0
        finally:
            self._places.release()

    async def _moment(self, ends_s: float) -> float:
        """Wait for a moment of this call's own, as far from all others as the rate wants; give for how long."""
        if self.limits.rate_per_s is None:
            return 0
        now_s = asyncio.get_running_loop().time()
        begins_s = max(now_s, self._next_s)
        if begins_s > ends_s:
            rate = f"{self.limits.rate_per_s:g} calls a second (limits.{self.name}.rate_per_s) are taken"
            wait_s = begins_s - now_s
            raise TargetBusy(f"target {self.name!r}: {rate} for the next {wait_s:.3g} s", retry_after_s=wait_s)
        self._next_s = begins_s + 1 / self.limits.rate_per_s
        await asyncio.sleep(begins_s - now_s)
        return begins_s - now_s


class LimitedHandler:
    """Lets calls through to a handler in the turns of their targets. A Handler."""

    def __init__(self, handler: Handler, limits: Mapping[str, TargetLimits]) -> None:
        """Hold the handler, and the limits of each of its targets."""
        self._handler = handler
        self._turns = {name: Turns(name, of_target) for name, of_target in limits.items()}

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Wait for a turn, and do the call in the time that is left. Raises TargetBusy before anything was asked."""
        turns = self._turns.get(call.target or "")
        if turns is None:
            return await self._handler.execute(call)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with turns.one(within_s=call.timeout_s * _SHARE) as has_waited:
            # A turn that comes at once leaves the call as it is, so that its errors name the contract's own time.
            if has_waited:
                call = call._replace(timeout_s=call.timeout_s - (loop.time() - began_s))
            return await self._handler.execute(call)
