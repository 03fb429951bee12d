"""What a host contract's `bus` may say, and the client configurations that follow from it.

The properties are librdkafka's: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

EMBEDDED = "embedded"
"""Stands for the embedded broker wherever an address may be given."""

Property = str | int | float | bool

_OWNED: Mapping[str, str] = {
    "bootstrap.servers": "write bus.bootstrap_servers",
    "group.id": "it follows from environment, tenant and pool",
    "client.id": "it is the host's name",
    "enable.auto.commit": "the host commits what is acknowledged, and nothing else",
    "enable.auto.offset.store": "the host commits what is acknowledged, and nothing else",
    "auto.offset.reset": "a new group starts at the earliest offset, so that nothing is lost",
    "enable.idempotence": "it is always on",
    "acks": "it is always all",
    "message.max.bytes": "write bus.message_bytes_max",
    "message.timeout.ms": "the host never gives up on an answer",
    "transactional.id": "it is the host's affair",
    "partition.assignment.strategy": "it is always cooperative-sticky",
    "group.protocol": "write bus.group_protocol",
}

_TOPICS_A_MS = 200
"""For each so many topics an answer waits a millisecond for others: 500 nodes answer a fifth faster by it."""
_LINGER_MOST_MS = 5


_ADDRESS = re.compile(
    r"(?:[A-Z_]+://)?(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"|\$\{secret\.\w+\}"
)


def check_addresses(text: str) -> str:
    """Give the addresses of brokers back. Raises ValueError, which says how they are written."""
    for address in text.split(","):
        if _ADDRESS.fullmatch(address.strip()) is None:
            expected = "expected host:port, several of them joined by commas, or embedded"
            raise ValueError(f"found {address.strip()!r}, {expected}")
    return text


class KafkaSettings(BaseModel):
    """The bus. `partitions` and `replicas` are those of topics that the host has to create.

    - `bootstrap_servers`: addresses as host:port, joined by commas; or `embedded` for a broker inside the host.

    `client` passes properties of librdkafka through, TLS and SASL above all; a value `${secret.NAME}` is a secret.
    `message_bytes_max` must not be above the broker's `message.max.bytes`. `group_protocol` consumer is KIP-848's,
    in which the broker assigns partitions and no member waits for another; Kafka has it from version 4.0 on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bootstrap_servers: Annotated[str, AfterValidator(check_addresses)] = "localhost:9092"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    replicas: Annotated[int, Field(ge=1, le=15)] = 1
    group_protocol: Literal["classic", "consumer"] = "classic"
    message_bytes_max: Annotated[int, Field(ge=10_000, le=100_000_000)] = 1_000_000
    client: dict[str, Property] = Field(default_factory=dict)

    @field_validator("client")
    @classmethod
    def _leaves_ours_alone(cls, client: dict[str, Property]) -> dict[str, Property]:
        for name in client:
            if name in _OWNED:
                raise ValueError(f"property {name!r} is not to be set here: {_OWNED[name]}")
        return client

    @property
    def embedded(self) -> bool:
        """Whether the broker is the one inside the host."""
        return self.bootstrap_servers == EMBEDDED

    def consumer(self, *, group: str, client_id: str) -> dict[str, Any]:
        """Configure the host's one consumer."""
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
            "fetch.wait.max.ms": 5 if self.embedded else 100,
            # Partitions that are added are found soon.
            "topic.metadata.refresh.interval.ms": 10_000,
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

    def listener(self, *, client_id: str) -> dict[str, Any]:
        """Configure a consumer that reads what is new, for itself alone."""
        return {
            "fetch.wait.max.ms": 5 if self.embedded else 100,
            **self.common(client_id),
            # A group is a must of the client; nothing is ever committed to this one.
            "group.id": f"{client_id}-answers",
            "auto.offset.reset": "latest",
            "enable.auto.commit": False,
            "allow.auto.create.topics": self.embedded,
        }

    def _group_protocol(self) -> dict[str, Any]:
        if self.group_protocol == "consumer":
            return {"group.protocol": "consumer"}
        return {"partition.assignment.strategy": "cooperative-sticky"}

    def producer(self, *, client_id: str, topics: int) -> dict[str, Any]:
        """Configure the host's one producer, which is to write to so many topics."""
        return {
            # A request to the broker carries the messages of one partition: where there are many, they are collected.
            "linger.ms": min(topics // _TOPICS_A_MS, _LINGER_MOST_MS),
            # For so long a topic that the broker does not know may be one that was just created; the default is 30 s.
            "topic.metadata.propagation.max.ms": 2000,
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
        timeout_ms = self.client.get("transaction.timeout.ms", 10_000)
        return {"transaction.timeout.ms": timeout_ms, "message.timeout.ms": timeout_ms}

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
