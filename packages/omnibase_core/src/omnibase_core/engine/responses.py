"""What is published for a delivery: its answer, its dead letter, or both, each of a size that the bus takes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from msgspec.structs import replace

from omnibase_core.codec import encode
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.contracts.node import NodeContract
from omnibase_core.dead_letters import REDRIVE, dead_letter, generation_of, size_of
from omnibase_core.engine.handler_publisher import trace_of
from omnibase_core.engine.logic import error_of
from omnibase_core.engine.response_encoder import ResponseEncoder
from omnibase_core.envelope import EnvelopeError, OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, OnexError, sendable
from omnibase_core.ports import Delivery, Message


@dataclass(frozen=True, slots=True)
class Responses:
    """Builds the messages that end a delivery. `bytes_max` is the size of the largest message, in bytes.

    `events` is the topic of the node's answers, `letters` that of the pool's dead letters.
    """

    host: RuntimeHostContract
    events: str
    letters: str
    bytes_max: int

    @classmethod
    def of(cls, host: RuntimeHostContract, node: NodeContract, bytes_max: int) -> Self:
        """Build the replies of a node on a host."""
        names = host.namespace
        return cls(host, names.event(node.name, node.major), names.dead_letter(host.pool), bytes_max)

    def result(
        self,
        delivery: Delivery,
        answers: ResponseEncoder,
        command: OnexEnvelope,
        payload: Mapping[str, Any],
        now: datetime,
    ) -> list[Message]:
        """Return the answer. Raises CommandFailed for a payload that is no JSON or too large to send."""
        headers = delivery.headers
        try:
            value = answers.write(command, payload, now, generation_of(headers) if headers else 0)
        except ValueError as error:
            raise CommandFailed("answer_invalid", f"the answer is not valid JSON: {error}") from error
        # A named tuple at a third of what calling its class takes: this is done for each command.
        answer = tuple.__new__(Message, (self.events, delivery.key, value, trace_of(headers) if headers else ()))
        if (size := size_of(answer)) > self.bytes_max:
            raise CommandFailed("answer_too_large", f"the answer has {size} bytes, the bus takes {self.bytes_max}")
        return [answer]

    def error(
        self,
        delivery: Delivery,
        node: CompiledNode,
        command: OnexEnvelope,
        error: CommandRejected | CommandFailed,
        now: datetime,
        *,
        attempts: int = 1,
        first_failed_at: datetime | None = None,
    ) -> list[Message]:
        """Return the error answer and, unless the sender alone is at fault, the dead letter."""
        answer = self._error_answer(delivery, node, command, error, now)
        if isinstance(error, CommandRejected) and error.code != "node_mismatch":
            return [answer]
        letter = self.dead_letter(delivery, node, error, now, attempts=attempts, first_failed_at=first_failed_at)
        return [answer, letter]

    def dead_letter(
        self,
        delivery: Delivery,
        node: CompiledNode,
        error: OnexError,
        now: datetime,
        *,
        attempts: int = 1,
        first_failed_at: datetime | None = None,
    ) -> Message:
        """Return the dead letter alone: for what could not be decoded."""
        contract = node.contract
        facts = {"attempts": attempts, "first_failed_at": first_failed_at}
        return self._letter(delivery, error, now, node=contract.name, contract_version=contract.version, **facts)

    def stray(self, delivery: Delivery, error: OnexError, now: datetime, *, node: str = "unknown") -> Message:
        """Return the dead letter of a command whose node this host does not have."""
        return self._letter(delivery, error, now, node=node, contract_version="-")

    def stray_answer(
        self, delivery: Delivery, command: OnexEnvelope, error: CommandFailed, now: datetime, *, node: str, events: str
    ) -> Message:
        """Return the error answer to a command whose node this host does not have, for that node's topic of answers."""
        short = EnvelopeError(code=error.code, message=sendable(error), retryable=error.retryable)
        answer = command.answer(
            now=now,
            error=short,
            node_slug=node,
            handler_type=command.handler_type or "unknown",
            generation=generation_of(delivery.headers),
        )
        message = Message(events, delivery.key, encode(answer), trace_of(delivery.headers))
        if size_of(message) <= self.bytes_max:
            return message
        bare = replace(answer, metadata={}, operation=None)
        return Message(events, None, encode(bare))

    def _error_answer(
        self,
        delivery: Delivery,
        node: CompiledNode,
        command: OnexEnvelope,
        error: CommandRejected | CommandFailed,
        now: datetime,
    ) -> Message:
        """Return the error answer, without what the command brought along where there is no room for that.

        The error itself is short. First its details and the command's metadata are left out, then the operation and the
        trace, at last the key: an answer that comes without it is still an answer.
        """
        answer = self._answer(delivery, node, command, now, error_of(error))
        if size_of(answer) <= self.bytes_max:
            return answer
        short = EnvelopeError(code=sendable(error.code), message=sendable(error)[:500], retryable=bool(error.retryable))
        plain = replace(command, metadata={})
        bare = replace(plain, operation=None)
        untraced = delivery._replace(headers=[header for header in delivery.headers if header[0] == REDRIVE])
        for source, shorter in ((delivery, plain), (untraced, bare), (untraced._replace(key=None), bare)):
            answer = self._answer(source, node, shorter, now, short)
            if size_of(answer) <= self.bytes_max:
                break
        return answer

    def _letter(self, delivery: Delivery, error: OnexError, now: datetime, **facts: Any) -> Message:
        return dead_letter(
            delivery,
            error,
            topic=self.letters,
            host=self.host.name,
            now=now,
            bytes_max=self.bytes_max,
            **facts,
        )

    def _answer(
        self,
        delivery: Delivery,
        node: CompiledNode,
        command: OnexEnvelope,
        now: datetime,
        error: EnvelopeError,
    ) -> Message:
        answer = command.answer(
            now=now,
            error=error,
            node_slug=node.contract.name,
            handler_type=node.handler_type,
            generation=generation_of(delivery.headers),
        )
        return Message(self.events, delivery.key, encode(answer), trace_of(delivery.headers))
