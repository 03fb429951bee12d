"""The transactions of a host of exactly once: each holds answers and the offsets of their commands.

The protocol is that of KIP-447, "Producer scalability for exactly once semantics": every process has a transactional id
of its own, and a host that has lost its partitions is fenced by its place in the group. A transaction that nobody ends,
since its host is gone, is ended by the broker after `transaction.timeout.ms`; until then its partitions wait.

A client that fails, or does not come back from a call, is replaced by one of the same id. That one fences it: from then
on the transaction under way is either committed or never will be, and the group's offsets tell which.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import Message, Partition, Refusal
from omnibase_infra.kafka.producer import Published
from omnibase_infra.kafka.transactional_producer import CALL_S, OpenProducer, TransactionalClient, call_s_max
from omnibase_infra.kafka.watchdog import CallHangs, GuardedThread

_AGAIN_S = 0.2
_DISCONNECT_S = 2.0
_LATE = 0.8
"""The part of its bound after which a call is said to be late: more than what it was told to take itself."""

_HOPELESS = frozenset(
    {
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._INVALID_ARG,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)
"""What keeps a client from opening until somebody changes a setting."""


class Tell(Protocol):
    """Takes an event for the host's log."""

    def __call__(self, level: str, name: str, /, **fields: object) -> None:
        """Take the event."""


