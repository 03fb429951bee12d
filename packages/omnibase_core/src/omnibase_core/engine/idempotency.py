"""One effect a key: before its effect a command claims its key, and what it is answered is recorded before it is sent.

What is recorded is the answer's envelope as it was encoded, so that a later version reads it as it reads any other.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, Self, TypeVar

from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.contracts.node import Idempotency, OnStoreFailure
from omnibase_core.engine.instance import NodeInstance
from omnibase_core.engine.logic import Plan, plan
from omnibase_core.engine.revocation import is_set_within
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, OnexError, StoreFailed
from omnibase_core.idempotency_store import Granted, IdempotencyStore, Recorded, Taken
from omnibase_core.policies import CircuitBreaker
from omnibase_core.ports import Delivery, Message

T = TypeVar("T")

_GRACE_S = 30.0
"""What a claim lasts beyond the deadline of its command: time for a record that has to wait for the store."""
_AGAIN_S = 0.2
_LEAST_S = 0.05
_LOOK_MOST_S = 1.0
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Claim(NamedTuple):
    """A command's claim on its key. `token` is None where nothing is claimed: then nothing is recorded either."""

    key: str = ""
    token: int | None = None


class Wait(NamedTuple):
    """Ask again after so many seconds: another command has the key, or the store cannot be asked."""

    seconds: float


UNCLAIMED = Claim()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyGuard:
    """Lets the effects of one node happen once a key. `scope` keeps its keys apart from those of others.

    The owner of a claim is a command at its place in its topic: one that is delivered again may run again, for nobody
    knows how far it came; the same command sent twice is two, and the second waits for the first.
    """

    instance: NodeInstance
    store: IdempotencyStore
    breaker: CircuitBreaker
    scope: str
    terms: Idempotency
    lease_s: float

    @classmethod
    def of(
        cls, instance: NodeInstance, host: RuntimeHostContract, *, store: IdempotencyStore, breaker: CircuitBreaker
    ) -> Self:
        """Guard a node as its contract says."""
        contract = instance.node.contract
        delivery = contract.delivery
        return cls(
            instance=instance,
            store=store,
            breaker=breaker,
            scope=f"{host.environment}/{host.tenant}/{contract.name}/v{contract.major}",
            terms=contract.idempotency or Idempotency(),
            lease_s=max(delivery.deadline_s, delivery.timeout_s) + _GRACE_S,
        )

    async def claim(
        self, delivery: Delivery, command: OnexEnvelope, planned: Plan | CommandFailed | CommandRejected
    ) -> Claim | Recorded | Wait | CommandFailed:
        """Claim the key of a command; what asks for no effect claims none. Claiming again renews the lease."""
        if not isinstance(planned, Plan):
            # A command that was served in time, and delivered again too late, still has its answer.
            late = self._plan_of_expired(command, planned)
            if late is None:
                return UNCLAIMED
            planned = late
        try:
            key = self._key(planned)
        except CommandFailed as error:
            return error
        owner = _owner(delivery, command)
        found = await self._asked(
            lambda: self.store.claim(key, owner=owner, lease_s=self.lease_s), delivery, command, "idempotency_waits"
        )
        match found:
            case Granted(token):
                return Claim(key, token)
            case Taken(lease_s):
                return Wait(self._look_again_s(lease_s))
            case Wait() if self._opens:
                self.instance.figures.unprotected += 1
                return UNCLAIMED
        return found

    async def settle(
        self,
        held: Claim,
        delivery: Delivery,
        command: OnexEnvelope,
        messages: Sequence[Message],
        leaving: asyncio.Event,
    ) -> None:
        """Record an answer before it is published; one that is also a dead letter frees its key, for a redrive.

        While the store is away this waits, with the effect done, until `leaving` is set: then the answer goes out
        unrecorded, for dropping it would have the effect repeated for certain.
        """
        if held.token is None:
            return
        if len(messages) > 1:
            await self.release(held, delivery, command)
            return
        answer = messages[0].value or b""
        while True:
            found = await self._asked(
                lambda: self.store.record(
                    held.key, owner=_owner(delivery, command), answer=answer, window_s=self.terms.window_s
                ),
                delivery,
                command,
                "answer_not_recorded",
            )
            if not isinstance(found, Wait):
                break
            if self._opens or await is_set_within(leaving, found.seconds):
                self.instance.figures.unprotected += 1
                return
        if not found:
            lost = OnexError("its claim was over, and another command has its key")
            self.instance.warn("idempotency_claim_lost", lost, delivery, command)

    async def release(self, held: Claim, delivery: Delivery, command: OnexEnvelope) -> None:
        """Free the key, if the store can be asked; else it is free when the lease is over."""
        if (token := held.token) is not None:
            await self._asked(
                lambda: self.store.release(held.key, token=token), delivery, command, "idempotency_claim_not_released"
            )

    @property
    def _opens(self) -> bool:
        return self.terms.on_store_failure is OnStoreFailure.OPEN

    def _plan_of_expired(self, command: OnexEnvelope, error: CommandFailed | CommandRejected) -> Plan | None:
        if error.code != "expired":
            return None
        try:
            return plan(self.instance.node, command, now=_LONG_AGO)
        except (CommandFailed, CommandRejected):
            return None

    def _key(self, planned: Plan) -> str:
        """Return the key as the store knows it, of bounded length. Raises CommandFailed for one that is none."""
        template = planned.operation.idempotency_key
        value = None if template is None else template(planned.scope)
        return store_key(self.scope, planned.operation.name, value)

    def _look_again_s(self, lease_s: float) -> float:
        """Wait half as long as the other has had the key by now: often at first, then ever more rarely."""
        had_s = max(0.0, self.lease_s - lease_s)
        return max(min(had_s / 2, _LOOK_MOST_S, lease_s), _LEAST_S)

    async def _asked(
        self, question: Callable[[], Awaitable[T]], delivery: Delivery, command: OnexEnvelope, trouble: str
    ) -> T | Wait:
        """Ask the store once, and tell its breaker how that went; give how long to wait where it gives nothing."""
        clock = self.instance.clock
        if not self.breaker.admits(clock.monotonic_s()):
            away = StoreFailed("the store failed before, and is left alone for a while")
            self.instance.warn(trouble, away, delivery, command)
            return Wait(max(self.breaker.next_probe_s(clock.monotonic_s()), _LEAST_S))
        with self.breaker.admitted(clock.monotonic_s) as call:
            try:
                answer = await question()
            except Exception as error:  # noqa: BLE001 - a store's bug ends neither the host nor its nodes
                call.well = False
                failure = error if isinstance(error, StoreFailed) else StoreFailed(f"{type(error).__name__}: {error}")
                self.instance.warn(trouble, failure, delivery, command)
                return Wait(_AGAIN_S)
            call.well = True
            return answer


def store_key(scope: str, operation: str, value: Any) -> str:
    """Return the key under which a store knows a value. Raises CommandFailed for one that is neither text nor number.

    Equal numbers are one key, however they are written; a number and its digits as text are two.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        shown = type(value).__name__ if value != "" else "empty text"
        raise CommandFailed("idempotency_key_invalid", f"idempotency.key gave {shown}, expected text or a number")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{scope}/{operation}/{sha256(json.dumps(value).encode()).hexdigest()}"


def _owner(delivery: Delivery, command: OnexEnvelope) -> str:
    topic, number = delivery.partition
    return f"{command.envelope_id} {topic}[{number}]@{delivery.offset}"
