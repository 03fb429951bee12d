"""What every bus promises of assignments: each begins in a known state, and only its own object stands for it."""

import asyncio

import pytest

from omnibase_core.ports import Message, Partition
from omnibase_core.testing import MemoryBroker, MemoryBus
from tests.support.bus_world import A_MOMENT_S, PARTITIONS, Listener, World, numbered, play, received, transacted


async def second_comes_and_goes(first: Listener, world: World) -> None:
    """Let a second member take half of the partitions and give them back."""
    async with world.listening() as second:
        await first.until(lambda: len(first.owned) == len(second.owned) == PARTITIONS // 2)
    await first.until(lambda: len(first.owned) == PARTITIONS)


def test_a_partition_that_comes_back_is_not_paused(world: World) -> None:
    """Even if it was paused when it was revoked: everything of it is delivered; what stayed remains paused."""
    if not world.shares:
        pytest.skip("a second member never gets into a group here")

    async def scenario() -> None:
        async with world.listening(first=40) as first:
            first.bus.pause(list(first.assigned))
            await asyncio.sleep(A_MOMENT_S)
            await second_comes_and_goes(first, world)
            moved = {it.number for it in first.assigned[PARTITIONS:]}
            assert len(moved) == PARTITIONS // 2
            ends = {number: _end(first, number) for number in moved}
            await first.bus.publish(numbered(world.topic, range(100, 140)))
            await first.until(lambda: all(_end(first, number) == 2 * end for number, end in ends.items()))
            await asyncio.sleep(A_MOMENT_S)
            later = [it for it in first.deliveries if int(it.value or b"") >= 100]
            assert {it.partition.number for it in later} == moved

    play(scenario())


def _end(listener: Listener, number: int) -> int:
    """Return where what has arrived of a partition ends."""
    return max(it.offset + 1 for it in listener.deliveries if it.partition.number == number)


def test_what_is_asked_by_an_earlier_assignment_has_no_effect(world: World) -> None:
    """Pausing, sending back and committing by the object of a partition that has come back since."""
    if not world.shares:
        pytest.skip("a second member never gets into a group here")

    async def scenario() -> None:
        async with world.listening(first=40) as first:
            ends = {it.partition: it.offset + 1 for it in first.deliveries}
            first.before_release = lambda: first.bus.commit(ends)
            await second_comes_and_goes(first, world)
            before = [it for it in first.assigned if first.current(it.number) is not it]
            assert len(before) == PARTITIONS // 2
            count = len(first.deliveries)
            first.bus.pause(before)
            for partition in before:
                first.bus.rewind(partition, 0)
            first.bus.commit(dict.fromkeys(before, 1_000))
            await asyncio.sleep(A_MOMENT_S)
            await first.bus.publish(numbered(world.topic, range(100, 140)))
            await first.until_received(count + 40)
            assert not first.rewound
        if world.transacts:
            return
        async with world.listening() as again:
            await again.until_received(40)
            assert again.numbers() == list(range(100, 140))

    play(scenario())


def test_of_commits_the_largest_offset_wins(world: World) -> None:
    """Within an assignment, in whichever order they come."""

    async def scenario() -> None:
        async with world.listening(first=40) as first:
            ends = {it.partition: it.offset + 1 for it in first.deliveries}
            objects = {it: first.current(it.number) for it in ends}
            first.bus.commit({objects[it]: end for it, end in ends.items()})
            first.bus.commit({objects[it]: end - 1 for it, end in ends.items()})
        async with world.listening() as second:
            await second.until(lambda: len(second.owned) == PARTITIONS)
            await second.bus.publish(numbered(world.topic, range(100, 101)))
            assert await second.until_received(1) == [b"100"]

    play(scenario())


def test_headers_that_cannot_be_read_are_said(world: World) -> None:
    """The message is delivered with the reason, and those behind it are, too; on a busy consumer as well."""

    async def scenario() -> None:
        async with world.listening(first=500) as listener:
            world.side.publish_unreadable(0)
            assert (await listener.until_received(501))[-1] == b"0"
            unreadable = listener.deliveries[-1]
            assert unreadable.headers == ()
            assert "utf-8" in (unreadable.headers_error or "").lower()
            await listener.bus.publish([Message(world.topic, b"k", b"1", (("a", b"1"),))])
            assert (await listener.until_received(502))[-1] == b"1"
            assert listener.deliveries[-1].headers_error is None
            assert list(listener.deliveries[-1].headers) == [("a", b"1")]

    play(scenario())


def test_many_headers_and_large_keys_arrive(world: World) -> None:
    """Whatever fits in a message: a thousand headers, a header without a value, a key that leaves hardly any room."""

    async def scenario() -> None:
        async with world.listening() as listener:
            await listener.until(lambda: len(listener.owned) == PARTITIONS)
            headers = (*((f"n{n}", b"x" * 100) for n in range(1000)), ("ü", None), ("", b""))
            large = b"k" * (listener.bus.message_bytes_max - 1000)
            assert list(await listener.bus.publish([Message(world.topic, b"k", b"0", headers)])) == []
            assert list(await listener.bus.publish([Message(world.topic, large, b"1")])) == []
            await listener.until_received(2)
            found = {it.value: it for it in listener.deliveries}
            assert tuple(found[b"0"].headers) == headers
            assert found[b"1"].key == large

    play(scenario())


def test_a_gap_at_the_end_is_reached(world: World) -> None:
    """An aborted transaction behind the last message is named, and committing past it leaves no lag."""

    async def scenario() -> None:
        async with world.listening() as first:
            ends = await received(first, world)
            for number in range(PARTITIONS):
                world.side.abort(number, 5)
            expected = {it: ends.get(it, 0) + 6 for it in first.assigned}
            await first.until(lambda: first.reached.items() >= expected.items())
            assert first.reached == expected
            if world.transacts:
                await transacted(first, [], expected)
            else:
                first.bus.commit(expected)
        assert world.side.committed() == {it.number: offset for it, offset in expected.items()}

    play(scenario())


def test_a_gap_is_reached_where_there_is_no_message(world: World) -> None:
    """A partition that holds nothing but an aborted transaction has an end, too."""

    async def scenario() -> None:
        async with world.listening() as first:
            await first.until(lambda: len(first.owned) == PARTITIONS)
            world.side.abort(1, 3)
            await first.until(lambda: bool(first.reached))
            assert first.reached == {first.current(1): 4}
            assert not first.deliveries

    play(scenario())


def test_commits_that_fail_are_repeated_with_the_largest_offset() -> None:
    """Three in a row, on the bus in memory: what was noted last and largest is there a moment later."""

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        bus = MemoryBus(broker, group="group")
        listener = Listener(bus, "topic")
        await bus.publish([Message("topic", b"k", b"%d" % n) for n in range(9)])
        await listener.until_received(9)
        broker.commits_to_fail = 3
        for offset in (4, 9, 7):
            bus.commit({listener.current(0): offset})
        assert broker.committed("group") == {}
        await listener.until(lambda: broker.committed("group") == {Partition("topic", 0): 9})
        await listener.leave()

    play(scenario())
