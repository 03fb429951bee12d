"""NodeInstance: one node of a host. A delivery comes in; plan, let the handler act, conclude; messages go out."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from omnibase_core.codec import DEPTH_MAX, decode, encode
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.node import Isolation
from omnibase_core.engine.deadlines import Deadlines
from omnibase_core.engine.handler_publisher import CommandOutlet
from omnibase_core.engine.logic import Plan, conclude, declared, plan
from omnibase_core.engine.response_encoder import ResponseEncoder
from omnibase_core.engine.responses import Responses
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import (
    CommandFailed,
    CommandRejected,
    FunctionInterrupted,
    HandlerError,
    OnexError,
    PublishFailed,
    UndecodableEnvelope,
    described,
    quietly,
    sendable,
)
from omnibase_core.policies import BreakerState, CircuitBreaker
from omnibase_core.ports import (
    Clock,
    Delivery,
    Handler,
    HandlerCall,
    InlineHandler,
    Message,
    Observer,
    Partition,
    Tracer,
)

_GRACE_S = 0.1
_TOLD_A_SECOND = 10


@dataclass(slots=True)
class NodeFigures:
    """What a node has done since the host started. `degraded` says why the node is not well, or is None."""

    commands: int = 0
    answers: int = 0
    error_answers: int = 0
    retries: int = 0
    dead_letters: int = 0
    replays: int = 0
    """How many commands got an answer that was recorded before."""
    unprotected: int = 0
    """How many commands of a node with idempotency were served although the store could not be asked."""
    degraded: str | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    suppressed: int = 0
    """How many failures were not logged since the last that was: a flood is told by its first lines of each second."""
    _second: int = 0
    _told: int = 0

    def may_tell(self, now_s: float) -> bool:
        """Check whether a failure is logged, and count it if it is not."""
        if int(now_s) != self._second:
            self._second, self._told = int(now_s), 0
        self._told += 1
        if self._told <= _TOLD_A_SECOND:
            return True
        self.suppressed += 1
        return False


@dataclass(slots=True, kw_only=True, eq=False)
class NodeInstance:
    """A node with the handler that serves it. Serving is total: whatever arrives, messages come out."""

    node: CompiledNode
    handler: Handler | InlineHandler | None
    replies: Responses
    outlet: Callable[[Delivery, OnexEnvelope, Callable[[], bool]], CommandOutlet]
    breaker: CircuitBreaker
    clock: Clock
    observer: Observer
    tracer: Tracer | None = None
    depth_max: int = DEPTH_MAX
    figures: NodeFigures = field(default_factory=NodeFigures)
    answers: ResponseEncoder = field(init=False)
    deadlines: Deadlines = field(init=False)
    """When calls are over: a moment later than a handler is told, which can tell more than that its time was over."""
    inline: bool = field(init=False)
    """Whether the handler has its answer at hand here, in no process of its own, so that executing awaits nothing."""
    asks_a_node: bool = field(init=False)
    """Whether a command of it may wait for the answer of another node."""
    awaits_nothing: bool = field(init=False)
    """Whether serving as a whole awaits nothing: with idempotency, it awaits the store."""

    def __post_init__(self) -> None:
        """Look at the handler and the contract once, and not for every command."""
        isolated = self.node.contract.delivery.isolation is Isolation.PROCESS
        self.answers = ResponseEncoder(self.node.contract.name, self.node.handler_type, self.node.operations)
        self.deadlines = Deadlines(self.node.contract.delivery.timeout_s + _GRACE_S)
        self.inline = is_inline(self.handler) and not isolated
        self.asks_a_node = self.node.asks_a_node
        self.awaits_nothing = self.inline and self.node.contract.idempotency is None

    async def handle(self, command: OnexEnvelope) -> OnexEnvelope:
        """Serve one command apart from the loop, in one attempt, and return its answer: a result or an error.

        What the handler publishes for it is published; retries, idempotency and dead letters are the runtime's.
        Raises CancelledError alone.
        """
        delivery = Delivery(Partition(self.replies.events, 0), 0, None, encode(command), (), 0)
        planned = self.prepare(command)
        outcome = await self._attempted(delivery, command, planned, _never) if isinstance(planned, Plan) else planned
        if isinstance(outcome, CommandFailed | CommandRejected):
            failure = declared(planned, outcome) if isinstance(planned, Plan) else outcome
            outcome = self.give_up(delivery, command, failure)
        return next(decode(it.value) for it in outcome if it.topic == self.replies.events)

    @property
    def serves_at_once(self) -> bool:
        """Whether serving awaits nothing now, so that a delivery needs no task: its handler is pure, and it is well."""
        return self.awaits_nothing and self.breaker.state is BreakerState.CLOSED

    def serve_inline(self, delivery: Delivery, now: datetime) -> Sequence[Message]:
        """Return the messages that end the delivery, at once."""
        command = self.decode(delivery)
        if not isinstance(command, OnexEnvelope):
            return command
        planned = None
        try:
            planned = plan(self.node, command, now=now)
            result = {} if planned.call is None else self.handler.execute_inline(planned.call)  # type: ignore[union-attr]  # it is inline
            return self._answered(delivery, command, conclude(planned, result), now)
        except BaseException as error:  # noqa: BLE001 - a node's bug ends neither the host nor its neighbours, and nothing is awaited here
            failure = _as_ours(error)
            if isinstance(failure, FunctionInterrupted):
                self.breaker.failed(self.clock.monotonic_s())
            return self.give_up(delivery, command, failure if planned is None else declared(planned, failure))

    def prepare(self, command: OnexEnvelope) -> Plan | CommandFailed | CommandRejected:
        """Return what the command asks for, or why it asks for nothing."""
        try:
            return plan(self.node, command, now=self.clock.now())
        except BaseException as error:  # noqa: BLE001 - a node's bug ends neither the host nor its neighbours
            return _as_ours(error)

    def attempt(
        self, delivery: Delivery, command: OnexEnvelope, planned: Plan, *, number: int, closed: Callable[[], bool]
    ) -> Coroutine[None, None, Sequence[Message] | CommandFailed | CommandRejected]:
        """Let the handler act once: return the messages that end the delivery, or what went wrong.

        `number` counts the attempts at the command from 1; `closed` says whether its partition is another host's by
        now. Where there is a tracer, the attempt is a span of its own.
        """
        if self.tracer is None or self.inline:
            return self._attempted(delivery, command, planned, closed)
        return self._traced(self.tracer, delivery, command, planned, number, closed)

    async def _traced(
        self,
        tracer: Tracer,
        delivery: Delivery,
        command: OnexEnvelope,
        planned: Plan,
        number: int,
        closed: Callable[[], bool],
    ) -> Sequence[Message] | CommandFailed | CommandRejected:
        identity = {"command_id": command.envelope_id, "correlation_id": command.correlation_id}
        with tracer.attempt(delivery, node=self.node.contract.name, number=number, **identity) as span:
            traced = delivery._replace(headers=span.carried(delivery.headers))
            outcome = await self._attempted(traced, command, planned, closed)
            if isinstance(outcome, CommandFailed | CommandRejected):
                span.failed(outcome.code)
            return outcome

    async def _attempted(
        self, delivery: Delivery, command: OnexEnvelope, planned: Plan, closed: Callable[[], bool]
    ) -> Sequence[Message] | CommandFailed | CommandRejected:
        outlet = self.outlet(delivery, command, closed)
        try:
            result = await self._execute(planned, outlet)
            return [*outlet.kept, *self._answered(delivery, command, conclude(planned, result), self.clock.now())]
        except BaseException as error:
            if is_cancelled(error):
                raise
            return _as_ours(error)

    def give_up(
        self,
        delivery: Delivery,
        command: OnexEnvelope,
        error: CommandFailed | CommandRejected,
        *,
        attempts: int = 1,
        first_failed_at: datetime | None = None,
    ) -> Sequence[Message]:
        """Return the messages that end a delivery that failed for good, after so many attempts."""
        self._note(delivery, command, error, attempts=attempts)
        messages = self.replies.error(
            delivery, self.node, command, error, self.clock.now(), attempts=attempts, first_failed_at=first_failed_at
        )
        self.figures.error_answers += 1
        self.figures.dead_letters += len(messages) - 1
        return messages

    def retry(
        self, delivery: Delivery, command: OnexEnvelope, error: OnexError, *, attempt: int, delay_s: float
    ) -> None:
        """Record that the delivery is tried again after a failure."""
        self.figures.retries += 1
        self.figures.degraded = _summary(error)
        if self.figures.may_tell(self.clock.monotonic_s()):
            place = self._place(delivery, command)
            self.observer.event(
                "info",
                "command_retried",
                code=error.code,
                reason=quietly(error),
                attempt=attempt,
                delay_s=delay_s,
                **place,
            )

    def replay(self, delivery: Delivery, command: OnexEnvelope, recorded: bytes) -> Sequence[Message]:
        """Return the answer that was recorded for the command's key, as the answer to this command."""
        self.figures.replays += 1
        try:
            said = decode(recorded)
            if said.error is None:
                return self._answered(delivery, command, said.payload, self.clock.now())
            error = said.error
            return self.give_up(
                delivery, command, CommandRejected(error.code or "unknown", error.message, details=error.details)
            )
        except UndecodableEnvelope as unreadable:
            # A host of a later version may have written it: to serve the command would be its second effect.
            message = f"what was recorded for its key cannot be read: {unreadable}"
            return self.give_up(delivery, command, CommandFailed("recorded_answer_unreadable", message))
        except CommandFailed as failure:
            return self.give_up(delivery, command, failure)

    def warn(self, name: str, error: OnexError, delivery: Delivery, command: OnexEnvelope) -> None:
        """Report trouble with the store, which is no failure of the command."""
        self.figures.degraded = _summary(error)
        if self.figures.may_tell(self.clock.monotonic_s()):
            self.observer.event(
                "warning", name, code=error.code, reason=sendable(error), **self._place(delivery, command)
            )

    def shorter(self, delivery: Delivery, reason: str, *, bytes_max: int) -> Sequence[Message]:
        """Return what is published instead of messages that the broker refused as too large, of at most this size."""
        limited = replace(self.replies, bytes_max=bytes_max)
        now = self.clock.now()
        try:
            command = self._read(delivery)
        except UndecodableEnvelope as error:
            return [limited.dead_letter(delivery, self.node, error, now)]
        return limited.error(delivery, self.node, command, CommandFailed("answer_too_large", reason), now)

    def unpublished(self, delivery: Delivery, error: PublishFailed) -> Sequence[Message]:
        """Return what ends a delivery instead when the broker refused for good what was to be published for it."""
        try:
            command = self._read(delivery)
        except UndecodableEnvelope as undecodable:
            return [self.replies.dead_letter(delivery, self.node, undecodable, self.clock.now())]
        return self.give_up(delivery, command, HandlerError(error.code, str(error)))

    def refuse_headers(self, delivery: Delivery) -> Sequence[Message]:
        """Return the messages that end a delivery whose headers cannot be read."""
        messages = self.decode(delivery)
        return () if isinstance(messages, OnexEnvelope) else messages

    def decode(self, delivery: Delivery) -> OnexEnvelope | Sequence[Message]:
        """Return the command, or the messages that end a delivery which is none, or whose headers cannot be read."""
        self.figures.commands += 1
        try:
            command = self._read(delivery)
        except UndecodableEnvelope as error:
            self._note(delivery, None, error, attempts=1)
            self.figures.dead_letters += 1
            return [self.replies.dead_letter(delivery, self.node, error, self.clock.now())]
        if delivery.headers_error is not None:
            # Its trace, its redrive generation and its depth are unknown: to serve it would be to guess.
            return self.give_up(delivery, command, CommandFailed("headers_unreadable", delivery.headers_error))
        return command

    def _read(self, delivery: Delivery) -> OnexEnvelope:
        """Read a command, the same way whenever it is read. Raises UndecodableEnvelope."""
        return decode(delivery.value, depth_max=self.depth_max)

    async def _execute(self, planned: Plan, outlet: CommandOutlet) -> Mapping[str, Any]:
        call = planned.call
        if call is None:
            return {}
        handler: Any = self.handler
        result: Mapping[str, Any]
        if self.inline:
            result = handler.execute_inline(call)
            return result
        deadline = self.deadlines.begin()
        try:
            result = await handler.execute(tuple.__new__(HandlerCall, (*call[:-1], outlet)))
        except BaseException as error:
            if deadline.is_why(error) or isinstance(error, TimeoutError):
                message = f"no result within {call.timeout_s:g} s (delivery.timeout_s)"
                raise HandlerError("timeout", message, retryable=True) from error
            raise
        else:
            deadline.is_why(None)  # It was cancelled, and ended well all the same.
            return result
        finally:
            self.deadlines.end(deadline)

    def _answered(
        self, delivery: Delivery, command: OnexEnvelope, payload: Mapping[str, Any], now: datetime
    ) -> Sequence[Message]:
        messages = self.replies.result(delivery, self.answers, command, payload, now)
        figures = self.figures
        figures.answers += 1
        figures.degraded = None
        if self.observer.verbose:
            self.observer.event("debug", "command_answered", **self._place(delivery, command))
        return messages

    def _note(self, delivery: Delivery, command: OnexEnvelope | None, error: OnexError, *, attempts: int) -> None:
        self.figures.last_error = _summary(error)
        self.figures.last_error_at = self.clock.now()
        if not isinstance(error, CommandRejected):
            self.figures.degraded = self.figures.last_error
        if not self.figures.may_tell(self.clock.monotonic_s()):
            return
        suppressed, self.figures.suppressed = self.figures.suppressed, 0
        self.observer.event(
            "warning",
            "command_rejected" if isinstance(error, CommandRejected) else "command_failed",
            code=error.code,
            reason=quietly(error),
            values=sendable(error) if error.quiet and self.observer.verbose else None,
            cause=error.cause if isinstance(error, CommandRejected) else None,
            attempts=attempts,
            suppressed=suppressed or None,
            **self._place(delivery, command),
        )

    def _place(self, delivery: Delivery, command: OnexEnvelope | None) -> dict[str, object]:
        return {
            "node": self.node.contract.name,
            "correlation_id": command and str(command.correlation_id),
            "causation_id": command and str(command.envelope_id),
            "partition": f"{delivery.partition.topic}[{delivery.partition.number}]",
            "offset": delivery.offset,
        }


def _never() -> bool:
    return False


def _summary(error: OnexError) -> str:
    return f"{sendable(error.code)}: {quietly(error)}"


def is_inline(handler: Handler | InlineHandler | None) -> bool:
    """Whether a handler, or none at all, has its answer at hand."""
    return handler is None or hasattr(handler, "execute_inline")


def is_cancelled(error: BaseException) -> bool:
    """Check whether an exception cancels the current task because somebody asked for that.

    A CancelledError that nobody asked for is a bug like any other: it leaks from something that the handler awaited,
    or was raised by hand, and would end a task that others rely on.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _as_ours(error: BaseException) -> CommandFailed | CommandRejected:
    """Return an error that can be answered. Nobody ends the host from a node: it hears of signals by itself."""
    if not isinstance(error, CommandRejected | CommandFailed):
        return CommandFailed("internal_error", described(error))
    try:
        error.check()
    except (TypeError, ValueError) as fault:
        # As it stands, nobody could read its answer.
        return CommandFailed("internal_error", f"{described(error)} ({fault})")
    return error
