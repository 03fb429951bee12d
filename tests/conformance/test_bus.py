"""What every bus promises of messages, offsets and transactions."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import Message
from tests.support.bus_world import (
    A_MOMENT_S,
    PARTITIONS,
    Listener,
    World,
    number_of,
    numbered,
    play,
    received,
    transacted,
)


def test_what_is_published_arrives_as_it_was(world: World) -> None:
    """Key, value and headers are bytes that nobody touches; null is not empty."""

    async def scenario() -> None:
        async with world.listening() as listener:
            await listener.until(lambda: len(listener.owned) == PARTITIONS)
            sent = [
                Message(world.topic, b"k", b"v", (("a", b"1"), ("a", b"2"), ("none", None), ("empty", b""))),
                Message(world.topic, b"k", b""),
                Message(world.topic, None, b"\x00\xff"),
            ]
            assert list(await listener.bus.publish(sent)) == []
            await listener.until_received(3)
            found = {(it.key, it.value, tuple(it.headers)) for it in listener.deliveries}
            assert found == {(it.key, it.value, tuple(it.headers)) for it in sent}

    play(scenario())


def test_a_new_group_starts_at_the_earliest_message(world: World) -> None:
    """What was there before the group is not lost."""

    async def scenario() -> None:
        async with world.listening(first=20):
            pass
        async with world.listening() as again:
            assert len(await again.until_received(20)) == 20

    play(scenario())


def test_the_order_of_a_key_is_kept(world: World) -> None:
    """Across batches, the messages of a key arrive in the order in which they were published, in one partition."""

    async def scenario() -> None:
        async with world.listening() as listener:
            await listener.until(lambda: len(listener.owned) == PARTITIONS)
            published = [listener.bus.publish(numbered(world.topic, range(n, n + 100))) for n in range(0, 1000, 100)]
            await listener.until_received(1000)
            assert [list(it.result()) for it in published if it.done()] == [[]] * len(published)
            for key in {it.key for it in listener.deliveries}:
                of_key = [it for it in listener.deliveries if it.key == key]
                assert len({it.partition for it in of_key}) == 1
                assert [int(it.value or b"") for it in of_key] == sorted(int(it.value or b"") for it in of_key)

    play(scenario())


def test_what_is_committed_is_not_delivered_again_and_all_else_is(world: World) -> None:
    """After a restart, each partition goes on at the offset that was noted for it."""

    async def scenario() -> None:
        async with world.listening(first=40) as first:
            chosen = first.deliveries[0].partition
            total = sum(it.partition == chosen for it in first.deliveries)
            last = max(it.offset for it in first.deliveries if it.partition == chosen)
            first.bus.commit({chosen: last - 1})
            first.bus.commit({chosen: last})
        async with world.listening() as second:
            await second.until_received(40 - total + 1)
            again = [it for it in second.deliveries if it.partition == chosen]
            assert [it.offset for it in again] == [last]

    play(scenario())


def test_members_share_the_partitions_and_take_over(world: World) -> None:
    """Each partition has one owner; what one commits before it lets go, the next does not see again.

    Not on the embedded broker and the stand-in: a second member of a group never gets into it there.
    """
    if not world.shares:
        pytest.skip("a second member never gets into a group here")

    async def scenario() -> None:
        async with world.listening(first=40) as first:
            ends = {it.partition: it.offset + 1 for it in first.deliveries}
            first.before_release = lambda: first.bus.commit(ends)
            async with world.listening() as second:
                await first.until(lambda: len(first.owned) == len(second.owned) == 2)
                assert not first.owned & second.owned
                assert not first.revoked[0].lost
                await first.bus.publish(numbered(world.topic, range(40, 80)))
                await first.until(lambda: len(first.deliveries) + len(second.deliveries) >= 80)
                values = sorted(int(it.value or b"") for it in (*first.deliveries, *second.deliveries))
                assert values == list(range(80))
            await first.until(lambda: len(first.owned) == PARTITIONS)

    play(scenario())


def test_what_is_too_large_is_refused_and_the_rest_is_taken(world: World) -> None:
    """A refusal names the message; publishing nothing is no fault."""

    async def scenario() -> None:
        async with world.listening() as listener:
            await listener.until(lambda: len(listener.owned) == PARTITIONS)
            large = Message(world.topic, b"k", b"x" * (listener.bus.message_bytes_max + 1))
            refusals = await listener.bus.publish(
                [Message(world.topic, b"k", b"1"), large, Message(world.topic, b"k", b"2")]
            )
            assert [(it.index, it.error.code) for it in refusals] == [(1, "message_too_large")]
            assert await listener.until_received(2) == [b"1", b"2"]
            assert list(await listener.bus.publish([])) == []

    play(scenario())


def test_a_paused_partition_waits_and_goes_on_where_it_was(world: World) -> None:
    """Pausing holds back one partition and no other; nothing is lost or repeated by it."""

    async def scenario() -> None:
        async with world.listening(first=40) as listener:
            paused = listener.deliveries[0].partition
            others = 2 * sum(it.partition != paused for it in listener.deliveries)
            listener.bus.pause([paused])
            await asyncio.sleep(A_MOMENT_S)
            await listener.bus.publish(numbered(world.topic, range(40, 80)))
            await listener.until(lambda: sum(it.partition != paused for it in listener.deliveries) == others)
            assert sum(it.partition == paused for it in listener.deliveries) == 40 - others // 2
            listener.bus.resume([paused])
            await listener.until_received(80)
            assert sorted(int(it.value or b"") for it in listener.deliveries) == list(range(80))

    play(scenario())


def test_a_partition_that_is_sent_back_is_delivered_again_from_there(world: World) -> None:
    """It alone, from that very message on, and the assignment stays in force."""

    async def scenario() -> None:
        async with world.listening(first=40) as listener:
            back = listener.deliveries[0].partition
            offsets = [it.offset for it in listener.deliveries if it.partition == back]
            listener.bus.rewind(back, offsets[2])
            await listener.until_received(40 + len(offsets) - 2)
            again = listener.deliveries[listener.rewound[back] :]
            assert [(it.partition, it.offset) for it in again] == [(back, offset) for offset in offsets[2:]]

    play(scenario())


def test_what_is_resumed_is_delivered_at_once(world: World) -> None:
    """Where everything was paused, a client may sleep for a second before it looks again: then a host stands still."""

    async def scenario() -> None:
        async with world.listening(first=40) as listener:
            partitions = list(listener.assigned)
            took_s = []
            for begin in range(100, 500, 100):
                listener.bus.pause(partitions)
                await asyncio.sleep(A_MOMENT_S)
                await listener.bus.publish(numbered(world.topic, range(begin, begin + 40)))
                count = len(listener.deliveries)
                listener.bus.resume(partitions)
                began_s = time.monotonic()
                await listener.until(lambda count=count: len(listener.deliveries) == count + 40)  # type: ignore[misc]
                took_s.append(time.monotonic() - began_s)
            assert min(took_s) < 0.5

    play(scenario())


def test_where_a_partition_was_sent_back_to_outlasts_pauses(world: World) -> None:
    """However often it is paused and resumed before anything of it arrives, nothing is passed over."""

    async def scenario() -> None:
        async with world.listening(first=40) as listener:
            back = listener.deliveries[0].partition
            offsets = [it.offset for it in listener.deliveries if it.partition == back]
            listener.bus.pause([back])
            listener.bus.rewind(back, offsets[0])
            await listener.until(lambda: back in listener.rewound)
            for _ in range(2):
                listener.bus.resume([back])
                listener.bus.pause([back])
                await asyncio.sleep(A_MOMENT_S)
            assert len(listener.deliveries) == 40
            listener.bus.resume([back])
            await listener.until_received(40 + len(offsets))
            assert [it.offset for it in listener.deliveries[40:]] == offsets

    play(scenario())


def test_a_transaction_holds_messages_and_offsets(world: World) -> None:
    """Both are there afterwards; one transaction follows the other."""
    if not world.transacts:
        pytest.skip("no client of exactly once")

    async def scenario() -> None:
        async with world.listening() as first:
            ends = await received(first, world)
            for n in range(40, 60):
                refusals = await transacted(first, [Message(world.topic, b"key-%d" % (n % 10), b"%d" % n)], ends)
                assert list(refusals) == []
            assert sorted(await first.until_received(60), key=number_of) == [b"%d" % n for n in range(60)]
        async with world.listening() as second:
            assert sorted(await second.until_received(20), key=number_of) == [b"%d" % n for n in range(40, 60)]

    play(scenario())


def test_of_a_transaction_with_a_refused_message_nothing_happens(world: World) -> None:
    """The refusal names the message; neither another message nor an offset is there."""
    if not world.transacts:
        pytest.skip("no client of exactly once")

    async def scenario() -> None:
        async with world.listening() as first:
            ends = await received(first, world)
            large = Message(world.topic, b"k", b"x" * (first.bus.message_bytes_max + 1))
            refusals = await transacted(first, [Message(world.topic, b"k", b"77"), large], ends)
            assert [(it.index, it.error.code) for it in refusals] == [(1, "message_too_large")]
            assert list(await transacted(first, [Message(world.topic, b"k", b"78")], {})) == []
            assert (await first.until_received(41))[-1] == b"78"
        async with world.listening() as second:
            assert len(await second.until_received(41)) == 41

    play(scenario())


def test_who_has_left_the_group_commits_nothing(world: World) -> None:
    """A transaction for partitions that are somebody else's is aborted, and what it held is not there."""
    if not world.transacts:
        pytest.skip("no client of exactly once")

    async def scenario() -> None:
        async with world.open_bus() as late:
            listener = Listener(late, world.topic)
            ends = await received(listener, world)
            await listener.leave()
            async with world.listening() as other:
                await other.until_received(40)
                with pytest.raises(TransactionAborted):
                    await late.transact([Message(world.topic, b"k", b"late")], ends)
                await other.bus.publish([Message(world.topic, b"k", b"last")])
                assert (await other.until_received(41))[-1] == b"last"

    play(scenario())


def test_a_bus_that_is_closed_leaves_no_client(world: World) -> None:
    """Whoever still holds it, or an error of it: a client that lives on keeps its connections."""

    async def scenario() -> None:
        before = client_threads()
        async with world.open_bus() as bus:
            listener = Listener(bus, world.topic)
            ends = await received(listener, world)
            if world.transacts:
                await transacted(listener, [Message(world.topic, b"k", b"78")], ends)
            await listener.leave()
        assert client_threads() - before == set()
        assert listener.bus is bus

    play(scenario())


def client_threads() -> set[str]:
    """Return the threads of librdkafka in this process."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # A thread may end while they are listed.
            if (name := (task / "comm").read_text()).startswith("rdk:"):
                found.add(f"{task.name} {name.strip()}")
    return found
