"""KafkaBus: the EnvelopeBus on Kafka. One consumer group and one producer for all nodes of a host."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from pydantic import BaseModel

from omnibase_core.contracts.host import Guarantee, RuntimeHostContract
from omnibase_core.errors import BusError
from omnibase_core.ports import Happening, Message, Observer, Partition
from omnibase_infra.kafka.blocking_calls import PATIENCE_S
from omnibase_infra.kafka.connectivity import BrokerConnectivity
from omnibase_infra.kafka.consumer import ConsumerThread
from omnibase_infra.kafka.consumers import Consumers
from omnibase_infra.kafka.group_status import GroupWatch
from omnibase_infra.kafka.producer import KafkaProducer, Published
from omnibase_infra.kafka.reply_consumer import ReplyConsumer, pass_to_loop
from omnibase_infra.kafka.settings import KafkaSettings, embedded_broker
from omnibase_infra.kafka.topic_status import BusSurvey
from omnibase_infra.kafka.topic_watch import TopicWatch
from omnibase_infra.kafka.topics import ensure_topics
from omnibase_infra.kafka.transactions import KafkaTransactions

_FLUSH_S = 10.0
_LEAVE_S = 15.0
_CLOSE_LEAST_S = 0.1
_RELEASE_BEYOND_S = 5.0
"""The runtime bounds its drain itself; so much later the bus goes on without it."""


class KafkaBusFactory:
    """Makes the bus of a host. A BusFactory."""

    settings: type[BaseModel] = KafkaSettings

    @asynccontextmanager
    async def open(
        self, *, settings: BaseModel, host: RuntimeHostContract, topics: Sequence[str], observer: Observer
    ) -> AsyncIterator["KafkaBus"]:
        """Yield the bus; with `bootstrap_servers: embedded`, the broker too."""
        assert isinstance(settings, KafkaSettings)  # noqa: S101 - narrows the type; the registry validated it
        if settings.embedded and host.guarantee is Guarantee.EXACTLY_ONCE:
            raise BusError(
                "the embedded broker has no transactions: guarantee: exactly_once needs a real Kafka (--broker ADDRESS)"
            )
        if (settings.consumers or 1) > 1 and host.guarantee is Guarantee.EXACTLY_ONCE:
            raise BusError("with guarantee: exactly_once a host is one member of its group: leave bus.consumers out")
        broker = embedded_broker() if settings.embedded else nullcontext(settings.bootstrap_servers)
        with broker as address:
            bus = KafkaBus(settings, address=address, host=host, topics=topics, observer=observer)
            try:
                yield bus
            finally:
                await bus.close()


class KafkaBus:
    """An EnvelopeBus. `address` is that of the broker: the embedded one's is known only once it runs."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        address: str,
        host: RuntimeHostContract,
        topics: Sequence[str],
        observer: Observer,
    ) -> None:
        """Start the producer. The consumer starts with `receive`."""
        self.address = address
        self.embedded = settings.embedded
        self.message_bytes_max = settings.message_bytes_max
        self.connection = BrokerConnectivity(observer, address)
        self._settings = settings
        self._host = host
        self._observer = observer
        self._topics = topics
        self._consumers: Consumers | None = None
        self._watch: TopicWatch | None = None
        self.ends_by: float | None = None
        """A moment of time.monotonic() that all phases of closing share; None: each has a bound of its own."""
        producer = {**settings.producer(client_id=host.name), "bootstrap.servers": address}
        self._publisher = KafkaProducer(producer, on_error=self.connection.error)
        self._transactor: KafkaTransactions | None = None
        if host.guarantee is Guarantee.EXACTLY_ONCE:
            self._transactor = KafkaTransactions(
                {**producer, **settings.transactions},
                self._consumer_config(topics=1),
                host=host.name,
                membership=lambda: self._consumers and self._consumers.first.membership,
                on_error=self.connection.transaction_error,
                tell=observer.event,
                fail=self._fail,
                place=self.place,
            )

    async def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Create what topics are missing, join the group, and give what happens until the iterator is closed.

        Raises BusError when the clients cannot go on; a broker that is away is waited for.
        """
        consumers = self._consumers = self._join_group(topics)
        consumers.start(self._prepare)
        try:
            if self._watch is not None:
                self._watch.start(
                    standings=consumers.standings,
                    identified=consumers.identified,
                    waits=consumers.waits,
                    members=consumers.members,
                )
            async with aclosing(consumers.happenings()) as happenings:
                async for happening in happenings:
                    yield happening
        finally:
            if (reason := await consumers.leave(self._at_most(_LEAVE_S))) is not None:
                self._observer.event("warning", "group_leave_failed", reason=reason)
            if self._watch is not None:
                await asyncio.to_thread(self._watch.stop, within_s=self._at_most(_LEAVE_S))
            self._consumers = self._watch = None

    def publish(self, messages: Sequence[Message], /) -> Published:
        """Queue the messages in order. On a host of exactly once these are not part of any transaction: logs, say."""
        return self._publisher.publish(messages)

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Published:
        """Publish and commit in one transaction. On a host whose contract says `guarantee: exactly_once` only."""
        assert self._transactor is not None  # noqa: S101 - the runtime of such a host alone calls this
        return self._transactor.transact(messages, offsets)

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Record the offsets: they are committed twice a second, on revoke and when the iterator is closed."""
        if self._consumers is not None:
            self._consumers.note(offsets)

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Fetch nothing more of these partitions, from the next turn of the consumer on."""
        if self._consumers is not None:
            self._consumers.pause(partitions)

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Fetch these partitions again, from the next turn of the consumer on."""
        if self._consumers is not None:
            self._consumers.resume(partitions)

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Read the partition again from the offset on, from the next turn of the consumer on."""
        if self._consumers is not None:
            self._consumers.rewind(partition, offset)

    def place(self, partition: Partition, offset: int) -> TopicPartition:
        """Return an offset as it is to be committed, by the consumer or in a transaction. Any thread's."""
        consumers = self._consumers
        return TopicPartition(*partition, offset) if consumers is None else consumers.place(partition, offset)

    @property
    def connected(self) -> bool:
        """Whether the broker is there, as far as anybody knows."""
        return not self.connection.down

    def survey(self) -> BusSurvey:
        """Return what is known of the topics and of the consumer; nothing while the host consumes nothing."""
        seen = BusSurvey() if self._watch is None else self._watch.survey()
        return seen if self._consumers is None else replace(seen, waiting=self._consumers.waiting(PATIENCE_S))

    def lag_s(self, partition: Partition, watermark: int) -> float:
        """Return for how long, at least, there has been a message at the watermark; 0.0 where there is none."""
        return 0.0 if self._watch is None else self._watch.lag_s(partition, watermark)

    @asynccontextmanager
    async def listen(
        self, topics: Collection[str], *, hear: Callable[[Sequence[bytes]], None], listening: Callable[[str], None]
    ) -> AsyncIterator[None]:
        """Yield what is new on these topics to `hear`, on the loop, while the context is open.

        `listening` is told each topic once, when nothing that comes from then on is missed.
        """
        loop = asyncio.get_running_loop()
        reader = ReplyConsumer(
            {**self._settings.listener(client_id=self._host.name), "bootstrap.servers": self.address},
            topics,
            hear=lambda values: pass_to_loop(loop, hear, values),
            listening=lambda topic: pass_to_loop(loop, listening, topic),
            warn=self.connection.error,
        )
        try:
            yield
        finally:
            await asyncio.to_thread(reader.close, within_s=self._at_most(_LEAVE_S))

    async def close(self) -> None:
        """Let what was published go out, for a bounded time; while the broker is away, there is none to wait for."""
        if self._transactor is not None:
            await self._transactor.close(within_s=0 if self.connection.down else self._at_most(_FLUSH_S))
        await self._publisher.close(within_s=0 if self.connection.down else self._at_most(_FLUSH_S))

    def _at_most(self, bound_s: float) -> float:
        """Bound a phase of closing by what is left, if there is a moment by which all has to be over."""
        if self.ends_by is None:
            return bound_s
        return max(_CLOSE_LEAST_S, min(bound_s, self.ends_by - time.monotonic()))

    def _join_group(self, topics: Sequence[str]) -> Consumers:
        self._watch = self._topic_watch(topics)
        count = self._settings.consumers_of(len(topics), transacts=self._transactor is not None)
        return Consumers(partial(self._consumer, len(topics)), topics, count=count)

    def _consumer(
        self,
        topics: int,
        /,
        *,
        hand_over: Callable[[Happening | BaseException], None],
        room: threading.Semaphore,
        probes: bool,
    ) -> ConsumerThread:
        def committed(error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
            thread.committed(error, places)

        consumer = Consumer(
            {**self._consumer_config(topics=topics), "error_cb": self.connection.error, "on_commit": committed}
        )
        thread = ConsumerThread(
            consumer,
            hand_over=hand_over,
            warn=self.connection.error,
            event=self.connection.event,
            check=partial(self._check, consumer if probes else None),
            room=room,
            topic_ids=self._watch.ids_of if self._watch is not None else lambda _: {},
            release_s=self._release_s,
            transacts=self._transactor is not None,
            start=self._settings.start,
        )
        return thread

    def _topic_watch(self, topics: Sequence[str]) -> TopicWatch | None:
        if self._settings.embedded:
            return None  # The embedded broker knows no topic administration, and nobody else uses it.
        config = {"bootstrap.servers": self.address, "error_cb": self.connection.error}
        event = self.connection.event
        group = GroupWatch(
            self._group,
            self._settings.group_times(self._release_s),
            reachable=lambda: not self.connection.down,
            event=event,
        )
        return TopicWatch({**self._settings.common(self._host.name), **config}, topics, group=group, event=event)

    @property
    def _group(self) -> str:
        return self._host.namespace.group(self._host.pool)

    @property
    def _release_s(self) -> float:
        return self._host.limits.revoke_s + _RELEASE_BEYOND_S

    def _consumer_config(self, *, topics: int) -> dict[str, Any]:
        config = self._settings.consumer(
            group=self._group, client_id=self._host.name, topics=topics, release_s=self._release_s
        )
        return {**config, "bootstrap.servers": self.address}

    def _prepare(self, give_up: threading.Event) -> None:
        ensure_topics(
            self._settings,
            address=self.address,
            client_id=self._host.name,
            topics=self._topics,
            connection=self.connection,
            give_up=give_up,
        )

    @property
    def trouble(self) -> str | None:
        """Why transactions do not move on right now; None while they do, and on a host without."""
        return self._transactor.trouble if self._transactor is not None else None

    def _fail(self, reason: str) -> None:
        self.connection.fatal = reason

    def _check(self, consumer: Consumer | None) -> None:
        """Look whether a client is lost, and with a consumer for the connection; on its thread. Raises BusError."""
        if self.connection.fatal is not None:
            raise BusError(f"the Kafka client cannot go on: {self.connection.fatal}")
        if consumer is not None:
            self.connection.check(consumer.list_topics)
