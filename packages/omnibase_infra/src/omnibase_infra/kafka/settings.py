"""What a host contract's `bus` may say, and the client configurations that follow from it.

Which properties of librdkafka a contract may set is in `client_properties`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from confluent_kafka import Producer
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from omnibase_core.errors import OnexError
from omnibase_infra.kafka.client_properties import (
    HEARTBEAT_INTERVAL_MS,
    POLL_INTERVAL_MS,
    SESSION_TIMEOUT_MS,
    Property,
    problems_of,
)
from omnibase_infra.kafka.group_status import GroupTimes
from omnibase_infra.kafka.offset_reset import EARLIEST, start_ms

_ANSWERS_WITHIN_S = 10.0


EMBEDDED = "embedded"
"""Stands for the embedded broker wherever an address may be given."""

_PARTITIONS_EACH = 64
_CONSUMERS_MAX = 16
"""Each costs threads, connections and a megabyte."""
_POLL_BEYOND_MS = 30_000
"""So much longer than a release of partitions a consumer may stay away from the client."""
_FETCH_WAIT_MS, _FETCH_WAIT_MOST_MS = 100, 500
_NAMED_A_MS = 4
"""So many partitions are named in each millisecond by an idle host of 400 to 2,000 of them."""

_GROUPS_OF_POOLS = "onex."

_TRANSACTIONS: Mapping[str, Property] = {
    # The broker refuses the first request of a transaction while it still writes the markers of the one before. The
    # client asks again after this pause, which by default is most of an answer's latency.
    "retry.backoff.ms": 5,
    "retry.backoff.max.ms": 50,
    # By default a client that has lost all its brokers forgets them and starts from the bootstrap servers. It then
    # waits for a forgotten coordinator of the group, without end. A client that cannot go on is replaced anyway.
    "metadata.recovery.strategy": "none",
}
"""What a client of transactions has otherwise than others, unless the contract says so."""

_ADDRESS = re.compile(
    r"(?:[A-Z_]+://)?(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"|\$\{secret\.\w+\}"
)


def check_addresses(text: str) -> str:
    """Return the addresses of brokers back. Raises ValueError, which says how they are written."""
    for address in text.split(","):
        if _ADDRESS.fullmatch(address.strip()) is None:
            expected = "expected host:port, several of them joined by commas, or embedded"
            raise ValueError(f"found {address.strip()!r}, {expected}")
    return text


def _check_start(text: str) -> str:
    start_ms(text)
    return text


class NotKafka(OnexError):
    """A host whose bus is another than Kafka, where only Kafka will do."""

    code = "not_kafka"


class KafkaSettings(BaseModel):
    """The bus. `partitions` and `replicas` are those of topics that the host has to create.

    - `bootstrap_servers`: addresses as host:port, joined by commas; or `embedded` for a broker inside the host.
    - `replicas`: by default as many as the broker's `default.replication.factor` says.

    `client` passes properties of librdkafka through, TLS and SASL above all; a value `${secret.NAME}` is a secret.
    `message_bytes_max` must not be above the broker's `message.max.bytes`. `group_protocol` consumer is KIP-848's,
    in which the broker assigns partitions and no member waits for another; Kafka has it from version 4.0 on.
    `consumers` is how many members of the group the host is, each with topics of its own and connections of its own:
    by default one for each 64 partitions, at most 16.
    `start` is where a pool begins to read a topic of which it has committed nothing yet: `earliest` (all that the topic
    has), `latest` (what comes from now on), or a time with its zone. Afterwards it has no effect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bootstrap_servers: Annotated[str, AfterValidator(check_addresses)] = "localhost:9092"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    replicas: Annotated[int, Field(ge=1, le=15)] | None = None
    group_protocol: Literal["classic", "consumer"] = "classic"
    consumers: Annotated[int, Field(ge=1, le=32)] | None = None
    message_bytes_max: Annotated[int, Field(ge=10_000, le=100_000_000)] = 1_000_000
    start: Annotated[str, AfterValidator(_check_start)] = EARLIEST
    client: dict[str, Property] = Field(default_factory=dict)

    @field_validator("client")
    @classmethod
    def _keeps_promises(cls, client: dict[str, Property], info: ValidationInfo) -> dict[str, Property]:
        if problems := list(problems_of(client, group_protocol=info.data.get("group_protocol", "classic"))):
            raise ValueError("; ".join(problems))
        return client

    @property
    def embedded(self) -> bool:
        """Whether the broker is the one inside the host."""
        return self.bootstrap_servers == EMBEDDED

    def consumer(self, *, group: str, client_id: str, topics: int = 1, release_s: float = 0.0) -> dict[str, Any]:
        """Configure each of the host's consumers, which read so many topics together.

        In a rebalance a consumer may wait for `release_s` seconds for the runtime to let go of partitions.
        """
        # What is resumed waits for the request to fetch that is under way. A request names every partition.
        wait_ms = min(max(_FETCH_WAIT_MS, topics * self.partitions // _NAMED_A_MS), _FETCH_WAIT_MOST_MS)
        return {
            # What is prefetched is bounded by size: otherwise a loaded consumer takes 100 MB more. What came in one
            # fetch is held until the last of it is taken, so that a fetch is bounded likewise. Where the bound is
            # reached, fetching goes on as soon as there is room; the default is to look again after a second.
            "queued.max.messages.kbytes": 1024,
            "fetch.queue.backoff.ms": 20,
            "queued.min.messages": 20_000,
            "fetch.max.bytes": max(1_000_000, self.message_bytes_max),
            "max.partition.fetch.bytes": self.message_bytes_max,
            # The embedded broker does not wake a fetch that waits.
            "fetch.wait.max.ms": 5 if self.embedded else wait_ms,
            # Partitions that are added are found soon. Each look is at all topics.
            "topic.metadata.refresh.interval.ms": min(max(10_000, topics * 60), 60_000),
            **self._membership(release_s),
            **self.common(client_id),
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # The end of a partition is told, so that markers and aborted messages there can be committed past.
            "enable.partition.eof": True,
            **self._group_protocol(),
            "allow.auto.create.topics": self.embedded,
        }

    def group_times(self, release_s: float) -> GroupTimes:
        """Return after how long the broker drops a member of the group."""
        of_client = {**self._membership(release_s), **self.client}
        session_ms = of_client.get("session.timeout.ms")
        return GroupTimes(
            session_s=None if session_ms is None else float(session_ms) / 1000,
            poll_s=float(of_client["max.poll.interval.ms"]) / 1000,
        )

    def _membership(self, release_s: float) -> dict[str, Property]:
        """Configure after how long a host counts as dead. With KIP-848 the broker decides on its session."""
        poll_ms = max(POLL_INTERVAL_MS, int(release_s * 1000) + _POLL_BEYOND_MS)
        if self.group_protocol == "consumer":
            return {"max.poll.interval.ms": poll_ms}
        return {
            "max.poll.interval.ms": poll_ms,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_INTERVAL_MS,
        }

    def listener(self, *, client_id: str) -> dict[str, Any]:
        """Configure a consumer that reads what is new, for itself alone."""
        return {
            "fetch.wait.max.ms": 5 if self.embedded else _FETCH_WAIT_MS,
            **self.common(client_id),
            # A group is a must of the client; nothing is ever committed to this one.
            "group.id": f"{client_id}-answers",
            "auto.offset.reset": "latest",
            "enable.auto.commit": False,
            "allow.auto.create.topics": self.embedded,
        }

    def subscriber(self, *, client_id: str, group: str, start: str) -> dict[str, Any]:
        """Configure a member of a group that reads what hosts write. Raises ValueError for a group of hosts."""
        if not group or group.startswith(_GROUPS_OF_POOLS):
            raise ValueError(f"found the group {group!r}, expected a name that does not begin with {_GROUPS_OF_POOLS}")
        return {
            "fetch.wait.max.ms": 5 if self.embedded else _FETCH_WAIT_MS,
            **self.common(client_id),
            "group.id": group,
            "auto.offset.reset": start,
            "enable.auto.offset.store": False,
            **self._group_protocol(),
        }

    def consumers_of(self, topics: int, *, transacts: bool) -> int:
        """Return how many consumers read so many topics. A transaction commits for one member of the group."""
        if self.embedded or transacts:
            return 1
        # The client names all partitions that it reads in each request: it has no fetch sessions (KIP-227).
        by_default = min(-(-topics * self.partitions // _PARTITIONS_EACH), _CONSUMERS_MAX)
        return max(1, min(self.consumers or by_default, topics))

    def _group_protocol(self) -> dict[str, Any]:
        if self.group_protocol == "consumer":
            return {"group.protocol": "consumer"}
        return {"partition.assignment.strategy": "cooperative-sticky"}

    def producer(self, *, client_id: str) -> dict[str, Any]:
        """Configure the host's one producer."""
        return {
            # What is finished together is published together: to wait for more would be latency for nothing.
            "linger.ms": 0,
            # For so long a topic that the broker does not know may be one that was just created; the default is 30 s.
            "topic.metadata.propagation.max.ms": 2000,
            # Java's clients put a key there, too: whatever reads a topic finds all of a key in one partition.
            "partitioner": "murmur2_random",
            **self.common(client_id),
            "enable.idempotence": True,
            "acks": "all",
            "message.max.bytes": self.message_bytes_max,
            # An answer waits for its broker as long as it takes, and what waits is bounded by the host's limits.
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2_147_483_647,
        }

    @property
    def transactions(self) -> dict[str, Any]:
        """Configure the producer of transactions, beside `producer`. After so long the broker gives up on a host."""
        timeout_ms = int(self.client.get("transaction.timeout.ms", 10_000))
        return {
            "transaction.timeout.ms": timeout_ms,
            "message.timeout.ms": timeout_ms,
            # The client refuses to start with a request that may take longer than a transaction.
            "socket.timeout.ms": min(int(self.client.get("socket.timeout.ms", 60_000)), timeout_ms),
            **_TRANSACTIONS,
            **{name: value for name, value in self.client.items() if name in _TRANSACTIONS},
        }

    def common(self, client_id: str) -> dict[str, Any]:
        """Configure any client of this bus."""
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": client_id,
            "reconnect.backoff.max.ms": 2000,
            "socket.keepalive.enable": True,
            # What goes wrong arrives in the error callback, and from there in the host's own log.
            "log_level": 2,
            **self.client,
        }


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Yield the broker's address for as long as the context is open."""
    holder = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "embedded", "log_level": 2})
    brokers = holder.list_topics(timeout=_ANSWERS_WITHIN_S).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    # The cluster lives as long as the client that holds it.
    del holder


def kafka_settings(settings: BaseModel, *, host: str) -> KafkaSettings:
    """Return the settings of a host's bus as Kafka's. Raises NotKafka."""
    if not isinstance(settings, KafkaSettings):
        raise NotKafka(f"the bus of host {host!r} is not kafka; this is for hosts on Kafka alone")
    return settings
