"""What a host asks of its bus beyond an EnvelopeBus: where it is, how it fares, and how long it may take to close.

Kafka's answers all of it. A plug-in's is an EnvelopeBus and no more: what the rest is, `PluggedBus` does not know.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from omnibase_core.errors import BusError
from omnibase_core.ports import EnvelopeBus, Happening, Message, Partition
from omnibase_infra.kafka import KafkaBus
from omnibase_infra.kafka.producer import Published
from omnibase_infra.kafka.topic_status import BusSurvey


class HostBus(EnvelopeBus, Protocol):
    """The bus of a host."""

    ends_by: float | None
    """A moment of time.monotonic() that all phases of closing share; None: each has a bound of its own."""

    @property
    def address(self) -> str:
        """Where Kafka's broker is; empty where the bus is another."""

    @property
    def embedded(self) -> bool:
        """Whether the broker ends with this process."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there, as far as anybody knows."""

    @property
    def trouble(self) -> str | None:
        """Why transactions do not move on right now; None while they do."""

    def survey(self) -> BusSurvey:
        """Return what is known of the topics and of the consumer."""

    def lag_s(self, partition: Partition, watermark: int) -> float:
        """Return for how long, at least, there has been a message at the watermark; 0.0 where nobody knows of one."""

    def listen(
        self, topics: Collection[str], *, hear: Callable[[Sequence[bytes]], None], listening: Callable[[str], None]
    ) -> AbstractAsyncContextManager[None]:
        """Return what is new on these topics to `hear` while the context is open. Raises BusError where it cannot."""


def host_bus(bus: EnvelopeBus, name: str) -> HostBus:
    """Return a bus as a host needs it."""
    return bus if isinstance(bus, KafkaBus) else PluggedBus(bus, name)


class PluggedBus:
    """A plug-in's bus. A HostBus."""

    address = ""
    embedded = False
    connected = True
    trouble = None

    def __init__(self, bus: EnvelopeBus, name: str) -> None:
        """Take the bus, and the name that host contracts have for it."""
        self.message_bytes_max = bus.message_bytes_max
        self.ends_by: float | None = None
        self._bus = bus
        self._name = name

    def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Join the group and give what happens."""
        return self._bus.receive(topics)

    def publish(self, messages: Sequence[Message], /) -> Published:
        """Queue the messages."""
        return self._bus.publish(messages)

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Record the offsets."""
        self._bus.commit(offsets)

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Published:
        """Publish and commit, both or neither."""
        return self._bus.transact(messages, offsets)

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Deliver nothing more of these partitions."""
        self._bus.pause(partitions)

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Deliver these partitions again."""
        self._bus.resume(partitions)

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Deliver a partition again from an offset on."""
        self._bus.rewind(partition, offset)

    def survey(self) -> BusSurvey:
        """Return that nothing is known."""
        return BusSurvey()

    def lag_s(self, partition: Partition, watermark: int) -> float:  # noqa: ARG002 - nobody knows
        """Return 0.0: nobody knows."""
        return 0.0

    def listen(
        self,
        topics: Collection[str],
        *,
        hear: Callable[[Sequence[bytes]], None],  # noqa: ARG002 - nothing is heard
        listening: Callable[[str], None],  # noqa: ARG002 - likewise
    ) -> AbstractAsyncContextManager[None]:
        """Raise BusError: answers of other nodes are heard on Kafka alone."""
        raise BusError(
            f"the bus {self._name!r} cannot wait for answers on {', '.join(sorted(topics))}; nodes that ask other nodes"
            " need the bus kafka"
        )
