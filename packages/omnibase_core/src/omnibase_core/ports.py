"""What the core needs of the world, as Protocols, and the values that pass through them. No behaviour.

The core runtime consumes these ports, so they are defined here; `omnibase_spi` re-exports them for plug-in authors.
"""

from asyncio import Future
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel

from omnibase_core.errors import HandlerError, InvalidExpression, PublishFailed

T = TypeVar("T")

# --- Handlers -----------------------------------------------------------------------------------------------------


class HandlerCall(NamedTuple):
    """One call of a handler: what the contract planned for one command.

    `request` is an instance of the operation's request model. `timeout_s` is what is left for this call: the runtime
    cancels it a moment later, so that a handler which keeps to the time itself can say what it waited for. `call_id` is
    the command's id: the same for each attempt at it. `node` is the name of the node that asks. `outlet` publishes for
    the command; an InlineHandler has none.
    """

    handler_type: str
    operation: str
    request: BaseModel
    target: str | None
    timeout_s: float
    call_id: UUID
    node: str = ""
    outlet: "Outlet | None" = None


class Handler(Protocol):
    """Does one kind of I/O for every node that asks for it. Used concurrently; holds no state of a node."""

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the call and give its result as JSON values.

        Raises HandlerError, and nothing else, for what the outside world did. Cancelling must leave the handler usable.
        """


class InlineHandler(Protocol):
    """A handler that is pure: it has the answer at hand, awaits nothing and is called on the loop itself."""

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Compute the result. Raises HandlerError for what the request asks wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDescription:
    """One operation of a handler: the models of its request and of its result.

    What a test plays has to come out as in production. So a handler that judges what it got says here, from a request
    and a result, which error it raises in place of that result (`refusal`; None: it gives it); and one that keeps to
    the time itself says which error that is after so many seconds (`late`).
    One that is not for every target says what a target lacks for it (`misfit`), and which keys of a request, as the
    contract writes it, a target refuses whatever the command (`clashes`: paths in the request, each with what is said
    of the node). `asks_a_node`: it waits for the answer
    of another node, which with exactly once would come only after its own.

    `faults`, where a handler has it, looks at a request as the contract writes it, expressions included, and gives
    what can be known to be wrong before any command, each at its path in the request. `gives` says of such a request
    what its result is, where more is known of it than `result` says: expressions are checked against that. Both pure.

    An operation that can wait for a change says, from a request and its result, which request waits for what comes
    after that result (`following`; None: it cannot). So a host can watch what it reads.

    `errors` are those codes of the handler's `errors` with which this operation can fail; None: any of them.
    """

    request: type[BaseModel]
    result: type[BaseModel]
    refusal: Callable[[Any, Any], HandlerError | None] | None = None
    late: Callable[[Any, float], HandlerError] | None = None
    faults: Callable[[Any], Iterable[tuple[tuple[str | int, ...], InvalidExpression]]] | None = None
    gives: Callable[[Any], type[BaseModel]] | None = None
    following: Callable[[Any, Mapping[str, Any]], BaseModel] | None = None
    misfit: Callable[[Any], str | None] | None = None
    clashes: Callable[[Any, Any], Iterable[tuple[tuple[str | int, ...], str]]] | None = None
    asks_a_node: bool = False
    errors: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ErrorDescription:
    """One code of a handler's errors: what it means, and whether a later attempt at the same call may succeed.

    `retryable` is true, false or, where it depends, a text that says when it is true.
    """

    meaning: str
    retryable: bool | str = False


@dataclass(frozen=True, slots=True)
class LiveFault:
    """What a server refuses of a request: which of the requests, and where in it."""

    request: int
    at: tuple[str | int, ...]
    error: InvalidExpression


@dataclass(frozen=True, slots=True)
class LiveReport:
    """How many things of the requests were looked at, and what is wrong with them."""

    count: int
    faults: Sequence[LiveFault]


@dataclass(frozen=True, slots=True)
class LiveCheck:
    """How `check --live` holds requests, as contracts write them, to the server of a target.

    `check` takes the target's name, the target with its secrets, and the requests that are for it. It does none of
    them. It raises HandlerError where the server cannot be asked; the message goes on from `check --live`, as in
    "cannot ask the database: ...". `counted` names what it counts, as in "statements prepared at their databases".
    """

    counted: str
    check: Callable[[str, Any, Sequence[Any]], Awaitable[LiveReport]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerDescription:
    """What contracts may ask of a handler type. Contracts are checked against it before anything starts.

    The first operation is the one meant where a contract names none. `settings` is the model of the host contract's
    `settings` for this type; `target` that of each of its `targets`, or None for a handler that has none. `inline` is
    that of an InlineHandler, which no timeout bounds and no breaker guards. `transactional` says that a call has no
    effect but what the bus's transaction covers, so that it may be repeated: none at all, or what is published through
    its Outlet. `errors` describes the codes of its HandlerErrors: the handler's contract and the reference of a node
    tell them, and they are what an error rule of a contract may name in `on`. `live` is how its requests can be held to
    a target's server before any command; None: they cannot.
    """

    handler_type: str
    operations: Mapping[str, OperationDescription]
    settings: type[BaseModel]
    target: type[BaseModel] | None = None
    transactional: bool = False
    errors: Mapping[str, ErrorDescription] = field(default_factory=dict)
    inline: bool = False
    live: LiveCheck | None = None


class Budget(Protocol):
    """Bounds work that runs on the loop itself."""

    def bounded(self, work: Callable[[], T], seconds: float, /) -> T:
        """Do the work and give its result. Raises TimeoutError when it is interrupted for having taken longer."""


class Workers(Protocol):
    """Runs functions in processes of their own, which can be killed."""

    async def call(self, function: str, argument: Any, /, *, budget_s: float) -> Any:
        """Call a function by its name with a JSON value, and give its result as one.

        It waits for a worker first; `budget_s` bounds the function alone. Raises TimeoutError where the function took
        longer, CommandRejected or CommandFailed for everything else: what the function raised, or its worker met.
        Cancelling ends the function.
        """


# --- The bus ------------------------------------------------------------------------------------------------------


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    number: int


Headers = Sequence[tuple[str, bytes | None]]
"""A message's headers, in their order; a name may occur more than once."""


