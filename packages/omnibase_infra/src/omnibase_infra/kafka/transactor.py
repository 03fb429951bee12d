"""The producer of a host of exactly once: each transaction holds answers and the offsets of their commands.

The protocol is that of KIP-447, "Producer scalability for exactly once semantics": every process has a transactional id
of its own, and a host that has lost its partitions is fenced by its place in the group. A transaction that nobody ends,
since its host is gone, is ended by the broker after `transaction.timeout.ms`; until then its partitions wait.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from omnibase_core.errors import TransactionAborted
from omnibase_core.ports import Message, Partition, Refusal
from omnibase_infra.kafka.publisher import Published, translated

_CALL_S = 5.0
_AGAIN_S = 0.1

_OF_THE_MESSAGE = frozenset(
    {
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
"""What a broker refuses for the message's own sake."""

_Report = Callable[[KafkaError | None, Any], None]


class Transactor:
    """Makes transactions on a thread of its own, one at a time.

    Messages of a transaction have no delivery reports: that it is committed says that they all are there. Only after
    one was aborted the next has them, to tell which message was refused.
    """

    def __init__(
        self,
        producer: Mapping[str, Any],
        consumer: Mapping[str, Any],
        *,
        host: str,
        membership: Callable[[], object | None],
        on_error: Callable[[KafkaError], None],
    ) -> None:
        """Connect with the first transaction. `membership` gives the consumer's place in its group, once it has one."""
        self._config = {**producer, "transactional.id": f"{host}-{uuid4()}", "error_cb": on_error}
        self._consumer = consumer
        self._membership = membership
        self._producer: Producer | None = None
        self._careful = False
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-transactions")

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int]) -> Published:
        """Publish and commit, both or neither."""
        loop = asyncio.get_running_loop()
        outcome: Published = loop.create_future()
        work = self._thread.submit(self._transact, messages, offsets)
        work.add_done_callback(lambda done: loop.call_soon_threadsafe(_settle, outcome, done.exception(), done))
        return outcome

    async def close(self) -> None:
        """Let the transaction under way end, and disconnect; one that waits for the broker is given up."""
        self._closing.set()
        await asyncio.to_thread(self._thread.shutdown)
        # Its own `close` would wait for a broker that is away, to abort what that will abort by itself.
        self._producer = None

    # --- The thread -----------------------------------------------------------------------------------------------

    def _transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int]) -> Sequence[Refusal]:
        refusals: list[Refusal] = []
        committing = False
        membership = self._membership()
        if membership is None:
            raise TransactionAborted("the host is in no group yet")
        try:
            producer = self._opened()
            producer.begin_transaction()
            self._produce(producer, messages, refusals)
            if not refusals:
                places = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
                self._until_done(partial(producer.send_offsets_to_transaction, places, membership, _CALL_S))
                committing = True
                self._until_done(partial(producer.commit_transaction, _CALL_S))
        except KafkaException as error:
            return self._recovered(error.args[0], refusals, offsets if committing else {})
        if refusals:
            self._abort()
        self._careful = bool(refusals)
        return refusals

    def _opened(self) -> Producer:
        if self._producer is None:
            producer = Producer(self._config)
            self._until_done(partial(producer.init_transactions, _CALL_S))
            self._producer = producer
        return self._producer

    def _produce(self, producer: Producer, messages: Sequence[Message], refusals: list[Refusal]) -> None:
        for index, (topic, key, value, headers) in enumerate(messages):
            report = _reporter(index, refusals) if self._careful else None
            try:
                producer.produce(topic, value, key, headers=list(headers), on_delivery=report)
            except KafkaException as error:
                refusals.append(Refusal(index, translated(error.args[0])))
        if self._careful:
            while not refusals and len(producer) and not self._closing.is_set():
                producer.poll(_AGAIN_S)

    def _until_done(self, call: Callable[[], object]) -> None:
        """Call again while the broker is away. Raises KafkaException for what does not pass by itself."""
        while True:
            try:
                call()
            except KafkaException as error:
                if not error.args[0].retriable() or self._closing.is_set():
                    raise
                time.sleep(_AGAIN_S)
            else:
                return

    def _recovered(
        self, error: KafkaError, refusals: Sequence[Refusal], committing: Mapping[Partition, int]
    ) -> Sequence[Refusal]:
        """Find out what became of a transaction that failed, and be ready for the next. Raises TransactionAborted."""
        self._careful = True
        if error.fatal() or not self._aborted():
            # The producer is of no use any more: the broker has ended its transaction, or will.
            self._producer = None
            if committing and self._is_committed(committing):
                return ()
        if refusals:
            return refusals
        raise TransactionAborted(error.str())

    def _aborted(self) -> bool:
        try:
            self._abort()
        except KafkaException:
            return False
        return True

    def _abort(self) -> None:
        if self._producer is not None:
            self._until_done(partial(self._producer.abort_transaction, _CALL_S))

    def _is_committed(self, offsets: Mapping[Partition, int]) -> bool:
        """Ask the group whether a transaction came to its end: its offsets are there, or none of them is."""
        consumer = Consumer(dict(self._consumer))
        try:
            places = [TopicPartition(*partition) for partition in offsets]
            found: list[TopicPartition] = []

            def ask() -> None:
                found[:] = consumer.committed(places, timeout=_CALL_S)

            self._until_done(ask)
            return all(it.offset >= offsets[Partition(it.topic, it.partition)] for it in found)
        finally:
            consumer.close()


def _reporter(index: int, refusals: list[Refusal]) -> _Report:
    def report(error: KafkaError | None, _message: Any) -> None:
        # All messages of a transaction that fails are given up; few of them are at fault.
        if error is not None and error.code() in _OF_THE_MESSAGE:
            refusals.append(Refusal(index, translated(error)))

    return report


def _settle(outcome: Published, error: BaseException | None, done: Any) -> None:
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(done.result())
