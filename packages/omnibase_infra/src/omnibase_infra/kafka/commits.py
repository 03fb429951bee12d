"""The consumer's commits: sent twice a second, and for the last time, in bounded time, when partitions go.

All of this but `answered` runs on the consumer's thread.
"""

import time
from collections.abc import Callable, Collection, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from omnibase_core.ports import Partition
from omnibase_infra.kafka.blocking_calls import BlockingCalls
from omnibase_infra.kafka.owned_partitions import OwnedPartitions

_LAST_COMMIT_S = 5.0
_AGAIN_S = 0.2

_RETRIABLE = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""What a broker says of a commit while it is away, starting, or busy."""


class Commits:
    """Sends what is noted. What fails is sent again, together with what was noted since: the largest offset wins."""

    def __init__(
        self, consumer: Consumer, owned: OwnedPartitions, *, waits: BlockingCalls, warn: Callable[[KafkaError], None]
    ) -> None:
        """Send by this consumer what is noted there."""
        self._consumer = consumer
        self._owned = owned
        self._waits = waits
        self._warn = warn

    def send(self) -> None:
        """Send what is noted; the answer comes to `answered`."""
        if not (places := self._owned.send()):
            return
        try:
            with self._waits.on("commit"):
                self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self.answered(error.args[0], places)

    def answered(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        """Take the answer to a commit: what failed is sent again with the next round. Also librdkafka's callback."""
        for problem in {it.code(): it for it in (error, *(it.error for it in places)) if it is not None}.values():
            self._warn(problem)
        self._owned.answered(places, error)

    def send_all(self, among: Collection[Partition] | None = None) -> None:
        """Commit what is noted before the partitions go: again for a bounded time, while the error may pass."""
        until_s = time.monotonic() + _LAST_COMMIT_S
        while places := self._owned.send(among, once_more=True):
            error = self._send_now(places)
            if error is None or error.code() not in _RETRIABLE or time.monotonic() > until_s:
                return
            time.sleep(_AGAIN_S)

    def _send_now(self, places: list[TopicPartition]) -> KafkaError | None:
        """Commit, and return the first error. The client offers no bound for this call: the watch tells of it."""
        try:
            with self._waits.on("commit"):
                answers = self._consumer.commit(offsets=places, asynchronous=False) or []
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            self.answered(error, places)
            return error
        self.answered(None, answers)
        return next((it.error for it in answers if it.error is not None), None)
