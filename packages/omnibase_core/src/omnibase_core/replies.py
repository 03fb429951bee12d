"""What is published for a delivery: its answer, its dead letter, or both, each of a size that the bus takes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from msgspec.structs import replace

from omnibase_core.codec import encode
from omnibase_core.contracts.compiled import CompiledNode
from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.contracts.node import NodeContract
from omnibase_core.dead_letters import dead_letter, generation_of, size_of
from omnibase_core.envelope import EnvelopeError, OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, OnexError, sendable
from omnibase_core.logic import error_of
from omnibase_core.outlet import trace_of
from omnibase_core.ports import Delivery, Message


@dataclass(frozen=True, slots=True)
class Replies:
    """Builds the messages that end a delivery. `bytes_max` is the size of the largest message.

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
        self, delivery: Delivery, node: CompiledNode, command: OnexEnvelope, payload: Mapping[str, Any], now: datetime
    ) -> list[Message]:
        """Give the answer. Raises CommandFailed for a payload that is no JSON or too large to send."""
        try:
            answer = self._answer(delivery, node, command, now, payload=payload)
        except ValueError as error:
            raise CommandFailed("answer_invalid", f"the answer is no JSON: {error}") from error
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
        """Give the error answer and, unless the sender alone is at fault, the dead letter."""
        answer = self._answer(delivery, node, command, now, error=error_of(error))
        if size_of(answer) > self.bytes_max:
            # What the command brought along is what makes it too large: the error itself is short.
            short = EnvelopeError(code=error.code, message=sendable(error)[:1000], retryable=error.retryable)
            bare = replace(command, metadata={})
            answer = self._answer(delivery, node, bare, now, error=short)
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
        """Give the dead letter alone: for what could not be decoded."""
        contract = node.contract
        facts = {"attempts": attempts, "first_failed_at": first_failed_at}
        return self._letter(delivery, error, now, node=contract.name, contract_version=contract.version, **facts)

    def stray(self, delivery: Delivery, error: OnexError, now: datetime) -> Message:
        """Give the dead letter of what is no node's."""
        return self._letter(delivery, error, now, node="unknown", contract_version="-")

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
        *,
        payload: Mapping[str, Any] | None = None,
        error: EnvelopeError | None = None,
    ) -> Message:
        answer = command.answer(
            now=now,
            payload=payload,
            error=error,
            node_slug=node.contract.name,
            handler_type=node.handler_type,
            generation=generation_of(delivery.headers),
        )
        return Message(self.events, delivery.key, encode(answer), trace_of(delivery.headers))
