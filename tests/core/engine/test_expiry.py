"""A command that expires while it waits for its node's place is not served any more."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

from omnibase_core.ports import HandlerCall
from omnibase_core.testing import MemoryBroker
from omnibase_core.testing.virtual_time import VirtualClock
from tests.support.commands import loaded_host, node
from tests.support.stage import Stage, on_stage, play


def test_what_has_expired_by_the_time_that_it_has_a_place_is_not_served() -> None:
    """As what has expired by the time that its target is well again is not."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            await asyncio.sleep(20)
            return request

        stage = Stage(behave, MemoryBroker(partitions=1))
        async with on_stage(stage, loaded_host({"a": node("a", delivery="{max_in_flight: 1}")})):
            soon = stage.clock.now() + timedelta(seconds=10)
            stage.publish("a", {"n": 0}, key=b"0")
            await asyncio.sleep(1)
            for n in range(1, 4):
                stage.publish("a", {"n": n}, key=b"%d" % n, expires_at=soon)
            await stage.until(lambda: stage.committed() == 4)
            assert sorted(stage.effects) == [0], stage.asked

    play(scenario)


class _SlowFunction:
    """A pure handler that takes half a second of the stage's clock for each command."""

    def __init__(self, clock: "_WorkingClock") -> None:
        """Start without a command."""
        self._clock = clock
        self.served: list[int] = []

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Answer, half a second later."""
        self._clock.worked_s += 0.5
        self.served.append(call.request.model_dump()["n"])
        return {}


class _WorkingClock(VirtualClock):
    """A clock that goes on while a function works, as the real one does."""

    worked_s = 0.0

    def monotonic_s(self) -> float:
        """Return the loop's time, and what the functions have taken of it."""
        return super().monotonic_s() + self.worked_s


def test_what_has_expired_while_slow_functions_ran_is_not_served_and_others_have_their_turn() -> None:
    """Commands that came together do not share a moment of a minute ago, nor do they hold the loop for so long."""

    async def scenario() -> None:
        stage = Stage(lambda _: asyncio.sleep(0, {}), MemoryBroker(partitions=1))
        stage.clock = clock = _WorkingClock()
        soon = clock.now() + timedelta(seconds=10)
        for n in range(60):
            stage.publish("a", {"n": n}, key=b"k", expires_at=soon)
        function = _SlowFunction(clock)
        async with on_stage(stage, loaded_host({"a": node("a")}), scripted=function):
            turns: list[int] = []
            while stage.committed() < 60:
                turns.append(len(function.served))
                await asyncio.sleep(0)
            assert function.served == list(range(20))
            assert max(later - before for before, later in pairwise(turns)) <= 2  # The loop mixes what is ready.
            answered = [it.timestamp for it in stage.answers("a") if it.error is None]
            assert all(later - before == timedelta(seconds=0.5) for before, later in pairwise(answered))

    play(scenario)
