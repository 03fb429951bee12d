"""The node contract as it is written: `contract: node/v1`. Values only; `compiled` makes it executable."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from omnibase_core.contracts import patterns
from omnibase_core.contracts.validation import InvalidValue
from omnibase_core.contracts.yaml.document import nearest
from omnibase_core.contracts.yaml.scalars import shown
from omnibase_core.envelope import NAME_LENGTH_MAX, JsonObject
from omnibase_core.policies import RetryPolicy
from omnibase_core.topics import SLUG_LENGTH_MAX

Slug = Annotated[str, StringConstraints(pattern=patterns.SLUG, max_length=SLUG_LENGTH_MAX)]
"""Lower-case words joined by hyphens: what may stand in a topic's name."""
Version = Annotated[str, StringConstraints(pattern=patterns.VERSION)]
"""Semantic version; its major part names the topics."""
Identifier = Annotated[str, StringConstraints(pattern=patterns.IDENTIFIER, max_length=NAME_LENGTH_MAX)]
"""The name of an operation or the code of an error."""
FunctionName = Annotated[str, StringConstraints(pattern=patterns.FUNCTION)]
"""A Python function as `package.module:function`."""


class NodeKind(StrEnum):
    """What a contract describes."""

    EFFECT = "effect"
    COMPUTE = "compute"
    REDUCER = "reducer"
    ORCHESTRATOR = "orchestrator"
    RUNTIME_HOST = "runtime_host"


_SERVED = (NodeKind.EFFECT.value, NodeKind.COMPUTE.value)


class Ordering(StrEnum):
    """Which commands of a node are served one after the other: those of one key, of one partition, or none."""

    KEY = "key"
    PARTITION = "partition"
    NONE = "none"


class OnRetry(StrEnum):
    """What becomes of the commands behind one that waits for its next attempt: its lane waits, or they overtake it."""

    WAIT = "wait"
    OVERTAKE = "overtake"


class Isolation(StrEnum):
    """Where a compute node's functions run: on the loop, or in a worker process that can be killed."""

    INLINE = "inline"
    PROCESS = "process"


