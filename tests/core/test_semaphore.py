"""Places for so many at a time: how they are handed over."""

import asyncio
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.semaphore import FairSemaphore

STEPS = st.lists(st.sampled_from(["ask", "end", "cancel first", "cancel last", "turn"]), max_size=60)


@given(STEPS, st.integers(1, 4))
def test_no_more_are_in_their_places_than_there_are_and_none_is_lost(steps: list[str], count: int) -> None:
    """Whoever waits comes in the order of asking, and a place that a cancelled one was handed goes to the next."""

    async def scenario() -> None:
        places = FairSemaphore(count)
        inside: deque[int] = deque()
        order: list[int] = []
        tasks: dict[int, asyncio.Task[None]] = {}

        async def visit(number: int) -> None:
            if not places.take():
                await places.wait()
            inside.append(number)
            order.append(number)

        for number, step in enumerate(steps):
            waiting = [n for n, task in tasks.items() if not task.done()]
            match step:
                case "ask":
                    tasks[number] = asyncio.create_task(visit(number))
                case "end" if inside:
                    inside.popleft()
                    places.give_back()
                case "cancel first" | "cancel last" if waiting:
                    tasks[waiting[0 if step == "cancel first" else -1]].cancel()
                case "turn":
                    await asyncio.sleep(0)
            assert len(inside) <= count
        for _ in range(3):
            await asyncio.sleep(0)
        while inside:
            inside.popleft()
            places.give_back()
            for _ in range(3):
                await asyncio.sleep(0)
        assert all(task.done() for task in tasks.values())
        assert order == sorted(order)
        assert sum(places.take() for _ in range(count + 1)) == count

    asyncio.run(scenario())
