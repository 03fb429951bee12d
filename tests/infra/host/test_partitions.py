"""What is said of a partition, of what the runtime and the bus know."""

from omnibase_core.engine.flow_control import PartitionProgress
from omnibase_core.ports import Partition
from omnibase_infra.host.partitions import PartitionHealth, partition_healths
from omnibase_infra.kafka.topic_status import BusSurvey, Ends, OpenTransaction

HERE = Partition("commands", 0)


def health_of(standing: PartitionProgress, survey: BusSurvey, *, lag_s: float = 0.0) -> PartitionHealth:
    """Return what is said of the one partition."""
    [(_, health)] = partition_healths({"commands": "echo"}, survey, {HERE: standing}, lag_s=lambda *_: lag_s)
    return health


def survey_of(begin: int, stable_end: int, end: int, *, position: int) -> BusSurvey:
    """Return what the bus knows of the one partition."""
    return BusSurvey(ends={HERE: Ends(begin, stable_end, end, 0.0)}, positions={HERE: position})


def test_lag_is_what_is_there_and_not_done() -> None:
    """Not what is read, and not what an open transaction of somebody else holds back."""
    health = health_of(PartitionProgress(6, 2.0, None), survey_of(0, 10, 15, position=9), lag_s=30.0)
    assert (health.node, health.lag, health.lag_s, health.position, health.committed) == ("echo", 4, 30.0, 9, 6)


def test_a_partition_that_moves_on_is_not_still_however_much_is_left() -> None:
    """Its oldest message may be there for an hour: what counts is that something was done since."""
    assert health_of(PartitionProgress(6, 0.5, None), survey_of(0, 10, 10, position=9), lag_s=3600.0).stalled_s == 0.5
    assert health_of(PartitionProgress(6, 900.0, None), survey_of(0, 10, 10, position=9), lag_s=20.0).stalled_s == 20.0
    assert health_of(PartitionProgress(10, 900.0, None), survey_of(0, 10, 10, position=10)).stalled_s == 0.0


def test_what_was_never_begun_counts_too() -> None:
    """A partition of which nothing was delivered is read from its position on."""
    health = health_of(PartitionProgress(None, 700.0, "node full"), survey_of(0, 10, 10, position=4), lag_s=650.0)
    assert (health.lag, health.committed, health.stalled_s, health.pause_reason) == (6, 4, 650.0, "node full")


def test_what_retention_took_is_no_lag() -> None:
    """Nobody can read it any more: it is counted apart."""
    survey = BusSurvey(
        ends={HERE: Ends(8, 10, 12, 0.0)},
        positions={HERE: 4},
        expired={HERE: 4},
        open_transactions={HERE: OpenTransaction(2, 9.0)},
    )
    health = health_of(PartitionProgress(4, 0.0, None), survey)
    assert (health.lag, health.expired, health.open_transaction) == (2, 4, 2)


def test_before_the_broker_was_asked_nothing_is_claimed() -> None:
    """No lag, and no offset."""
    health = health_of(PartitionProgress(None, 5.0, None), BusSurvey())
    assert (health.lag, health.committed, health.position, health.is_quiet) == (None, None, None, True)
