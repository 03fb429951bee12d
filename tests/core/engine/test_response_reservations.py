"""Room for answers: how many calls may begin before it is known how large their answers are, and after that."""

import asyncio

from omnibase_core.engine.in_flight_limits import InFlightLimits
from omnibase_core.engine.response_reservations import ResponseReservations

MEGABYTE = 1_000_000


class Behind:
    """A place behind others, in a partition that leaves when the test says so."""

    def __init__(self, *, first: bool = False) -> None:
        """Stand where the test says."""
        self.leaving = asyncio.Event()
        self._first = first

    def is_closed(self) -> bool:
        """The partition is here."""
        return False

    def is_first(self) -> bool:
        """Check whether it is in front."""
        return self._first


def room(*, unknown_max: int = 4) -> ResponseReservations:
    """Return room for ten megabytes to one topic of a hundred commands."""
    return ResponseReservations(InFlightLimits(per_topic={"a": 100}, in_all=1000, bytes_max=10 * MEGABYTE), unknown_max)


async def entering(of: ResponseReservations, count: int, place: Behind) -> list["asyncio.Task[int]"]:
    """Let so many calls try to begin."""
    tasks = [asyncio.create_task(of.enter("a", place)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def begun(tasks: list["asyncio.Task[int]"]) -> list[int]:
    """Return what is reserved for those that have begun."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return [it.result() for it in tasks if it.done() and not it.cancelled()]


def test_few_calls_begin_before_a_node_has_answered_at_all() -> None:
    """Four of a hundred do; a first large answer lets no more than fit, and a small one all of them."""

    async def scenario(size_bytes: int) -> int:
        of, place = room(), Behind()
        tasks = await entering(of, 100, place)
        assert await begun(tasks) == [0] * 4
        of.leave("a", 0, size_bytes)
        count = len(await begun(tasks)) - 1
        place.leaving.set()
        of.wake()
        assert len(await begun(tasks)) == 100
        return count

    assert asyncio.run(scenario(MEGABYTE)) <= 4 + 5
    assert asyncio.run(scenario(100)) == 99


def test_a_call_that_fails_lets_another_begin_and_says_nothing_of_answers() -> None:
    """A service that is down keeps four calls busy, one after the other."""

    async def scenario() -> None:
        of, place = room(), Behind()
        tasks = await entering(of, 10, place)
        of.leave("a", 0, 0)
        assert len(await begun(tasks)) == 5
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_call_that_is_cancelled_as_it_is_let_in_gives_its_place_back() -> None:
    """Whether it waits or was just admitted, nothing of it stays counted."""

    async def scenario() -> None:
        of, place = room(unknown_max=1), Behind()
        assert await of.enter("a", place) == 0
        waiting = await entering(of, 2, place)
        waiting[1].cancel()
        of.leave("a", 0, MEGABYTE)
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert of.intake.size_bytes == 0
        reserved_bytes = await of.enter("a", place)
        of.leave("a", reserved_bytes, MEGABYTE)
        assert (reserved_bytes, of.intake.size_bytes) == (MEGABYTE, 0)

    asyncio.run(scenario())


def test_what_others_wait_for_is_let_through() -> None:
    """The first command of a partition begins however full it is: what is done behind it waits for it alone."""

    async def scenario() -> None:
        of = room(unknown_max=1)
        assert await of.enter("a", Behind()) == 0
        assert await of.enter("a", Behind(first=True)) == 0
        of.leave("a", 0, 9 * MEGABYTE)
        assert await of.enter("a", Behind()) == 9 * MEGABYTE
        waiting = await entering(of, 1, Behind())
        assert await begun(waiting) == []
        assert await of.enter("a", Behind(first=True)) == 9 * MEGABYTE
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scenario())
