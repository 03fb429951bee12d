"""Commits of a partition whose topic is identified late, and the lag of one of which nothing was read yet."""

from confluent_kafka import TopicPartition

from omnibase_core.engine.flow_control import PartitionProgress
from omnibase_core.ports import Partition
from omnibase_infra.host.partitions import partition_healths
from omnibase_infra.kafka.owned_partitions import OwnedPartitions
from omnibase_infra.kafka.topic_status import BusSurvey, Ends

PLACE = Partition("t", 0)


def test_a_topic_that_is_identified_while_a_commit_is_under_way_does_not_end_the_commits() -> None:
    """Its answer carries the tag of before; what is noted later is sent all the same."""
    owned = OwnedPartitions()
    owned.begin(PLACE, topic_id=None, target=0, placed=True)
    owned.note({PLACE: 5})
    sent = owned.send()
    assert owned.identify("t", "an-id") == []
    owned.answered([TopicPartition(it.topic, it.partition, it.offset, it.metadata) for it in sent], None)
    owned.note({PLACE: 9})
    assert [it.offset for it in owned.send()] == [9]


def test_a_partition_of_which_nothing_was_read_yet_has_a_lag() -> None:
    """A new group begins at the beginning: what is there is not done, whether or not anything arrives."""
    survey = BusSurvey(ends={PLACE: Ends(10, 100, 100, 0.0)})
    standings = {PLACE: PartitionProgress(watermark=None, stalled_s=900.0, pause_reason=None)}
    health = dict(partition_healths({}, survey, standings, lag_s=lambda *_: 800.0))[PLACE]
    assert (health.lag, health.stalled_s) == (90, 800.0)
