"""What a host says of its group: by what the coordinator describes, and by what passes meanwhile."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.testing import RecordingObserver
from omnibase_infra.kafka import KafkaBus, KafkaSettings
from omnibase_infra.kafka.group_status import GroupTimes, GroupView, GroupWait, partitions_in, view_of
from tests.support.brokers import ApacheKafka, Broker
from tests.support.bus_world import Listener, host_contract
from tests.support.traffic import create_topics

OURS = ("us-1",)
TIMES = GroupTimes(session_s=10, poll_s=60)


class Member(NamedTuple):
    """A member as the client describes it."""

    id: str
    client_id: str
    client_host: str
    assignment: bytes


class Group(NamedTuple):
    """A group as the client describes it."""

    state: str
    members: Sequence[Member]
    error: object = None


def assignment(numbers: range, *topics: str) -> bytes:
    """Assign partitions of topics, as Kafka's consumer protocol writes it."""
    written = struct.pack(">hi", 1, len(topics))
    for topic in topics:
        written += struct.pack(f">h{len(topic)}si{len(numbers)}i", len(topic), topic.encode(), len(numbers), *numbers)
    return written + struct.pack(">i", 0)


def member(name: str, has: range, *, number: int = 1, address: str = "10.0.0.7") -> Member:
    """Describe a member."""
    return Member(f"{name}-{number}", name, f"/{address}", assignment(has, "topic"))


def view(state: str, *members: Member) -> GroupView:
    """Look at a group of these members."""
    found: Any = [Group(state, members)]
    return view_of(found, OURS)


def wait(seen: GroupView, *, owned: int = 0, times: GroupTimes = TIMES) -> GroupWait:
    """Wait from the moment 0 on; the group has been as it is from 1 on."""
    return GroupWait(group="pool", owned=owned, since_s=0, view=seen, view_since_s=1, times=times)


@pytest.mark.parametrize("state", ["PreparingRebalance", "CompletingRebalance"])
def test_a_group_that_rebalances_waits_for_any_other_member(state: str) -> None:
    """Of one that has died the coordinator still says what it had been assigned."""
    members = (member("us", range(0)), member("a", range(4)), member("b", range(4, 6), address="10.0.0.8"))
    seen = view(state, *members)
    assert (seen.dealing, seen.others) == (True, {"a at 10.0.0.7": 4, "b at 10.0.0.8": 2})
    said = wait(seen).described(5)
    assert said == (
        "it has been joining the group pool for 5 s, and waits for one or more of a at 10.0.0.7 (4 partitions), "
        "b at 10.0.0.8 (2 partitions); the partitions of a dead member are not served until it is removed, within 6 s"
    )


def test_consumers_of_one_host_are_one_name_and_few_are_named() -> None:
    """A line that names each consumer of a large pool would be read by nobody."""
    many = [member(f"h{n}", range(n), number=number) for n in range(1, 6) for number in (1, 2)]
    seen = view("PreparingRebalance", *many)
    assert seen.held == 30
    assert (
        seen.named
        == "h5 at 10.0.0.7 (10 partitions), h4 at 10.0.0.7 (8 partitions), h3 at 10.0.0.7 (6 partitions), 2 more"
    )


@pytest.mark.parametrize(
    ("now_s", "remaining_max_s"),
    [
        (1, 10),  # A member that died before the rebalance began is dropped by then.
        (10.5, 0.5),
        (12, 49),  # Who is waited for now is alive, and does not come back to the client.
        (70, 0),
    ],
)
def test_how_long_the_wait_can_last_follows_from_when_members_are_dropped(now_s: float, remaining_max_s: float) -> None:
    """After a session, all who are left are alive."""
    seen = GroupView("preparing rebalance", dealing=True, others={"a at 10.0.0.7": 4})
    assert wait(seen, owned=2).remaining_max_s(now_s) == remaining_max_s


def test_a_rebalance_is_said_otherwise_by_a_host_that_serves() -> None:
    """It has its partitions, and knows of those that it does not have."""
    seen = GroupView("preparing rebalance", dealing=True, others={"a at 10.0.0.7": 1})
    assert wait(seen, owned=3).described(8) == (
        "the group pool has been rebalancing for 8 s, and waits for a at 10.0.0.7 (1 partition); "
        "the partitions of a dead member are not served until it is removed, within 3 s"
    )


def test_a_host_that_is_given_nothing_says_who_has_it() -> None:
    """It is one more than there are partitions, or has not been dealt with yet."""
    seen = view("Stable", member("us", range(0)), member("a", range(4)))
    said = wait(seen).described(9)
    assert said == "the group pool has had none for it for 9 s: a at 10.0.0.7 (4 partitions) have them"
    assert wait(seen).remaining_max_s(9) is None


def test_where_nothing_is_known_the_wait_is_said() -> None:
    """The coordinator does not answer, has just begun, or knows the group by a protocol that is not asked about."""
    alone = view("PreparingRebalance", member("us", range(0)))
    for seen in (GroupView(), alone, view("Dead"), view("")):
        assert wait(seen).described(3) == "it has been joining the group pool for 3 s"


@given(st.integers(0, 5), st.lists(st.text("abc", min_size=1, max_size=9), max_size=4, unique=True))
def test_partitions_of_an_assignment_are_counted(count: int, topics: list[str]) -> None:
    """Of any number of topics."""
    assert partitions_in(assignment(range(count), *topics)) == count * len(topics)


@given(st.binary(max_size=40))
def test_what_is_no_assignment_is_not_counted_on(data: bytes) -> None:
    """Other kinds of groups write what they like."""
    assert isinstance(partitions_in(data), int)


def test_a_host_more_than_there_are_partitions_is_told_once(kafka: Broker, unique_slug: str) -> None:
    """It may be meant so: the log says it at the level info, and readiness says who has the partitions."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")
    topic, address = f"onex.app.test.{unique_slug}.cmd.node.any.v1", kafka.bootstrap_servers
    create_topics(address, [topic], partitions=1)

    def bus(observer: RecordingObserver) -> KafkaBus:
        host = host_contract(unique_slug, exactly_once=False)
        settings = KafkaSettings(bootstrap_servers=address)
        return KafkaBus(settings, address=address, host=host, topics=[topic], observer=observer)

    async def scenario() -> None:
        observer = RecordingObserver()
        first, spare = bus(RecordingObserver()), bus(observer)
        serving = Listener(first, topic)
        await serving.until(lambda: len(serving.owned) == 1)
        waiting = Listener(spare, topic)
        await waiting.until(lambda: bool(observer.named("rebalance_pending")))
        await asyncio.sleep(6)
        [(level, _, told)] = [it for it in observer.events if it[1] == "rebalance_pending"]
        assert (level, told["assigned"], told["partitions_held"], told["state"]) == ("info", 0, 1, "stable")
        holder = "conformance at 127.0.0.1 (1 partition)"
        assert (told["waiting_for"], told["remaining_max_s"]) == (holder, None)
        said = spare.survey().group
        assert said is not None
        assert said.startswith(f"the group onex.test.{unique_slug}.pool has had none for it for ")
        assert said.endswith(f" s: {holder} have them")
        assert first.survey().group is None
        await serving.leave()
        await waiting.until(lambda: bool(observer.named("rebalance_completed")))
        assert spare.survey().group is None
        await waiting.leave()
        await asyncio.gather(first.close(), spare.close())

    asyncio.run(scenario())
