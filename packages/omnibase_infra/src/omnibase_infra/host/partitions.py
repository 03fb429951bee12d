"""How each partition of a host is: how much is left to read, for how long, and why it is not read. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from omnibase_core.engine.flow_control import PartitionProgress
from omnibase_core.ports import Partition
from omnibase_infra.kafka.topic_status import BusSurvey


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionHealth:
    """A partition that the host serves.

    - `node`: whose commands are on it; None for a topic of the whole pool.
    - `lag`: messages that are there and not done. What a transaction left behind is none.
    - `lag_s`: for how many seconds, at least, the first of them has been there. Both are None where nobody knows, as on
      the embedded broker.
    - `position`: the offset up to which the host has read; `committed`: up to which everything is done.
    - `stalled_s`: for how many seconds nothing of it has been done although something is there.
    - `pause_reason`: why it is not read right now; None where it is.
    - `expired`: how many messages retention took before they were read, since the host started.
    - `open_transaction`: how many messages wait behind a transaction that another producer keeps open.
    """

    node: str | None
    lag: int | None
    lag_s: float | None
    position: int | None
    committed: int | None
    stalled_s: float
    pause_reason: str | None
    expired: int
    open_transaction: int

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to say of it."""
        return not (self.lag or self.pause_reason or self.expired or self.open_transaction)


def partition_healths(
    nodes: Mapping[str, str],
    survey: BusSurvey,
    standings: Mapping[Partition, PartitionProgress],
    *,
    lag_s: Callable[[Partition, int], float],
) -> Iterator[tuple[Partition, PartitionHealth]]:
    """Put together what the runtime and the bus know, one partition after the other. `nodes` are names by topics."""
    for partition, standing in sorted(standings.items()):
        yield partition, _of(partition, nodes.get(partition.topic), survey, standing, lag_s)


def _of(
    partition: Partition,
    node: str | None,
    survey: BusSurvey,
    standing: PartitionProgress,
    lag_s: Callable[[Partition, int], float],
) -> PartitionHealth:
    position = survey.positions.get(partition)
    # Before anything is delivered, a partition is read from its committed offset on.
    committed = position if standing.watermark is None else standing.watermark
    ends = survey.ends.get(partition)
    lag: int | None = None
    age_s = 0.0
    if ends is not None:
        # A group without a committed offset reads from the beginning: that nothing has arrived yet is no reason to
        # believe that nothing is there.
        first = ends.begin if committed is None else max(committed, ends.begin)
        lag = max(0, ends.stable_end - first)
        age_s = lag_s(partition, first if committed is None else committed) if lag else 0.0
    open_transaction = survey.open_transactions.get(partition)
    return PartitionHealth(
        node=node,
        lag=lag,
        lag_s=None if lag is None else round(age_s, 1),
        position=position,
        committed=committed,
        stalled_s=round(min(age_s, standing.stalled_s), 1),
        pause_reason=standing.pause_reason,
        expired=survey.expired.get(partition, 0),
        open_transaction=0 if open_transaction is None else open_transaction.messages,
    )
