"""The loop in virtual time: it waits for nothing, a seed decides the order, and what hangs is found out."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.testing.virtual_time import Dice, SimulationStuck, VirtualClock, run


async def _order(tasks: int) -> list[int]:
    """Let tasks run that are all ready at the same moments."""
    order: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(1)
        order.append(number)

    await asyncio.gather(*(work(number) for number in range(tasks)))
    return order


def test_an_hour_takes_no_time() -> None:
    """The time jumps to the next timer, and the clock agrees with the loop."""

    async def scenario() -> float:
        clock = VirtualClock()
        began_at, began_s = clock.now(), clock.monotonic_s()
        await asyncio.sleep(3600)
        assert (clock.now() - began_at).total_seconds() == 3600
        return clock.monotonic_s() - began_s

    began_s = time.monotonic()
    assert run(scenario(), seed=0) == 3600
    assert time.monotonic() - began_s < 5


def test_a_seed_decides_the_order() -> None:
    """The same seed gives the same order, and among a few seeds there are several orders."""
    orders = [run(_order(5), seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 2
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)


def test_a_deadlock_is_found() -> None:
    """Nothing is ready and no timer is set: the error names who waits."""

    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(SimulationStuck, match=r"nothing is ready and no timer is set.*waits_for_ever"):
        run(waits_for_ever(), seed=0)


def test_a_loop_without_an_end_is_found() -> None:
    """Turn follows turn and the time stands still."""

    async def spins() -> None:
        while True:  # noqa: ASYNC110 - the fault that has to be found
            await asyncio.sleep(0)

    with pytest.raises(SimulationStuck, match="the time stands still at 0"):
        run(spins(), seed=0)


def test_timeouts_and_cancelling_work_as_ever() -> None:
    """What is cancelled may clean up, and takes its time."""

    async def scenario() -> tuple[str, float]:
        try:
            async with asyncio.timeout(2):
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(3)
        except TimeoutError:
            return "timed out", asyncio.get_running_loop().time()
        raise AssertionError

    assert run(scenario(), seed=0) == ("timed out", 5.0)


@given(seed=st.integers(), bound=st.integers(1, 1000), items=st.lists(st.integers()))
def test_dice_stay_within_bounds(seed: int, bound: int, items: list[int]) -> None:
    """Each kind of throw gives what it promises, and the same seed gives it again."""
    dice, again = Dice(seed), Dice(seed)
    for _ in range(20):
        assert 0 <= (number := dice.below(bound)) < bound
        assert number == again.below(bound)
        assert 2.0 <= dice.between(2, 3) <= 3.0
        again.bits()
    shuffled = list(items)
    dice.shuffle(shuffled)
    assert sorted(shuffled) == sorted(items)
    assert dice.fork().bits() != dice.fork().bits()


def test_dice_are_those_of_splitmix64() -> None:
    """The first numbers of seed 1234567, as published with Java's SplittableRandom and Vigna's C code."""
    dice = Dice(1234567)
    assert [dice.bits() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
