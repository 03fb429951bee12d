"""The simulated Kafka does what Kafka does: order, redelivery, generations, deadlines, sessions that end."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import pytest

from omnibase_core.errors import BusError, PublishFailed
from omnibase_core.ports import Assigned, Batch, Message, Partition, Revoked
from omnibase_core.testing.simulated_bus import SimulatedBus
from omnibase_core.testing.simulated_cluster import Faults, SimulatedCluster
from omnibase_core.testing.virtual_time import Dice, run

HERE = Partition("commands", 0)


class Nobody:
    """A witness that minds nothing."""

    def published(self, messages: Sequence[Message], held: Collection[Partition]) -> None:
        """Mind nothing."""

    def appended(self, place: Partition, offset: int, message: Message) -> None:
        """Mind nothing."""

    def refused(self, message: Message, error: PublishFailed) -> None:
        """Mind nothing."""

    def gone(self, place: Partition, begin: int, end: int) -> None:
        """Mind nothing."""

    def noted(self, offsets: Mapping[Partition, int], held: Collection[Partition]) -> None:
        """Mind nothing."""

    def committed(self, partition: Partition, offset: int, before: int) -> None:
        """Mind nothing."""

    def transacted(self, offsets: Mapping[Partition, int]) -> None:
        """Mind nothing."""

    def objection(self, text: str) -> None:
        """Mind nothing."""


class Client:
    """A bus, and what it gave so far. What is revoked is released at once, unless it `clings`."""

    def __init__(self, cluster: SimulatedCluster, *, clings: bool = False) -> None:
        """Join."""
        self.bus = SimulatedBus(cluster, group="group")
        self.offsets: list[int] = []
        self.news: list[str] = []
        self._clings = clings
        self.task = asyncio.create_task(self._receive())

    def commit(self, offset: int) -> None:
        """Commit under the assignment that the client has now."""
        self.bus.commit({self.bus.held[HERE].partition: offset})

    async def _receive(self) -> None:
        async for happening in self.bus.receive(["commands"]):
            match happening:
                case Batch(deliveries):
                    self.offsets += [it.offset for it in deliveries]
                case Assigned():
                    self.news.append("assigned")
                case Revoked():
                    self.news.append("lost" if happening.lost else "revoked")
                    if not self._clings:
                        happening.release()


def in_simulation(scenario: Callable[[SimulatedCluster], Awaitable[Any]], seed: int = 1) -> Any:
    """Run on a cluster of one partition that holds five commands and refuses nothing."""

    async def work() -> Any:
        faults = Faults(refused=0.0)
        cluster = SimulatedCluster(dice=Dice(seed), faults=faults, witness=Nobody(), partitions=1)
        for number in range(5):
            cluster.force(HERE, Message("commands", b"k", b"%d" % number))
        outcome = await scenario(cluster)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return outcome

    return run(work(), seed=seed)


def test_what_is_not_committed_is_delivered_to_the_next() -> None:
    """A host crashes; when its session has ended, the other goes on from the committed offset."""

    async def scenario(cluster: SimulatedCluster) -> None:
        first = Client(cluster)
        await asyncio.sleep(1)
        first.commit(2)
        await asyncio.sleep(1)
        second = Client(cluster)
        first.bus.crash()
        await asyncio.sleep(2)
        assert (first.offsets, second.offsets) == ([0, 1, 2, 3, 4], [])
        await asyncio.sleep(5)
        assert second.offsets == [2, 3, 4]

    in_simulation(scenario)


def test_who_does_not_release_in_time_loses_the_partition_and_cannot_commit() -> None:
    """The partition goes on at another member; what the late one commits is refused."""

    async def scenario(cluster: SimulatedCluster) -> None:
        late, other = Client(cluster, clings=True), Client(cluster)
        await asyncio.sleep(1)
        group = cluster.group("group")
        if not late.bus.held:
            group.turn()
            await asyncio.sleep(1)
        group.turn()
        late.commit(4)
        await asyncio.sleep(1)
        assert group.committed == {HERE: 4}
        late.bus.cut_off(3)
        late.commit(5)
        await asyncio.sleep(20)
        assert late.news == ["assigned", "revoked", "lost"]
        assert HERE in other.bus.held
        assert group.committed == {HERE: 4}

    in_simulation(scenario)


def test_a_client_that_is_cut_off_for_long_has_lost_everything() -> None:
    """It hears so when the link is back, and joins again."""

    async def scenario(cluster: SimulatedCluster) -> None:
        client = Client(cluster)
        await asyncio.sleep(1)
        client.bus.cut_off(20)
        await asyncio.sleep(25)
        assert client.news == ["assigned", "lost", "assigned"]
        assert client.offsets == [0, 1, 2, 3, 4] * 2

    in_simulation(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_a_client_s_messages_to_a_partition_keep_their_order(seed: int) -> None:
    """Whatever way each takes; and publishing waits while the broker is away."""

    async def scenario(cluster: SimulatedCluster) -> None:
        bus = SimulatedBus(cluster, group="group")
        cluster.go_away(9)
        outcomes = [bus.publish([Message("answers", b"k", b"%d" % number)]) for number in range(20)]
        await asyncio.sleep(8)
        assert not any(outcome.done() for outcome in outcomes)
        assert await asyncio.gather(*outcomes) == [[]] * 20
        kept = list(cluster.logs[Partition("answers", 0)])
        assert [message.value for message in kept] == [b"%d" % number for number in range(20)]

    in_simulation(scenario, seed)


def test_what_is_on_its_way_when_a_host_crashes_is_lost_and_never_acknowledged() -> None:
    """Nobody hears of it again."""

    async def scenario(cluster: SimulatedCluster) -> None:
        bus = SimulatedBus(cluster, group="group")
        outcome = bus.publish([Message("answers", b"k", b"lost")])
        bus.crash()
        await asyncio.sleep(60)
        assert not outcome.done()
        assert Partition("answers", 0) not in cluster.logs

    in_simulation(scenario)


def test_what_is_too_large_is_refused_by_its_place() -> None:
    """The others are kept."""

    async def scenario(cluster: SimulatedCluster) -> None:
        bus = SimulatedBus(cluster, group="group")
        messages = [Message("answers", b"k", b"x" * size) for size in (1, 5000, 1)]
        [refusal] = await bus.publish(messages)
        assert (refusal.index, refusal.error.code) == (1, "message_too_large")
        assert len(list(cluster.logs[Partition("answers", 0)])) == 2

    in_simulation(scenario)


def test_a_bus_that_fails_says_so() -> None:
    """`receive` ends with a BusError."""

    async def scenario(cluster: SimulatedCluster) -> None:
        client = Client(cluster)
        await asyncio.sleep(1)
        client.bus.fail()
        with pytest.raises(BusError):
            await client.task

    in_simulation(scenario)


def test_a_pause_is_over_with_its_assignment() -> None:
    """A partition that was paused when it went is delivered when it comes back."""

    async def scenario(cluster: SimulatedCluster) -> None:
        client = Client(cluster)
        await asyncio.sleep(1)
        client.bus.pause([client.bus.held[HERE].partition])
        await asyncio.sleep(1)
        client.bus.cut_off(8)
        await asyncio.sleep(12)
        cluster.force(HERE, Message("commands", b"k", b"5"))
        await asyncio.sleep(1)
        assert client.news == ["assigned", "lost", "assigned"]
        assert client.offsets == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]

    in_simulation(scenario)


@pytest.mark.parametrize("refill", [2, 9])
def test_a_topic_that_is_created_again_begins_another_assignment(refill: int) -> None:
    """Whether it is shorter than before or longer: all of it is read, and nothing of it is committed before."""

    async def scenario(cluster: SimulatedCluster) -> None:
        client = Client(cluster)
        await asyncio.sleep(1)
        client.commit(5)
        await asyncio.sleep(1)
        cluster.delete("commands")
        await asyncio.sleep(2)
        cluster.create("commands")
        for number in range(refill):
            cluster.force(HERE, Message("commands", b"k", b"%d" % number))
        await asyncio.sleep(5)
        assert client.news == ["assigned", "lost", "assigned"]
        assert client.offsets == [0, 1, 2, 3, 4, *range(refill)]
        assert cluster.group("group").committed.get(HERE, 0) == 0

    in_simulation(scenario)


def test_retention_takes_what_was_not_read() -> None:
    """The client goes on where the log begins by then."""

    async def scenario(cluster: SimulatedCluster) -> None:
        cluster.expire(HERE, 3)
        client = Client(cluster)
        await asyncio.sleep(1)
        assert client.offsets == [3, 4]

    in_simulation(scenario)


def test_of_commits_that_fail_the_largest_offset_wins() -> None:
    """However often and in whatever order they fail; also where the client leaves."""

    async def scenario(cluster: SimulatedCluster) -> None:
        client = Client(cluster)
        await asyncio.sleep(1)
        cluster.faults.commit_failed = 1.0
        for offset in (1, 4, 2):
            client.commit(offset)
            await asyncio.sleep(1)
        cluster.faults.commit_failed = 0.0
        await asyncio.sleep(2)
        assert cluster.group("group").committed == {HERE: 4}

    in_simulation(scenario)