class KafkaTransactions:
    """Makes transactions, one at a time. What it does runs on the loop; the client is on a thread that is guarded."""

    def __init__(
        self,
        producer: Mapping[str, Any],
        consumer: Mapping[str, Any],
        *,
        host: str,
        membership: Callable[[], object | None],
        on_error: Callable[[KafkaError], None],
        tell: Tell,
        fail: Callable[[str], None],
        place: Callable[[Partition, int], TopicPartition] = lambda partition, offset: TopicPartition(
            *partition, offset
        ),
        open_producer: OpenProducer = Producer,
    ) -> None:
        """Connect with the first transaction.

        `membership` gives the consumer's place in its group, once it has one. `tell` takes events for the log. `fail`
        hears why there can be no transactions until somebody changes a setting: the host has to stop. `place` makes an
        offset what is committed for its partition under the assignment that is in force.
        """
        self._config = {**producer, "transactional.id": f"{host}-{uuid4()}", "error_cb": on_error}
        self._transaction_s = producer["transaction.timeout.ms"] / 1000
        self._consumer = consumer
        self._membership = membership
        self._tell = tell
        self._fail = fail
        self._place = place
        self._open_producer = open_producer
        self._client: TransactionalClient | None = None
        self._lost: tuple[str, float] | None = None
        self._careful = False
        self._failed = False
        self._turn = asyncio.Lock()
        self._reopening: asyncio.Task[None] | None = None
        self._task: asyncio.Task[Sequence[Refusal]] | None = None

    @property
    def trouble(self) -> str | None:
        """Why transactions do not move on right now; None while they do."""
        running = self._client.running if self._client is not None else None
        if running is not None and running.seconds > _LATE * call_s_max(self._transaction_s):
            return f"the Kafka client has not come back from {running.name} for {running.seconds:.0f} s"
        if self._lost is not None:
            reason, since_s = self._lost
            return f"{reason}; the transaction is being recovered since {time.monotonic() - since_s:.0f} s"
        return None

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int]) -> Published:
        """Publish and commit, both or neither. The future raises TransactionAborted, and nothing else."""
        # Read here, and not when the thread begins: the commands were collected under this membership. Were it read
        # after a rebalance, the broker could not tell that they are somebody else's by now.
        places = [self._place(partition, offset) for partition, offset in offsets.items()]
        self._task = asyncio.ensure_future(self._transact(messages, places, self._membership()))
        return asyncio.shield(self._task)

    async def close(self, *, within_s: float) -> None:
        """Let the transaction under way end in the given time, and disconnect."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=within_s)
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._reopening is not None:
            self._reopening.cancel()
        client, self._client = self._client, None
        if client is not None and not (client.running is None and await client.close(within_s=_DISCONNECT_S)):
            client.give_up()

    async def _transact(
        self, messages: Sequence[Message], places: Sequence[TopicPartition], membership: object | None
    ) -> Sequence[Refusal]:
        if membership is None:
            raise TransactionAborted("the host is in no group yet")
        try:
            async with self._turn:
                return await self._attempt(messages, places, membership)
        except asyncio.CancelledError:
            raise TransactionAborted("the bus was closed before the transaction ended") from None

    async def _attempt(
        self, messages: Sequence[Message], places: Sequence[TopicPartition], membership: object
    ) -> Sequence[Refusal]:
        client = await self._opened()
        refusals: Sequence[Refusal] = ()
        try:
            outcome = await client.transact(messages, places, membership, careful=self._careful)
        except CallHangs as hangs:
            reason = str(hangs)
        else:
            refusals = outcome.refusals
            self._careful = not outcome.committed
            reason = "" if outcome.error is None else outcome.error.str()
            if outcome.usable:
                return _concluded(refusals, reason)
        self._careful = True
        self._give_up(client, reason)
        # Where no commit was asked for, there is none: whatever else the client may do, the thread asks for nothing.
        if client.committing and places and await self._is_committed(places):
            return ()
        return _concluded(refusals, reason)

    async def _opened(self) -> TransactionalClient:
        """Return a client that can make transactions. Raises TransactionAborted where there is none in bounded time."""
        if self._client is None:
            self._client = TransactionalClient(
                self._config, transaction_s=self._transaction_s, open_producer=self._open_producer
            )
        client = self._client
        if client.opened:
            return client
        try:
            error = await client.open()
        except CallHangs as hangs:
            self._give_up(client, str(hangs))
            raise TransactionAborted(str(hangs)) from None
        if error is not None:
            self._not_opened(client, error)
            raise TransactionAborted(error.str())
        if self._lost is not None:
            self._tell("info", "kafka_client_replaced", after_s=round(time.monotonic() - self._lost[1], 1))
            self._lost = None
        return client

    def _not_opened(self, client: TransactionalClient, error: KafkaError) -> None:
        if error.code() in _HOPELESS:
            self._failed = True
            self._fail(f"transactions cannot be opened: {error.str()}")
        if not error.retriable():
            self._give_up(client, error.str())

    def _give_up(self, client: TransactionalClient, reason: str) -> None:
        """Let go of a client. Its successor has the same id, so that opening that one fences this one."""
        client.give_up()
        self._client = None
        if self._lost is None:
            self._lost = (reason, time.monotonic())
            self._tell("warning", "kafka_client_abandoned", reason=reason, next="a new client recovers its transaction")
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.ensure_future(self._reopen())

    async def _reopen(self) -> None:
        """Open a successor although there may be no next transaction: others wait for the one that is still open."""
        while self._lost is not None and not self._failed:
            async with self._turn:
                with suppress(TransactionAborted):
                    await self._opened()
            await asyncio.sleep(_AGAIN_S)

    async def _is_committed(self, places: Sequence[TopicPartition]) -> bool:
        """Find out what became of a transaction. Takes as long as the broker is away: nothing else is certain."""
        while True:
            with suppress(TransactionAborted, CallHangs):
                # First the successor: before it has fenced the client, a late commit could still succeed.
                await self._opened()
                found = await self._committed([Partition(it.topic, it.partition) for it in places])
                if found is not None:
                    return all(found[Partition(it.topic, it.partition)] >= it.offset for it in places)
            await asyncio.sleep(_AGAIN_S)

    async def _committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, int] | None:
        thread = GuardedThread("kafka-offsets", call_s_max=call_s_max(self._transaction_s))
        try:
            return await thread.run(partial(self._ask, thread, partitions))
        finally:
            thread.give_up()

    def _ask(self, thread: GuardedThread, partitions: Sequence[Partition]) -> Mapping[Partition, int] | None:
        """Ask the group for its offsets. None where it does not tell them yet."""
        try:
            # It reads what is committed only: the broker has it wait while an offset is part of an open transaction.
            consumer = Consumer({**self._consumer, "isolation.level": "read_committed"})
            places = [TopicPartition(*partition) for partition in partitions]
            found = thread.call("committed", lambda: consumer.committed(places, timeout=CALL_S))
            thread.call("close", consumer.close)
        except KafkaException:
            return None
        if any(place.error is not None for place in found):
            return None
        return {Partition(place.topic, place.partition): place.offset for place in found}


def _concluded(refusals: Sequence[Refusal], reason: str) -> Sequence[Refusal]:
    """Return the refusals of a transaction of which nothing happened, or none of a committed one; or raise."""
    if reason and not refusals:
        raise TransactionAborted(reason)
    return refusals