class ContractModel(BaseModel):
    """Frozen; a key that nothing reads is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Retry(ContractModel):
    """Which failures of a handler are tried again, how often and after how long.

    - `attempts`: how often in all, the first time included.
    - `initial_s`, `max_s`: seconds before the second attempt, and at most before any; each wait is `multiplier` times
      the one before, and the share `jitter` of it is random.
    - `codes`: the error codes that are retried; else every failure that is retryable.
    """

    attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    initial_s: Annotated[float, Field(gt=0, le=3600)] = 0.2
    max_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    multiplier: Annotated[float, Field(ge=1, le=10)] = 2.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.5
    codes: list[Identifier] | None = None

    @property
    def policy(self) -> RetryPolicy:
        """The same, ready to be asked."""
        codes = None if self.codes is None else frozenset(self.codes)
        return RetryPolicy(**{**dict(self), "codes": codes})


class DeliveryPolicy(ContractModel):
    """How a node's commands are served.

    `timeout_s` bounds one call of the handler, `deadline_s` all attempts at one command and the waits between them;
    with `on_retry` overtake, a command that has failed for a second goes to the pool's retry topic until it is due.
    `budget_s` bounds one call of a compute node's function, which holds up the whole host unless `isolation` is
    process; then `timeout_s` bounds its wait for a worker and the call together. `max_in_flight` bounds the calls
    under way at a time.
    """

    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    deadline_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    budget_s: Annotated[float, Field(gt=0, le=60)] = 0.1
    isolation: Annotated[Isolation, Field(strict=False)] = Isolation.INLINE
    retry: Retry = Retry()
    on_retry: Annotated[OnRetry, Field(strict=False)] = OnRetry.WAIT
    ordering: Annotated[Ordering, Field(strict=False)] = Ordering.KEY
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 256


class OnStoreFailure(StrEnum):
    """What becomes of commands while nobody knows whether they were served before: they wait, or are served."""

    CLOSED = "closed"
    OPEN = "open"


class Idempotency(ContractModel):
    """One effect a key: a command whose key was served within the window gets the recorded answer again.

    - `key`: an expression over the command that gives text or a number; else it is the command's `envelope_id`.
    - `window_s`: for how long an answer is kept.
    - `on_store_failure`: while the store is away, `closed` lets commands wait, `open` serves them unprotected.
    """

    key: str = "${ envelope.envelope_id }"
    window_s: Annotated[float, Field(gt=0, le=366 * 86_400)] = 86_400.0
    on_store_failure: Annotated[OnStoreFailure, Field(strict=False)] = OnStoreFailure.CLOSED


class ErrorRule(ContractModel):
    """Turns a result, or a failure of the handler, into an error answer with a code and a message of the contract's.

    - `on`: the code of a failure of the handler, such as `unique_violation`. Once no further attempt follows, the
      sender is told `code` in its place, and the command gets no dead letter.
    - `when`: the condition under which the rule holds: over `result` or, beside `on`, over `error`, the failure.
    - `code`: the error's code.
    - `message`: what the answer says; else that the rule holds.
    - `retryable`: whether the handler is asked again, as after a failure of its own.
    """

    on: Identifier | None = None
    when: str | None = None
    code: Identifier
    message: str | None = None
    retryable: bool = False

    @model_validator(mode="after")
    def _says_of_what(self) -> Self:
        if self.on is None and self.when is None:
            told = "missing key 'when', a condition on the result, or 'on', the code of a failure of the handler"
            raise InvalidValue(told, code="missing-key")
        if self.on is not None and self.retryable:
            told = "'retryable' is for results: delivery.retry says which failures are retried; remove it"
            raise InvalidValue(told, code="unused-key")
        return self


class Operation(ContractModel):
    """One operation of a node: what it takes, what it asks of the handler or function, what it answers.

    - `input`: JSON Schema of the command's payload. Where a function takes the payload as a model and none is written,
      that of the model is meant.
    - `output`: JSON Schema of the answer's payload, or of the model that a function gives.
    - `call`: the handler's operation, where it is not the first that the handler offers.
    - `request`: mapping to the handler's request; for `logic`, to the function's argument (else the payload).
    - `logic`: the pure function of a compute node.
    - `errors`: rules that turn a result, or a failure of the handler, into an error answer; the first that holds
      counts.
    - `answer`: mapping to the answer's payload (else the result itself).
    """

    input: JsonObject | None = None
    call: str | None = None
    request: Any = None
    logic: FunctionName | None = None
    errors: list[ErrorRule] = Field(default_factory=list)
    answer: Any = None
    output: JsonObject | None = None


class NodeContract(ContractModel):
    """One node: everything that the host knows of it.

    - `contract`: the language and its version, node/v1.
    - `name`: stands in the names of the node's topics.
    - `kind`: effect asks a handler, compute calls a pure function or evaluates expressions alone.
    - `version`: its major part stands in the names of the topics.
    - `description`: what the node is for, as its reference page says it.
    - `handler`: the handler that an effect node asks; `runtime-host export handlers` prints its contract.
    - `target`: which of the handler's targets it asks; the host contract binds it to an address.
    - `operations`: what may be asked of the node, by name.
    - `idempotency`: lets an effect happen once a key, however often its command comes.
    """

    contract: Literal["node/v1"]
    name: Slug
    kind: Annotated[NodeKind, Field(strict=False)]
    version: Version
    description: Annotated[str, StringConstraints(min_length=1)]
    handler: str | None = None
    target: str | None = None
    operations: Annotated[dict[Identifier, Operation], Field(min_length=1)]
    delivery: DeliveryPolicy = DeliveryPolicy()
    idempotency: Idempotency | None = None

    @field_validator("kind", mode="before")
    @classmethod
    def _is_known(cls, kind: object) -> object:
        # The kinds that are not served yet are no advice to anybody.
        if not isinstance(kind, str) or kind not in list(NodeKind):
            near = nearest(kind, _SERVED) if isinstance(kind, str) else None
            hint = f"; did you mean {near!r}?" if near else ""
            message = f"found {shown(kind)}, expected {' or '.join(map(repr, _SERVED))}{hint}"
            raise InvalidValue(message, code="wrong-value", nearest=near)
        return kind

    @field_validator("kind")
    @classmethod
    def _is_served(cls, kind: NodeKind) -> NodeKind:
        if kind is NodeKind.RUNTIME_HOST:
            message = "kind 'runtime_host' is a host's; a host contract starts with contract: host/v1"
            raise InvalidValue(message, code="wrong-value")
        if kind in (NodeKind.REDUCER, NodeKind.ORCHESTRATOR):
            message = f"kind {kind.value!r} is not served yet; expected {' or '.join(map(repr, _SERVED))}"
            raise InvalidValue(message, code="kind-not-served")
        return kind

    @property
    def major(self) -> int:
        """The major version, which stands in the topics' names."""
        return int(self.version.partition(".")[0])
