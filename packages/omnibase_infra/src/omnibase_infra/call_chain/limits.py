"""How much is asked of a target at a time: calls wait here for their turn, whatever handler does them."""

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Any

from omnibase_core.contracts.host import TargetLimits
from omnibase_core.errors import TargetBusy
from omnibase_core.ports import Handler, HandlerCall
from omnibase_core.semaphore import FairSemaphore

_SHARE = 0.5
"""How much of its time a call may wait: the rest is for what it does, so that no wait looks like a slow target."""


class TargetSlots:
    """The turns of one target: so many at once, and so many a second, in the order in which they were asked for."""

    def __init__(self, name: str, limits: TargetLimits) -> None:
        """Make as many places as there are."""
        self._name = name
        self._limits = limits
        self._places = FairSemaphore(limits.concurrency)
        self._next_s = -inf
        """When the next call may begin, in the loop's time."""

    async def begin(self, *, within_s: float) -> bool:
        """Take a turn, and return whether it had to be waited for. Each is to be ended.

        Raises TargetBusy where there is none within these seconds.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + within_s
        if is_full := not self._places.take():
            try:
                async with asyncio.timeout_at(ends_s):
                    await self._places.wait()
            except TimeoutError as error:
                limit = f"{self._limits.concurrency} calls are under way (limits.{self._name}.concurrency)"
                raise TargetBusy(f"target {self._name!r}: {limit} and none ended within {within_s:g} s") from error
        if self._limits.rate_per_s is None:
            return is_full
        try:
            wait_s = self._wait_s(self._limits.rate_per_s, loop.time(), ends_s)
            await asyncio.sleep(wait_s)
        except BaseException:
            self.end()
            raise
        return is_full or wait_s > 0

    def end(self) -> None:
        """End a turn."""
        self._places.give_back()

    def _wait_s(self, rate_per_s: float, now_s: float, ends_s: float) -> float:
        """Return a call a moment of its own, as far from all others as the rate wants; return how far off that is."""
        begins_s = max(now_s, self._next_s)
        if begins_s > ends_s:
            rate = f"{rate_per_s:g} calls a second (limits.{self._name}.rate_per_s) are taken"
            wait_s = begins_s - now_s
            raise TargetBusy(f"target {self._name!r}: {rate} for the next {wait_s:.3g} s", retry_after_s=wait_s)
        self._next_s = begins_s + 1 / rate_per_s
        return begins_s - now_s


class LimitedHandler:
    """Lets calls through to a handler in the turns of their targets. A Handler."""

    def __init__(self, handler: Handler, limits: Mapping[str, TargetLimits]) -> None:
        """Keep the handler, and the limits of each of its targets."""
        self._handler = handler
        self._turns = {name: TargetSlots(name, of_target) for name, of_target in limits.items()}

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Wait for a turn, and do the call in the time that is left. Raises TargetBusy before anything was asked."""
        turns = self._turns.get(call.target or "")
        if turns is None:
            return await self._handler.execute(call)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        has_waited = await turns.begin(within_s=call.timeout_s * _SHARE)
        try:
            # A turn that comes at once leaves the call as it is, so that its errors name the contract's own time.
            if has_waited:
                call = call._replace(timeout_s=call.timeout_s - (loop.time() - began_s))
            return await self._handler.execute(call)
        finally:
            turns.end()