class Delivery(NamedTuple):
    """One message as the broker delivered it, under one assignment of its partition to this host.

    `headers_error` says why the headers cannot be read, such as a name that is not UTF-8; `headers` is empty then.
    """

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    headers_error: str | None = None


class Message(NamedTuple):
    """One message to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in the order of each partition. Each belongs to an assignment that is in force.

    Within an assignment offsets only rise, unless `Rewound` announced otherwise. They may have gaps: markers of
    transactions, aborted messages, and what compaction removed have offsets too. `reached` names partitions of which
    everything below an offset has been delivered (this batch included), so that a gap at the end can be committed.
    """

    deliveries: Sequence[Delivery]
    reached: Mapping[Partition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assigned:
    """From here on, this host serves these partitions, each from its committed offset and not paused.

    The very object stands for the assignment: what is asked of the bus by the object of an earlier one has no effect.
    Where offsets go back although nobody asked for it (the topic was created again, its log was cut off), the old
    assignment is `Revoked` as lost, and a new one begins.
    """

    partitions: frozenset[Partition]


@dataclass(frozen=True, slots=True)
class Revoked:
    """This host is about to lose these partitions, and keeps them until it calls `release` (or a deadline passes).

    Work in flight may finish and be committed before `release`. With `lost`, they already belong to another host:
    nothing may be committed any more.
    """

    partitions: frozenset[Partition]
    lost: bool
    release: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Rewound:
    """From here on, the partition is delivered from where `rewind` sent it back to. It is still the same assignment."""

    partition: Partition


Happening = Batch | Assigned | Revoked | Rewound
"""What a bus yields: messages, and changes of what is assigned to the host."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A published message that the broker refused for good, by its place in the published sequence."""

    index: int
    error: PublishFailed


class Outlet(Protocol):
    """By which a handler publishes for one command."""

    @property
    def correlation_id(self) -> UUID:
        """Return the command's."""

    @property
    def depth(self) -> int:
        """How many nodes wait for the command: 0 where it is no request of a node."""

    async def publish(self, message: Message, /) -> None:
        """Return once the broker has acknowledged the message. Raises PublishFailed when it refuses it for good.

        With exactly once it returns at once: the message is in the transaction of the command's answer, or nowhere if
        the attempt fails. The command's trace and its id go along in the headers.
        """


class EnvelopeBus(Protocol):
    """Where commands come from and answers go: one consumer group and one producer for the whole host."""

    message_bytes_max: int
    """The largest message (key, value and headers) that `publish` takes, in bytes."""

    def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Join the group and give what happens, in order, until it is closed; then leave. Raises BusError."""

    def publish(self, messages: Sequence[Message], /) -> "Future[Sequence[Refusal]]":
        """Queue the messages, at once and in order; the future ends when the broker has answered for each.

        It gives the refusals (none: all are acknowledged). While the broker is away it waits: it never gives up.
        """

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Note, for each partition, the offset of the first message that is not yet done.

        Within an assignment the largest offset wins, however often a commit fails. What is noted is on the broker
        within a moment, and at the latest when a revoked partition is released or the bus is closed.
        """

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> "Future[Sequence[Refusal]]":
        """Publish the messages and commit the offsets: both or neither. For hosts of exactly once, one at a time.

        The future gives the refusals: where there are any, nothing of it happened. It raises TransactionAborted where
        nothing happened for a reason that may pass, such as a group that is just rebalancing. It ends in bounded time:
        a client that does not come back is given up, and the group is asked what became of the transaction.
        """

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Deliver nothing more of these partitions, from a moment later on. What is under way still arrives."""

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Deliver these partitions again, from where they were paused."""

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Deliver a partition again from an offset on, paused or not. The partition is that of an `Assigned`.

        What is under way still arrives; `Rewound` tells where it ends. None comes where the partition is revoked first.
        """


# --- Time, contracts, observation ---------------------------------------------------------------------------------


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""


@dataclass(frozen=True, slots=True)
class ContractDocument:
    """The text of one contract file."""

    path: PurePath
    text: str


ContractReader = Callable[[PurePath], Iterable[ContractDocument]]
"""Reads every contract document below a folder, or the one document at a path."""


class Observer(Protocol):
    """Where the runtime tells what it does. Must return at once and never raise."""

    @property
    def verbose(self) -> bool:
        """Whether events of level debug, such as that of each command, are of use to anybody."""

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Report one event; `level` is debug, info, warning or error."""


class Span(Protocol):
    """One attempt at a command, as a trace shows it."""

    def carried(self, headers: Headers, /) -> Headers:
        """Return the command's headers with this span as the trace's context, for what the attempt publishes."""

    def failed(self, code: str, /) -> None:
        """Record that the attempt failed, and with which code."""


class Tracer(Protocol):
    """Where attempts are told as spans. Must return at once and never raise."""

    def attempt(
        self, delivery: Delivery, /, *, node: str, number: int, command_id: UUID, correlation_id: UUID
    ) -> AbstractContextManager[Span]:
        """Open the span of an attempt at the delivery; what its task does meanwhile is part of it."""


PureFunction = Callable[[Any], Any]
"""A compute node's logic: one JSON value in, one JSON value out."""
