"""The host contract as it is written: `contract: host/v1`. Values only."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from omnibase_core.contracts import patterns
from omnibase_core.contracts.node import ContractModel, Identifier, Slug, Version
from omnibase_core.contracts.secrets import SecretName, SecretSource
from omnibase_core.topics import Namespace


class Breaker(ContractModel):
    """When a target that does not answer is left alone, and how it is found to answer again.

    After `failures` in a row nothing is asked of it for `open_s` seconds, then `probes` calls are let through; while
    they fail, each pause is twice the one before, up to `open_max_s`. Commands wait meanwhile, and none fails for it.
    """

    failures: Annotated[int, Field(ge=1, le=10_000)] = 5
    open_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    open_max_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    probes: Annotated[int, Field(ge=1, le=100)] = 1


class TargetLimits(ContractModel):
    """How much this host asks of one target; what is more waits for its turn, and no command fails for it.

    `concurrency` bounds the calls under way. `rate_per_s` bounds the calls begun in a second, which are spread evenly;
    without it there is no such bound. Each host of a pool keeps to them by itself.
    """

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 100
    rate_per_s: Annotated[float, Field(gt=0, le=100_000)] | None = None


class HandlerBinding(ContractModel):
    """A handler's settings, the breaker in front of each of its targets, and the targets that nodes may name.

    Each handler's own models say what may stand in `settings` and `targets`. `limits` are those of targets, by name;
    a target without an entry has the defaults.
    """

    breaker: Breaker = Breaker()
    limits: dict[Slug, TargetLimits] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    targets: dict[Slug, dict[str, Any]] = Field(default_factory=dict)


class StoreBinding(ContractModel):
    """Where nodes with `idempotency` keep their answers, and the breaker in front of it.

    `store` is `memory`, `postgres` or one of a plug-in; its own model says what may stand in `settings`.
    """

    store: str
    breaker: Breaker = Breaker()
    settings: dict[str, Any] = Field(default_factory=dict)


class Watch(ContractModel):
    """A source of commands: what is read again and again, and the node that gets each new result as its payload.

    One host of the pool watches at a time. Whoever begins sends what is now, and then whatever differs from what was
    sent last: a change arrives at least once, and of several in a row perhaps the last alone.

    - `handler`, `target`: whom to ask. `call` is an operation of it that can wait for changes, `request` what to ask.
    - `node`, `operation`: who gets the commands; it is one of the host's nodes. Their key is the watch's name, so that
      they keep their order.
    - `timeout_s`: for how long a call waits for a change before it is made anew.
    - `interval_s`: seconds that lie between two commands at least; what changes meanwhile comes as one.
    - `backoff_max_s`: the longest pause between attempts while what is watched cannot be read.
    """

    handler: str
    target: Slug | None = None
    call: Identifier
    request: dict[str, Any] = Field(default_factory=dict)
    node: Slug
    operation: Identifier
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    interval_s: Annotated[float, Field(ge=0.01, le=3600)] = 1.0
    backoff_max_s: Annotated[float, Field(ge=0.1, le=3600)] = 30.0


class Limits(ContractModel):
    """Bounds of the whole host.

    - `max_in_flight`, `bytes_in_flight_max`: commands that are taken and not yet done; in bytes their keys, headers and
      values, and what is published for them until the broker has acknowledged it. No node holds more of them than it
      leaves free, whatever its own limit: the others go on while its commands stand still.
    - `ahead_max`: how many commands of a partition may be taken behind its first one that is not done: a crash repeats
      so many.
    - `depth_max`: how deep objects and lists may be nested in a command; a deeper one is a dead letter.
    - `drain_s`: how long commands in flight may go on when the host stops, in seconds.
    - `revoke_s`: how long they may go on when their partition moves to another host, in seconds. Nothing is fetched
      meanwhile; what has not ended by then is left to the next owner.
    - `stop_s`: how long stopping takes at most, all its phases together, in seconds; at least `drain_s`.
    - `unknown_node_s`: how long a retried or requested command of a node that this host does not have is left to other
      hosts of the pool, in seconds, before it becomes a dead letter.
    """

    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    bytes_in_flight_max: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    ahead_max: Annotated[int, Field(ge=10, le=10_000_000)] = 10_000
    depth_max: Annotated[int, Field(ge=8, le=512)] = 64
    drain_s: Annotated[float, Field(ge=0, le=300)] = 10.0
    revoke_s: Annotated[float, Field(ge=0, le=300)] = 1.0
    stop_s: Annotated[float, Field(ge=1, le=600)] = 25.0
    unknown_node_s: Annotated[float, Field(ge=0, le=86_400)] = 900.0


class HealthEndpoint(ContractModel):
    """Where the host answers for its health, and when it is not ready.

    It listens on `address` and `port`; port 0 is any free one.

    A partition that has something to do and has not moved on for `stalled_max_s` seconds makes the host not ready.
    """

    address: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    stalled_max_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0


class Guarantee(StrEnum):
    """How often a command has its effect when hosts crash.

    `at_least_once`: an answer may come twice, with the same id. `exactly_once`: consuming, answering and committing are
    one transaction; for nodes whose handlers have no effect outside of it, and readers at `read_committed`.
    """

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


class RuntimeHostContract(ContractModel):
    """One host: its nodes, what they may reach, and the bus.

    `pool` names the consumer group and the dead letter topic: it is independent of `name`, so that hosts can be
    renamed, added and moved. Every host of a pool hosts the same nodes. `logic_packages` are the Python packages whose
    functions a compute node may name. `bus.type` names the bus, by default kafka; what else may stand in `bus` is that
    bus's own affair.

    - `contract`: the language and its version, host/v1.
    - `name`: stands in the name of the log topic.
    - `kind`: may be left out.
    - `version`: the operators' own affair.
    - `description`: what the host is for.
    - `environment`, `tenant`: stand in the names of all topics and of the consumer group.
    - `nodes`: the nodes that it hosts, by name; their contracts are in the folder of the host's.
    - `handlers`: what each handler may reach, and how.
    - `idempotency`: where nodes with idempotency keep their answers.
    - `secrets`: where each secret is that a setting refers to as `${secret.NAME}`; one that is not listed is the
      variable `ONEX_SECRET_NAME`, or in the file that `ONEX_SECRET_NAME_FILE` names.
    - `watches`: what is watched, by a name of its own, and which node is told of its changes.
    - `requests`: true where other nodes may ask these nodes, by the handler `kafka`: the pool then has a topic for it.
    """

    contract: Literal["host/v1"]
    name: Slug
    kind: Literal["runtime_host"] = "runtime_host"
    version: Version
    description: Annotated[str, StringConstraints(min_length=1)]
    environment: Slug
    tenant: Slug
    pool: Slug
    guarantee: Annotated[Guarantee, Field(strict=False)] = Guarantee.AT_LEAST_ONCE
    nodes: Annotated[list[Slug], Field(min_length=1)]
    handlers: dict[str, HandlerBinding] = Field(default_factory=dict)
    logic_packages: list[Annotated[str, StringConstraints(pattern=patterns.PACKAGE)]] = Field(default_factory=list)
    bus: dict[str, Any] = Field(default_factory=dict)
    idempotency: StoreBinding | None = None
    secrets: dict[SecretName, SecretSource] = Field(default_factory=dict)
    watches: dict[Slug, Watch] = Field(default_factory=dict)
    requests: bool = False
    limits: Limits = Limits()
    health: HealthEndpoint = HealthEndpoint()

    @property
    def namespace(self) -> Namespace:
        """Where this host's topics and group live."""
        return Namespace(environment=self.environment, tenant=self.tenant)
