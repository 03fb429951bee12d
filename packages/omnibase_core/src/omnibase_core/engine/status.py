"""What others see of the engine: how much it holds, how far it is, and what its nodes have done."""

from collections.abc import Mapping, Sequence

from omnibase_core.engine.flow_control import FlowControl, PartitionProgress
from omnibase_core.engine.in_flight import Assignment
from omnibase_core.engine.instance import NodeFigures, NodeInstance
from omnibase_core.engine.nodes import HostedNodes
from omnibase_core.ports import Clock, Partition


class RuntimeStatus:
    """The figures of a runtime, from what it works with."""

    _clock: Clock
    _roster: HostedNodes
    _assignments: dict[Partition, Assignment]
    _flow: FlowControl

    def instance(self, slug: str) -> NodeInstance:
        """Return a node that was loaded, by its name. Raises UnknownNode."""
        return self._roster.instance(slug)

    @property
    def figures(self) -> Mapping[str, NodeFigures]:
        """What each node has done, by the node's name."""
        return self._roster.figures

    @property
    def breakers(self) -> Mapping[str, str]:
        """The state of each circuit breaker, by the name of what is behind it."""
        return self._roster.breakers

    @property
    def assigned(self) -> Sequence[Partition]:
        """The partitions that this host serves now."""
        return sorted(self._assignments)

    @property
    def stalled_s(self) -> float:
        """For how long the partition has stood that stands the longest though it has something to do, in seconds."""
        busy = [it.moved_s for it in self._assignments.values() if it.ledger.unfinished]
        return max(0.0, self._clock.monotonic_s() - min(busy)) if busy else 0.0

    @property
    def in_flight(self) -> int:
        """How many commands are taken and not yet done, requests included."""
        return self._flow.intake.count + self._flow.intake.apart_count

    @property
    def in_flight_apart(self) -> int:
        """How many of these wait apart: requests, and what is left to other hosts."""
        return self._flow.intake.apart_count

    @property
    def bytes_in_flight(self) -> int:
        """What these hold, in bytes: what was delivered, and what is published for them."""
        return self._flow.intake.size_bytes + self._flow.intake.apart_bytes

    @property
    def held(self) -> Mapping[Partition, str]:
        """Which partitions this host does not fetch for now, and why."""
        return self._flow.held

    @property
    def standings(self) -> Mapping[Partition, PartitionProgress]:
        """How far each partition is, and why it is not read where it is not."""
        return self._flow.standings(self._clock.monotonic_s())
