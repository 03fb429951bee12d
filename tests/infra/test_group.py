"""What a host says of its group: by what the coordinator describes, and by what passes meanwhile."""

import asyncio
from collections.abc import Mapping

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, Node, TopicPartition
from confluent_kafka.admin._group import ConsumerGroupDescription, MemberAssignment, MemberDescription

from omnibase_core.testing import RecordingObserver
from omnibase_infra.kafka import KafkaBus, KafkaSettings
from omnibase_infra.kafka.group import GroupTimes, GroupView, GroupWait, view_of
from tests.gear.brokers import ApacheKafka, Broker
from tests.gear.bus_world import Listener, host_contract
from tests.gear.traffic import create_topics

CLASSIC, NEWER = ConsumerGroupType.CLASSIC, ConsumerGroupType.CONSUMER
PREPARING, STABLE = ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.STABLE
OURS = ("us-1",)
TIMES = GroupTimes(session_s=10, poll_s=60)


def assignment(numbers: range) -> MemberAssignment:
    """Assign partitions of one topic."""
    return MemberAssignment([TopicPartition("topic", number) for number in numbers])


def member(
    name: str, has: range, *, number: int = 1, address: str = "10.0.0.7", to_have: range | None = None
) -> MemberDescription:
    """Describe a member as the client does."""
    target = None if to_have is None else assignment(to_have)
    return MemberDescription(f"{name}-{number}", name, f"/{address}", assignment(has), target_assignment=target)


def group(kind: ConsumerGroupType, state: ConsumerGroupState, *members: MemberDescription) -> ConsumerGroupDescription:
    """Describe a group as the client does."""
    return ConsumerGroupDescription(
        "group",
        is_simple_consumer_group=False,
        members=list(members),
        partition_assignor="",
        state=state,
        coordinator=Node(1, "broker", 9092),
        type=kind,
    )


def wait(view: GroupView, *, owned: int = 0, times: GroupTimes = TIMES) -> GroupWait:
    """Wait from the moment 0 on; the group has been as it is from 1 on."""
    return GroupWait(group="pool", owned=owned, since_s=0, view=view, view_since_s=1, times=times)


@pytest.mark.parametrize("state", [PREPARING, ConsumerGroupState.COMPLETING_REBALANCING])
def test_a_group_that_rebalances_waits_for_any_other_member(state: ConsumerGroupState) -> None:
    """Of one that has died the coordinator still says what it had been assigned."""
    members = (member("us", range(0)), member("a", range(4)), member("b", range(4, 6), address="10.0.0.8"))
    view = view_of(group(CLASSIC, state, *members), OURS)
    assert (view.dealing, view.others) == (True, {"a at 10.0.0.7": 4, "b at 10.0.0.8": 2})
    said = wait(view).described(5)
    assert said == (
        "it has been joining the group pool for 5 s, and waits for one or more of a at 10.0.0.7 (4 partitions), "
        "b at 10.0.0.8 (2 partitions); what a dead member holds is not served until it is dropped, within 6 s"
    )


def test_consumers_of_one_host_are_one_name_and_few_are_named() -> None:
    """A line that names each consumer of a large pool would be read by nobody."""
    many = [member(f"h{n}", range(n), number=number) for n in range(1, 6) for number in (1, 2)]
    view = view_of(group(CLASSIC, PREPARING, *many), OURS)
    assert view.held == 30
    assert (
        view.named
        == "h5 at 10.0.0.7 (10 partitions), h4 at 10.0.0.7 (8 partitions), h3 at 10.0.0.7 (6 partitions), 2 more"
    )


@pytest.mark.parametrize(
    ("now_s", "at_most_s"),
    [
        (1, 10),  # A member that died before the rebalance began is dropped by then.
        (10.5, 0.5),
        (12, 49),  # Who is waited for now is alive, and does not come back to the client.
        (70, 0),
    ],
)
def test_how_long_the_wait_can_last_follows_from_when_members_are_dropped(now_s: float, at_most_s: float) -> None:
    """After a session, all who are left are alive."""
    view = GroupView("preparing rebalancing", dealing=True, others={"a at 10.0.0.7": 4})
    assert wait(view, owned=2).at_most_s(now_s) == at_most_s


def test_a_rebalance_is_said_otherwise_by_a_host_that_serves() -> None:
    """It has its partitions, and knows of those that it does not have."""
    view = GroupView("preparing rebalancing", dealing=True, others={"a at 10.0.0.7": 1})
    assert wait(view, owned=3).described(8) == (
        "the group pool has been rebalancing for 8 s, and waits for a at 10.0.0.7 (1 partition); "
        "what a dead member holds is not served until it is dropped, within 3 s"
    )


def test_a_host_that_is_given_nothing_says_who_has_it() -> None:
    """It is one more than there are partitions, or has not been dealt with yet."""
    view = view_of(group(CLASSIC, STABLE, member("us", range(0)), member("a", range(4))), OURS)
    said = wait(view).described(9)
    assert said == "the group pool has had none for it for 9 s: a at 10.0.0.7 (4 partitions) have them"
    assert wait(view).at_most_s(9) is None


def test_where_nothing_is_known_the_wait_is_said() -> None:
    """The coordinator does not answer, or has just begun."""
    alone = view_of(group(CLASSIC, PREPARING, member("us", range(0))), OURS)
    for view in (GroupView(), alone):
        assert wait(view).described(3) == "it has been joining the group pool for 3 s"


NEWER_CASES: Mapping[str, tuple[range, range, dict[str, int], bool]] = {
    "who still has what is to be ours": (range(0), range(2, 4), {"a at 10.0.0.7": 2}, True),
    "nobody, and others wait for each other": (range(2), range(2), {"a at 10.0.0.7": 4, "b at 10.0.0.7": 1}, False),
}


@pytest.mark.parametrize("case", NEWER_CASES)
def test_with_the_newer_protocol_a_host_waits_only_for_who_has_its_partitions(case: str) -> None:
    """Each member goes on by itself, whatever the state of the group."""
    has, to_have, others, dealing = NEWER_CASES[case]
    held = member("a", range(4), to_have=range(2)) if dealing else member("a", range(4, 8), to_have=range(4, 8))
    members = (member("us", has, to_have=to_have), held, member("b", range(9, 10), to_have=range(0)))
    view = view_of(group(NEWER, ConsumerGroupState.UNKNOWN, *members), OURS)
    assert (view.dealing, view.others) == (dealing, others)
    if dealing:
        said = wait(view, times=GroupTimes(session_s=None, poll_s=60)).described(7)
        assert said.endswith("until it is dropped, when the broker ends its session")


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
        await waiting.until(lambda: bool(observer.named("group_waits")))
        await asyncio.sleep(6)
        [(level, _, told)] = [it for it in observer.events if it[1] == "group_waits"]
        assert (level, told["owned"], told["held"], told["state"]) == ("info", 0, 1, "stable")
        holder = "conformance at 127.0.0.1 (1 partition)"
        assert (told["waits_for"], told["at_most_s"]) == (holder, None)
        said = spare.survey().group
        assert said is not None
        assert said.startswith(f"the group onex.test.{unique_slug}.pool has had none for it for ")
        assert said.endswith(f" s: {holder} have them")
        assert first.survey().group is None
        await serving.leave()
        await waiting.until(lambda: bool(observer.named("group_settled")))
        assert spare.survey().group is None
        await waiting.leave()
        await asyncio.gather(first.close(), spare.close())

    asyncio.run(scenario())
