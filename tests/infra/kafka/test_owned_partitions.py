"""The bookkeeping of assignments: what is committed, in whichever order answers come, and what jumps mean."""

from random import Random

from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.ports import Partition
from omnibase_infra.kafka.owned_partitions import OffsetProgress, OwnedPartitions, starting_point
from omnibase_infra.kafka.topic_status import Ends, Surveyor

FAILED = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - the client names its public error codes so


def one(owned: OwnedPartitions, topic_id: str | None = "id") -> Partition:
    """Begin an assignment of a partition."""
    partition = Partition("topic", 0)
    owned.begin(partition, topic_id=topic_id, target=0, placed=True)
    return partition


@given(
    st.lists(st.sampled_from(["note", "send", "fail", "acknowledge"]), max_size=40), st.randoms(use_true_random=False)
)
def test_the_largest_offset_is_committed_in_the_end(steps: list[str], random: Random) -> None:
    """However often commits fail, and in whichever order they are answered; nothing is sent twice at a time."""
    owned, broker, noted = OwnedPartitions(), -1, -1
    partition = one(owned)
    under_way: list[list[TopicPartition]] = []
    for step in steps:
        if step == "note":
            offset = random.randrange(1, 100)
            noted = max(noted, offset)
            owned.note({partition: offset})
        elif step == "send":
            places = owned.send()
            assert not (places and under_way)
            under_way += [places] if places else []
        elif under_way:
            places = under_way.pop()
            broker = broker if step == "fail" else places[0].offset
            owned.answered(places, FAILED if step == "fail" else None)
    for places in under_way:
        owned.answered(places, FAILED)
    for places in iter(owned.send, []):
        broker = places[0].offset
        owned.answered(places, None)
    assert broker == noted


def test_an_answer_of_an_earlier_assignment_does_not_count() -> None:
    """Even where it is about the same offset: another host may have had the partition in between."""
    owned = OwnedPartitions()
    first = one(owned)
    owned.note({first: 7})
    late = owned.send()
    owned.end([first])
    second = one(owned)
    owned.note({second: 7})
    owned.answered(late, None)
    assert [it.offset for it in owned.send()] == [7]


def test_what_was_noted_before_a_partition_was_lost_is_forgotten() -> None:
    """Neither is it committed for the next assignment, nor can it be noted any more."""
    owned = OwnedPartitions()
    first = one(owned)
    owned.note({first: 7})
    owned.end([first])
    one(owned)
    owned.note({first: 9})
    assert owned.send(once_more=True) == []


def test_offsets_carry_the_id_of_their_topic() -> None:
    """Those of a topic that was deleted since do not count; those of anybody else's tools do."""
    owned = OwnedPartitions()
    owned.note({one(owned, "a/b+c=="): 7})
    [place] = owned.send()
    assert starting_point(place, "a/b+c==") == 7
    assert starting_point(place, "another") == OFFSET_BEGINNING
    assert starting_point(place, None) == 7
    assert starting_point(TopicPartition("topic", 0, 7, "by hand"), "another") == 7
    assert starting_point(TopicPartition("topic", 0, -1001), "another") == OFFSET_BEGINNING


def surveyed(*rounds: tuple[int, tuple[int, int] | None, int]) -> list[int]:
    """Let a surveyor look at rounds of position, jump and beginning; return the counts of what expired."""
    owned = OwnedPartitions()
    partition = one(owned)
    record = owned.of(partition)
    assert record is not None
    counts: list[int] = []

    def event(_level: str, name: str, **fields: int) -> None:
        assert name == "records_expired"
        counts.append(fields["count"])

    surveyor = Surveyor(event)
    for position, jump, begin in rounds:
        surveyor.take([OffsetProgress(record, position, None, jump)], {partition: Ends(begin, 1000, 1000, 0.0)}, 0.0)
    return counts


def test_expired_records_are_counted_once() -> None:
    """Whether the partition stands before the beginning, or jumped there; growing further, only what is new."""
    assert surveyed((100, (10, 100), 100), (100, None, 100)) == [90]
    assert surveyed((10, None, 5), (10, None, 50), (10, None, 50), (80, (10, 80), 80)) == [40, 30]


def test_other_jumps_are_not_expired_records() -> None:
    """A marker, or a beginning that passed what was read long ago."""
    assert surveyed((12, (10, 12), 0)) == []
    assert surveyed((10, None, 0), (100, (10, 12), 50), (100, None, 50)) == []
