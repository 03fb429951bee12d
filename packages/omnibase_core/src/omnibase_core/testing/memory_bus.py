"""The bus of one client of a broker in memory. It passes the same conformance suite as Kafka's does.

Beside it stands an observer that remembers.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import Happening, Message, Partition, Refusal
from omnibase_core.testing.memory_broker import Membership, MemoryBroker

__all__ = ["MemoryBroker", "MemoryBus", "RecordingObserver"]

_COMMIT_AGAIN_S = 0.5

Published = asyncio.Future[Sequence[Refusal]]


class MemoryBus:
    """An EnvelopeBus on a MemoryBroker. A message is acknowledged on the loop's next turn."""

    def __init__(self, broker: MemoryBroker, *, group: str) -> None:
        """Be a client of the broker that consumes in a group."""
        self.message_bytes_max = broker.message_bytes_max
        self._broker = broker
        self._group = group
        self._member: Membership | None = None

    async def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Join the group and give what happens until the iterator is closed; then leave."""
        member = self._member = self._broker.join(self._group, topics)
        try:
            while True:
                yield await self._broker.next_of(member)
        finally:
            self._broker.leave(self._group, member)
            self._member = None

    def publish(self, messages: Sequence[Message], /) -> Published:
        """Append the messages in order."""
        loop = asyncio.get_running_loop()
        done: Published = loop.create_future()
        outcomes = [self._broker.append(message) for message in messages]
        refusals = [Refusal(index, error) for index, error in enumerate(outcomes) if error is not None]
        loop.call_soon(_settle, done, refusals)
        return done

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Commit at once, as far as the partitions are this client's; what fails is committed again a moment later."""
        member = self._member
        if member is not None and not self._broker.commit(self._group, member, offsets):
            asyncio.get_running_loop().call_later(_COMMIT_AGAIN_S, self._commit_again, member)

    def _commit_again(self, member: Membership) -> None:
        if self._member is member:
            self.commit({})

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Published:
        """Append the messages and commit the offsets, if every message is taken and every partition this client's."""
        done: Published = asyncio.get_running_loop().create_future()
        member = self._member
        mine = member is not None and self._broker.may_commit(member, offsets)
        outcomes = [self._broker.refusal_of(message) for message in messages]
        refusals = [Refusal(index, error) for index, error in enumerate(outcomes) if error is not None]
        if mine and not refusals:
            for message in messages:
                self._broker.append(message)
            self.commit(offsets)
        aborted = None if mine else TransactionAborted("the group does not take the offsets")
        asyncio.get_running_loop().call_soon(_settle, done, aborted or refusals)
        return done

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Deliver nothing more of these partitions."""
        if self._member is not None:
            self._member.pause(partitions, paused=True)

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Deliver these partitions again."""
        if self._member is not None:
            self._member.pause(partitions, paused=False)
            self._broker.wake()

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Read the partition again from the offset on."""
        if self._member is not None:
            self._member.rewind(partition, offset)
            self._broker.wake()


def _settle(done: Published, outcome: Sequence[Refusal] | TransactionAborted) -> None:
    if done.done():
        return
    if isinstance(outcome, TransactionAborted):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


class RecordingObserver:
    """Keeps every event in `events` as (level, name, fields)."""

    verbose = True

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Remember the event."""
        self.events.append((level, name, fields))

    def named(self, name: str) -> list[dict[str, object]]:
        """Return the fields of every event of that name."""
        return [fields for _, event, fields in self.events if event == name]
