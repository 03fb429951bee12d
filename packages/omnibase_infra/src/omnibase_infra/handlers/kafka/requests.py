"""Asks other nodes: a command goes to the pool that hosts the node, and its answer is told by the command's id."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid5

from omnibase_core.codec import decode, encode
from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.errors import HandlerError, UndecodableEnvelope
from omnibase_core.ports import HandlerCall, Message, Outlet
from omnibase_core.topics import Namespace
from omnibase_infra.handlers.kafka.models import KafkaAnswer, KafkaAnswerError, KafkaRequest, KafkaTarget

DEPTH_MAX = 8
"""How many nodes may wait for one another in a row. It ends nodes that ask each other in circles."""

_REQUESTS = UUID("0b9a9f6e-4f0e-5f0a-8f43-6f3f6f0f2c11")
"""Name space of the ids of requests (RFC 9562, version 5)."""


class Listen(Protocol):
    """How new answers are heard: gives their values to `hear`, and tells `listening` each topic once it listens."""

    def __call__(
        self, topics: Collection[str], *, hear: Callable[[Sequence[bytes]], None], listening: Callable[[str], None]
    ) -> AbstractAsyncContextManager[None]:
        """Listen while the context is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Where a host is: its namespace, its pool, how it hears answers, and what time it is."""

    namespace: Namespace
    pool: str
    listen: Listen
    now: Callable[[], datetime]


@asynccontextmanager
async def asking(place: RequestContext, targets: Collection[KafkaTarget]) -> AsyncIterator["PendingRequests"]:
    """Yield what asks the nodes of these targets, listening to their answers; without such targets nothing listens."""
    asked = PendingRequests(place)
    topics = {asked.answers_of(target) for target in targets if target.node is not None}
    if not topics:
        yield asked
        return
    async with place.listen(topics, hear=asked.hear, listening=asked.is_listening):
        yield asked


@dataclass
class PendingRequests:
    """Requests under way, by their ids."""

    _place: RequestContext
    _waiting: dict[UUID, set["asyncio.Future[OnexEnvelope]"]] = field(default_factory=dict)
    _listening: dict[str, asyncio.Event] = field(default_factory=dict)

    def answers_of(self, target: KafkaTarget) -> str:
        """Return the topic of a node's answers."""
        return self._place.namespace.event(target.node or "", target.major)

    def hear(self, values: Sequence[bytes]) -> None:
        """Take answers; most are for somebody else."""
        for value in values if self._waiting else ():
            try:
                answer = decode(value)
            except UndecodableEnvelope:
                continue
            for waiting in self._waiting.get(answer.causation_id or answer.envelope_id, ()):
                if not waiting.done():
                    waiting.set_result(answer)

    def is_listening(self, topic: str) -> None:
        """Record that from now on no answer on this topic is missed."""
        self._listens(topic).set()

    async def answer(
        self, call: HandlerCall, request: KafkaRequest, target: KafkaTarget, outlet: Outlet
    ) -> KafkaAnswer:
        """Send the request, and give its answer. Waits for as long as it is let; raises PublishFailed, HandlerError."""
        if outlet.depth >= DEPTH_MAX:
            raise HandlerError(
                "too_deep", f"{outlet.depth} nodes wait for this command already; it asks no further node"
            )
        await self._listens(self.answers_of(target)).wait()
        command = self._command(call, request, target, outlet)
        with self._awaited(command.envelope_id) as answer:
            await outlet.publish(self._message(command, target, outlet))
            return _read(await answer, request)

    def _listens(self, topic: str) -> asyncio.Event:
        return self._listening.setdefault(topic, asyncio.Event())

    def _command(self, call: HandlerCall, request: KafkaRequest, target: KafkaTarget, outlet: Outlet) -> OnexEnvelope:
        now = self._place.now()
        return OnexEnvelope(
            envelope_version=ENVELOPE_VERSION,
            envelope_id=uuid5(_REQUESTS, f"{call.call_id}/{target.node}/{request.operation or ''}"),
            correlation_id=outlet.correlation_id,
            causation_id=call.call_id,
            node_slug=target.node or "",
            operation=request.operation,
            payload=request.payload,
            metadata=request.metadata,
            timestamp=now,
            # Nobody waits for what is served later; a retry asks anew.
            expires_at=now + timedelta(seconds=call.timeout_s),
        )

    def _message(self, command: OnexEnvelope, target: KafkaTarget, outlet: Outlet) -> Message:
        names = self._place.namespace
        headers = [
            (ADDRESSEE, names.command(command.node_slug, target.major).encode()),
            (DEPTH, b"%d" % (outlet.depth + 1)),
        ]
        topic = names.requests(target.pool or self._place.pool)
        return Message(topic, command.envelope_id.bytes, encode(command), headers)

    @contextmanager
    def _awaited(self, request_id: UUID) -> Iterator["asyncio.Future[OnexEnvelope]"]:
        """Await the answer to a request; two deliveries of one command ask with one id, and both hear it."""
        answer: asyncio.Future[OnexEnvelope] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(request_id, set()).add(answer)
        try:
            yield answer
        finally:
            self._waiting[request_id].discard(answer)
            if not self._waiting[request_id]:
                del self._waiting[request_id]


def refusal(request: KafkaRequest, answer: KafkaAnswer) -> HandlerError | None:
    """Return the error that the handler raises in place of an answer; None where it gives it."""
    error = answer.error
    if error is None or error.code in request.expect_errors:
        return None
    details = {"code": error.code, "message": error.message, "details": error.details}
    what = f"the node answered {error.code}: {error.message}"
    if error.retryable:
        return HandlerError("request_failed", what, retryable=True, details=details)
    return HandlerError("request_refused", what, details=details)


def unanswered(_request: KafkaRequest, timeout_s: float) -> HandlerError:
    """Return the error that the handler raises when the time is over."""
    return HandlerError("no_answer", f"the node gave no answer within {timeout_s:g} s", retryable=True)


def _read(said: OnexEnvelope, request: KafkaRequest) -> KafkaAnswer:
    error = None
    if (given := said.error) is not None:
        error = KafkaAnswerError(
            code=given.code, message=given.message, retryable=given.retryable, details=given.details
        )
    answer = KafkaAnswer(payload=said.payload, error=error)
    if (refused := refusal(request, answer)) is not None:
        raise refused
    return answer
