"""One command to its end: attempts, the waits between them, and the circuit breaker in front of the handler's target.

Where the node has idempotency, the command claims its key before each attempt, and its answer is recorded.

What waits here holds back its own lane and no other, and has one of its node's places only while the handler works.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from omnibase_core.contracts.node import OnRetry
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, TargetBusy
from omnibase_core.idempotency import UNCLAIMED, Held, Once, Wait
from omnibase_core.instance import NodeInstance
from omnibase_core.leaving import is_set_within
from omnibase_core.logic import Plan
from omnibase_core.overtaking import Tried, put_aside
from omnibase_core.policies import RetryPolicy
from omnibase_core.ports import Clock, Delivery, Message, Recorded

_NEVER = Tried()
_IN_PLACE_S = 1.0
"""For how long a command that may be overtaken is retried in its place."""
_PROBE_LEAST_S = 0.05
_CHANCE_BITS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Serves the commands of one node, one by one, for as long as each takes. `places` bounds the calls under way."""

    instance: NodeInstance
    policy: RetryPolicy
    deadline_s: float
    retries: str | None
    """The topic on which a command is put aside; None where its lane waits for it."""
    places: asyncio.Semaphore
    clock: Clock
    once: Once | None = None
    """What lets an effect happen once a key; None for a node without idempotency."""

    @classmethod
    def of(cls, instance: NodeInstance, clock: Clock, retries: str, once: Once | None = None) -> Self:
        """Serve a node as its contract says; `retries` is its pool's retry topic."""
        delivery = instance.node.contract.delivery
        return cls(
            instance=instance,
            policy=delivery.retry.policy,
            deadline_s=delivery.deadline_s,
            retries=retries if delivery.on_retry is OnRetry.OVERTAKE else None,
            places=asyncio.Semaphore(delivery.max_in_flight),
            clock=clock,
            once=once,
        )

    async def serve(
        self, delivery: Delivery, leaving: asyncio.Event, tried: Tried | None = None
    ) -> Sequence[Message] | None:
        """Give the messages that end the delivery; None if its partition leaves before an attempt has ended it.

        `tried` is what happened to it before, if it was put aside: it is not served before it is due. A wait ends at
        once when `leaving` is set; an attempt that is under way ends by itself. Cancelling is no result.
        """
        command = self.instance.decode(delivery)
        if not isinstance(command, OnexEnvelope):
            return command
        tried = tried or _NEVER
        attempt, first_failed_at = tried.attempts, tried.first_failed_at
        spent_s = self._since_s(first_failed_at)
        if tried.due is not None and await is_set_within(leaving, -self._since_s(tried.due)):
            return None
        while True:
            planned = self.instance.prepare(command)
            claim = UNCLAIMED if self.once is None else await self.once.claim(delivery, command, planned)
            if isinstance(claim, Wait):
                if await is_set_within(leaving, claim.seconds):
                    return None
                continue
            if isinstance(claim, Recorded):
                return self.instance.replay(delivery, command, claim.answer)
            if isinstance(claim, CommandFailed):
                planned, claim = claim, UNCLAIMED
            if not isinstance(planned, Plan):
                await self._release(claim, delivery, command)
                return self.instance.give_up(
                    delivery, command, planned, attempts=max(attempt, 1), first_failed_at=first_failed_at
                )
            breaker = self.instance.breaker
            if not breaker.admits(self.clock.monotonic_s()):
                # What has expired by the time the target is well again is not served: so everything is looked at anew.
                wait_s = max(breaker.next_probe_s(self.clock.monotonic_s()), _PROBE_LEAST_S)
                if await is_set_within(leaving, wait_s):
                    return None
                continue
            began_s = self.clock.monotonic_s()
            outcome = await self._attempt(delivery, command, planned, leaving)
            if outcome is None:
                return None
            if isinstance(outcome, TargetBusy):
                # The target was not asked: it is no attempt, and the command waits as it does for a breaker.
                if await is_set_within(leaving, max(outcome.retry_after_s or 0.0, _PROBE_LEAST_S)):
                    return None
                continue
            attempt += 1
            spent_s += self.clock.monotonic_s() - began_s
            if not isinstance(outcome, CommandFailed | CommandRejected):
                return await self._settled(claim, delivery, command, outcome, leaving)
            first_failed_at = first_failed_at or self.clock.now()
            delay_s = self._delay_s(outcome, command, attempt)
            if delay_s is None or spent_s + delay_s > self.deadline_s:
                messages = self.instance.give_up(
                    delivery, command, outcome, attempts=attempt, first_failed_at=first_failed_at
                )
                return await self._settled(claim, delivery, command, messages, leaving)
            self.instance.retry(delivery, command, outcome, attempt=attempt, delay_s=delay_s)
            spent_s += delay_s
            if self.retries is not None and spent_s > _IN_PLACE_S:
                due = self.clock.now() + timedelta(seconds=delay_s)
                return [
                    put_aside(delivery, topic=self.retries, attempts=attempt, first_failed_at=first_failed_at, due=due)
                ]
            if await is_set_within(leaving, delay_s):
                return None

    def _since_s(self, moment: datetime | None) -> float:
        return 0.0 if moment is None else (self.clock.now() - moment).total_seconds()

    async def _settled(
        self,
        held: Held,
        delivery: Delivery,
        command: OnexEnvelope,
        messages: Sequence[Message],
        leaving: asyncio.Event,
    ) -> Sequence[Message]:
        """Record what the command ended with, before anybody publishes it."""
        if self.once is not None:
            await self.once.settle(held, delivery, command, messages, leaving)
        return messages

    async def _release(self, held: Held, delivery: Delivery, command: OnexEnvelope) -> None:
        if self.once is not None:
            await self.once.release(held, delivery, command)

    async def _attempt(
        self, delivery: Delivery, command: OnexEnvelope, planned: Plan, leaving: asyncio.Event
    ) -> Sequence[Message] | CommandFailed | CommandRejected | None:
        """Make one attempt that was admitted, and tell the breaker how it ended."""
        period = self.instance.breaker.period
        ended = False
        try:
            async with self.places:
                if leaving.is_set():
                    return None
                outcome = await self.instance.attempt(delivery, command, planned)
            ended = not isinstance(outcome, TargetBusy)
        finally:
            if not ended:
                self.instance.breaker.cancelled(period=period)
        if isinstance(outcome, TargetBusy):
            return outcome
        if isinstance(outcome, CommandFailed) and outcome.tells_of_trouble:
            self.instance.breaker.failed(self.clock.monotonic_s(), period=period)
        else:
            self.instance.breaker.succeeded(self.clock.monotonic_s(), period=period)
        return outcome

    def _delay_s(self, error: CommandFailed | CommandRejected, command: OnexEnvelope, attempt: int) -> float | None:
        """Seconds until the next attempt; None where there is none."""
        if isinstance(error, CommandRejected):
            return None
        if not self.policy.is_retried(error.code, retryable=error.retryable, attempt=attempt):
            return None
        return self.policy.delay_s(attempt, chance=_chance(command, attempt), retry_after_s=error.retry_after_s)


def _chance(command: OnexEnvelope, attempt: int) -> float:
    """A number from 0 up to 1 that differs from command to command and needs no dice: a replay waits as long."""
    return (command.envelope_id.int * (2 * attempt + 1) >> 8) % (1 << _CHANCE_BITS) / (1 << _CHANCE_BITS)
