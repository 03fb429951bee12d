"""One transactional client and the thread that calls it: opens it, and makes one transaction after the other.

What became of a transaction whose client failed is not decided here: KafkaTransactions does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from omnibase_core.ports import Message, Refusal
from omnibase_infra.kafka.producer import sendable, translated, unqueued
from omnibase_infra.kafka.watchdog import GuardedThread, RunningCall

CALL_S = 3.0
"""What a call is told to take at the most. The client bounds it by `transaction.timeout.ms`, too."""
_MARGIN_S = 2.0
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
OpenProducer = Callable[[dict[str, Any]], Producer]


class TransactionOutcome(NamedTuple):
    """How a transaction ended: committed (no error and no refusals), or not.

    `usable`: nothing of it happened, and the client can go on. Otherwise the client has to be replaced.
    """

    refusals: Sequence[Refusal]
    error: KafkaError | None
    usable: bool

    @property
    def committed(self) -> bool:
        """Whether messages and offsets are there."""
        return self.error is None and not self.refusals


def call_s_max(transaction_s: float) -> float:
    """Describe when a call counts as one that never returns.

    It is safe to be wrong here: a client that is given up is fenced by its successor. So the bound is not far above
    the time-out that the call itself was told, and never above twice that of transactions.
    """
    return min(2 * transaction_s, CALL_S + _MARGIN_S)


class TransactionalClient:
    """A transactional producer, which lives on a thread of its own and is let go of there.

    Messages of a transaction have no delivery reports: that it is committed says that they all are there. Only a
    `careful` transaction has them, to tell which message was refused.
    """

    def __init__(self, config: Mapping[str, Any], *, transaction_s: float, open_producer: OpenProducer) -> None:
        """Start the thread; the client is made by `open`."""
        self._config = config
        self._transaction_s = transaction_s
        self._open_producer = open_producer
        self._producer: Producer | None = None
        self._thread = GuardedThread("kafka-transactions", call_s_max=call_s_max(transaction_s), at_end=self._let_go)
        self.opened = False
        self.committing = False
        """Whether the last transaction may be committed: the broker was, or was about to be, asked to."""

    @property
    def running(self) -> RunningCall | None:
        """The call that is under way."""
        return self._thread.running

    async def open(self) -> KafkaError | None:
        """Fence the predecessor and end its transaction. Return why that did not succeed. Raises CallHangs."""
        error = await self._thread.run(self._open)
        self.opened = error is None
        return error

    async def transact(
        self, messages: Sequence[Message], places: Sequence[TopicPartition], membership: object, *, careful: bool
    ) -> TransactionOutcome:
        """Publish and commit, both or neither. Raises CallHangs."""
        return await self._thread.run(partial(self._transact, messages, places, membership, careful=careful))

    def give_up(self) -> None:
        """Begin no other call. The thread lets go of the client when the last one has returned."""
        self._thread.give_up()

    async def close(self, *, within_s: float) -> bool:
        """Disconnect, and return whether that was possible in time."""
        return await self._thread.end(within_s=within_s)

    # --- The thread -----------------------------------------------------------------------------------------------

    def _open(self) -> KafkaError | None:
        until_s = time.monotonic() + self._transaction_s
        try:
            if self._producer is None:
                self._producer = self._open_producer(dict(self._config))
            self._until_done("init_transactions", partial(self._producer.init_transactions, CALL_S), until_s)
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            return error
        return None

    def _transact(
        self, messages: Sequence[Message], places: Sequence[TopicPartition], membership: object, *, careful: bool
    ) -> TransactionOutcome:
        producer = self._producer
        assert producer is not None  # noqa: S101 - it was opened
        until_s = time.monotonic() + self._transaction_s
        refusals: list[Refusal] = []
        self.committing = False
        error: KafkaError | None = None
        try:
            self._thread.call("begin_transaction", producer.begin_transaction)
            self._produce(producer, messages, refusals, until_s, careful=careful)
            if careful:
                self._await_reports(producer, refusals, until_s)
            if not refusals:
                send = partial(producer.send_offsets_to_transaction, list(places), membership, CALL_S)
                self._until_done("send_offsets_to_transaction", send, until_s)
                self.committing = True
                self._until_done("commit_transaction", partial(producer.commit_transaction, CALL_S), until_s)
                return TransactionOutcome((), None, usable=True)
        except KafkaException as failure:
            # The exception must not leave this thread: its traceback would hold the client.
            error = failure.args[0]
        return TransactionOutcome(refusals, error, usable=self._is_aborted(producer, error))

    def _produce(
        self, producer: Producer, messages: Sequence[Message], refusals: list[Refusal], until_s: float, *, careful: bool
    ) -> None:
        for index, message in enumerate(messages):
            report = _reporter(index, refusals) if careful else None
            try:
                self._queue(producer, message, report, until_s)
            except KafkaException as failure:
                error = failure.args[0]
                if error.code() not in _OF_THE_MESSAGE:
                    raise
                refusals.append(Refusal(index, translated(error)))
            except (TypeError, ValueError) as error:
                refusals.append(Refusal(index, unqueued(error)))

    def _await_reports(self, producer: Producer, refusals: Sequence[Refusal], until_s: float) -> None:
        while not refusals and len(producer):
            if time.monotonic() > until_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the broker has not acknowledged in time"))
            self._thread.call("poll", partial(producer.poll, _AGAIN_S))

    def _queue(self, producer: Producer, message: Message, report: _Report | None, until_s: float) -> None:
        """Queue a message; where the client's queue is full, wait for the broker to take some."""
        topic, key, value, headers = message
        while True:
            try:
                producer.produce(topic, value, key, headers=sendable(headers), on_delivery=report)
            except BufferError:
                if time.monotonic() > until_s:
                    raise KafkaException(KafkaError(KafkaError._QUEUE_FULL)) from None
                self._thread.call("poll", partial(producer.poll, _AGAIN_S))
            else:
                return

    def _until_done(self, name: str, function: Callable[[], object], until_s: float) -> None:
        """Call again while the broker is away. Raises KafkaException for what does not pass by itself, or in time."""
        while True:
            try:
                self._thread.call(name, function)
            except KafkaException as failure:
                if not failure.args[0].retriable() or time.monotonic() > until_s:
                    raise
                time.sleep(_AGAIN_S)
            else:
                return

    def _is_aborted(self, producer: Producer, error: KafkaError | None) -> bool:
        """Abort, and return whether that is certain. A commit under way can only be asked for again, or asked about."""
        if error is not None and (error.fatal() or (self.committing and not error.txn_requires_abort())):
            return False
        try:
            until_s = time.monotonic() + CALL_S
            self._until_done("abort_transaction", partial(producer.abort_transaction, CALL_S), until_s)
        except KafkaException:
            return False
        self.committing = False
        return True

    def _let_go(self) -> None:
        # Its own `close` would wait for a broker that is away, to abort what the broker will abort by itself.
        self._producer = None


def _reporter(index: int, refusals: list[Refusal]) -> _Report:
    def report(error: KafkaError | None, _message: Any) -> None:
        # All messages of a transaction that fails are given up; few of them are at fault.
        if error is not None and error.code() in _OF_THE_MESSAGE:
            refusals.append(Refusal(index, translated(error)))

    return report
