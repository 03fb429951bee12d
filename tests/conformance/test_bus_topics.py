"""What every bus promises of topics that change under it: nothing unread is passed over."""

import asyncio
from typing import Any

from omnibase_core.ports import Partition
from tests.support.bus_world import A_MOMENT_S, PARTITIONS, Listener, World, numbered, play, received, transacted


async def commit(listener: Listener, world: World, offsets: dict[Partition, int]) -> None:
    """Commit as a host of this guarantee does."""
    if world.transacts:
        await transacted(listener, [], offsets)
    else:
        listener.bus.commit(offsets)


def test_a_topic_that_is_created_again_is_read_from_its_beginning(world: World) -> None:
    """Its offsets go back: the old assignment is lost, and a new one begins before anything of the new topic comes."""

    async def scenario() -> None:
        async with world.listening() as listener:
            await commit(listener, world, await received(listener, world))
            before = list(listener.assigned)
            await off_loop(world.side.recreate)
            # Not before the client has seen that it is empty.
            await listener.until(lambda: len(listener.assigned) >= 2 * PARTITIONS)
            await listener.until(lambda: len(listener.owned) == PARTITIONS)
            await listener.bus.publish(numbered(world.topic, range(100, 120)))
            await listener.until_received(60)
            assert listener.numbers()[40:] == list(range(100, 120))
            assert not any(it.partition is old for it in listener.deliveries[40:] for old in before)

    play(scenario())


def test_a_topic_that_is_created_again_and_longer_is_read_from_its_beginning(world: World) -> None:
    """No offset goes back, and still nothing of it is passed over, even where the old offsets were committed again."""

    async def scenario() -> None:
        async with world.listening() as listener:
            ends = await received(listener, world)
            await commit(listener, world, ends)
            longer = numbered(world.topic, range(100, 180))
            # While it is paused, the client does not see that the topic is empty in between.
            listener.bus.pause(list(listener.assigned))
            await asyncio.sleep(A_MOMENT_S)
            await off_loop(world.side.recreate, longer)
            listener.bus.resume(list(listener.assigned))
            await listener.until(lambda: set(range(100, 180)) <= set(listener.numbers()))
            await listener.until(lambda: len(listener.owned) == PARTITIONS)
            last = {it.partition: it.offset + 1 for it in listener.deliveries if int(it.value or b"") >= 100}
            await commit(listener, world, {listener.current(it.number): end for it, end in last.items()})
        assert world.side.committed() == {it.number: end for it, end in last.items()}

    play(scenario())


def test_what_was_committed_for_a_deleted_topic_does_not_count(world: World) -> None:
    """A commit that reaches the broker after the topic was created again: the next owner reads all of the new one."""

    async def scenario() -> None:
        async with world.listening() as listener:
            ends = await received(listener, world)
            await off_loop(world.side.recreate, numbered(world.topic, range(100, 180)))
            if not world.transacts:
                listener.bus.commit(ends)
        async with world.listening() as second:
            await second.until(lambda: set(range(100, 180)) <= set(second.numbers()))

    play(scenario())


def test_partitions_that_are_added_are_read_from_their_beginning(world: World) -> None:
    """They are found by themselves, within half a minute, and what was published before that is not lost."""

    async def scenario() -> None:
        async with world.listening(first=40) as listener:
            await off_loop(world.side.extend, PARTITIONS + 2)
            await asyncio.sleep(0.5)
            async with world.open_bus() as sender:
                await sender.publish(numbered(world.topic, range(100, 200)))
            await listener.until_received(140)
            assert len(listener.owned) == PARTITIONS + 2
            assert {it.partition.number for it in listener.deliveries} > set(range(PARTITIONS))
            assert listener.numbers() == [*range(40), *range(100, 200)]

    play(scenario())


def test_what_expired_is_passed_over(world: World) -> None:
    """Retention takes messages before they are read: the others are delivered, in the same assignment."""

    async def scenario() -> None:
        async with world.listening() as first:
            ends = await received(first, world)
        for partition, end in ends.items():
            await off_loop(world.side.expire, partition.number, end - 1)
        async with world.listening() as second:
            await second.until_received(len(ends))
            assert {it.partition: it.offset + 1 for it in second.deliveries} == ends

    play(scenario())


async def off_loop(function: Any, *arguments: Any) -> None:
    """Call what blocks; a bus in memory belongs to this loop, and does not."""
    if "Memory" in type(function.__self__).__name__:
        function(*arguments)
    else:
        await asyncio.to_thread(function, *arguments)
