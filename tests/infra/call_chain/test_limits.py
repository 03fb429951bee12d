"""How much is asked of a target at a time, in virtual time: each wait is exact."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from omnibase_core.contracts.host import TargetLimits
from omnibase_core.errors import HandlerError, TargetBusy
from omnibase_core.ports import HandlerCall
from omnibase_core.testing.virtual_time import run
from omnibase_infra.call_chain.limits import LimitedHandler


class Nothing(BaseModel):
    """A request that asks for nothing."""


class Slow:
    """A handler that takes its time, and notes when it is asked and how many calls it has at once."""

    def __init__(self, takes_s: float = 1.0) -> None:
        """Take how long a call takes."""
        self.takes_s = takes_s
        self.began_s: list[float] = []
        self.given_s: list[float] = []
        self.under_way = 0
        self.at_once = 0

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Take the time."""
        self.began_s.append(asyncio.get_running_loop().time())
        self.given_s.append(call.timeout_s)
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.under_way -= 1
        return {}


def call_to(target: str | None = "api", *, timeout_s: float = 10.0) -> HandlerCall:
    """Plan a call."""
    return HandlerCall("slow", "do", Nothing(), target, timeout_s, UUID(int=1))


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario under a few schedules."""
    for seed in range(5):
        run(scenario(), seed=seed)


def test_no_more_calls_are_under_way_than_the_target_allows() -> None:
    """The others wait, and have the rest of their time for themselves."""

    async def scenario() -> None:
        slow = Slow()
        handler = LimitedHandler(slow, {"api": TargetLimits(concurrency=3)})
        await asyncio.gather(*(handler.execute(call_to()) for _ in range(10)))
        assert slow.at_once == 3
        assert sorted(slow.began_s) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
        assert sorted(slow.given_s, reverse=True) == [10, 10, 10, 9, 9, 9, 8, 8, 8, 7]

    play(scenario)


def test_calls_begin_no_faster_than_the_rate() -> None:
    """They are spread evenly: what comes together is not asked together."""

    async def scenario() -> None:
        slow = Slow()
        handler = LimitedHandler(slow, {"api": TargetLimits(rate_per_s=4)})
        await asyncio.gather(*(handler.execute(call_to()) for _ in range(6)))
        assert [later - sooner for sooner, later in pairwise(sorted(slow.began_s))] == [0.25] * 5
        await asyncio.sleep(100)
        again_s = asyncio.get_running_loop().time()
        await handler.execute(call_to())
        assert slow.began_s[-1] == again_s, "an idle target is asked at once"

    play(scenario)


@settings(max_examples=50)
@given(
    rate=st.integers(1, 50),
    concurrency=st.integers(1, 5),
    takes_s=st.sampled_from([0.0, 0.1, 3.0]),
    waits_s=st.lists(st.sampled_from([0.0, 0.01, 0.3, 2.0]), max_size=30),
)
def test_both_limits_hold_whatever_comes(rate: int, concurrency: int, takes_s: float, waits_s: list[float]) -> None:
    """In no second begin more calls than the rate allows, and those that had no turn asked nothing."""

    async def scenario() -> None:
        slow = Slow(takes_s)
        handler = LimitedHandler(slow, {"api": TargetLimits(concurrency=concurrency, rate_per_s=rate)})

        async def late(wait_s: float) -> bool:
            await asyncio.sleep(wait_s)
            try:
                await handler.execute(call_to(timeout_s=2.0))
            except TargetBusy:
                return False
            return True

        had = await asyncio.gather(*map(late, waits_s))
        assert len(slow.began_s) == sum(had)
        assert slow.at_once <= concurrency
        assert all(later - sooner >= 1 / rate - 1e-9 for sooner, later in pairwise(sorted(slow.began_s)))

    run(scenario(), seed=1)


def test_a_call_without_a_turn_in_half_its_time_is_told_so() -> None:
    """It fails without having asked anything, and says which limit it was."""

    async def scenario() -> None:
        slow = Slow(takes_s=100)
        handler = LimitedHandler(slow, {"api": TargetLimits(concurrency=1)})
        first = asyncio.create_task(handler.execute(call_to(timeout_s=200)))
        await asyncio.sleep(1)
        with pytest.raises(TargetBusy, match=r"limits\.api\.concurrency") as caught:
            await handler.execute(call_to())
        assert asyncio.get_running_loop().time() == 6
        assert (caught.value.code, caught.value.retryable, len(slow.began_s)) == ("target_busy", True, 1)
        await first

    play(scenario)


def test_a_call_beyond_the_rate_is_told_at_once_when_to_come_again() -> None:
    """Nobody waits for a turn that cannot come in time."""

    async def scenario() -> None:
        slow = Slow()
        handler = LimitedHandler(slow, {"api": TargetLimits(rate_per_s=0.1)})
        await handler.execute(call_to())
        with pytest.raises(TargetBusy, match=r"limits\.api\.rate_per_s") as caught:
            await handler.execute(call_to())
        assert asyncio.get_running_loop().time() == 1
        assert caught.value.retry_after_s == 9
        await asyncio.sleep(9)
        await handler.execute(call_to())
        assert slow.began_s == [0, 10]

    play(scenario)


def test_targets_do_not_wait_for_each_other() -> None:
    """Each has limits of its own; a handler without targets has none."""

    async def scenario() -> None:
        slow = Slow()
        handler = LimitedHandler(slow, {name: TargetLimits(concurrency=1) for name in ("a", "b")})
        await asyncio.gather(*(handler.execute(call_to(name)) for name in ("a", "b", None, None)))
        assert slow.began_s == [0] * 4

    play(scenario)


def test_a_turn_ends_however_its_call_ends() -> None:
    """Cancelled while it waits or works, or failed: the next one has its place."""

    class Failing(Slow):
        async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
            await super().execute(call)
            raise HandlerError("down", "as told")

    async def scenario() -> None:
        handler = LimitedHandler(Failing(), {"api": TargetLimits(concurrency=1, rate_per_s=10)})
        for cancel_after_s in (0.0, 0.5, 1.5):
            tasks = [asyncio.create_task(handler.execute(call_to())) for _ in range(3)]
            await asyncio.sleep(cancel_after_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with pytest.raises(HandlerError, match="as told"):
                await handler.execute(call_to())

    play(scenario)
