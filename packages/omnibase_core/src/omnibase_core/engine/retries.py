"""One command to its end: attempts, the waits between them, and the circuit breaker in front of the handler's target.

Where the node has idempotency, the command claims its key before each attempt, and its answer is recorded.

What waits here holds back its own lane and no other, and has one of its node's places only while the handler works.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from omnibase_core.contracts.node import OnRetry
from omnibase_core.dead_letters import size_of
from omnibase_core.engine.idempotency import UNCLAIMED, Claim, IdempotencyGuard, Wait
from omnibase_core.engine.instance import NodeInstance
from omnibase_core.engine.logic import Plan, declared
from omnibase_core.engine.response_reservations import ResponseReservations
from omnibase_core.engine.retry_topic import RetryState, retry_message
from omnibase_core.engine.revocation import CommandPosition, is_set_within
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import CommandFailed, CommandRejected, TargetBusy
from omnibase_core.idempotency_store import Recorded
from omnibase_core.policies import RetryPolicy
from omnibase_core.ports import Clock, Delivery, Message
from omnibase_core.semaphore import FairSemaphore

_NEVER = RetryState()
_IN_PLACE_S = 1.0
"""For how long a command that may be overtaken is retried in its place."""
_PROBE_LEAST_S = 0.05
_CHANCE_BITS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Serves the commands of one node, one by one, for as long as each takes. `places` bounds the calls under way."""

    instance: NodeInstance
    policy: RetryPolicy
    deadline_s: float
    topic: str
    """The node's command topic."""
    retries: str | None
    """The topic on which a command waits for its next attempt; None where its lane waits for it."""
    places: FairSemaphore
    clock: Clock
    once: IdempotencyGuard | None = None
    """What lets an effect happen once a key; None for a node without idempotency."""
    room: ResponseReservations | None = None
    """Where there has to be room for an answer before a call begins; None where nothing bounds that."""

    @classmethod
    def of(
        cls, instance: NodeInstance, clock: Clock, *, topic: str, retries: str, once: IdempotencyGuard | None = None
    ) -> Self:
        """Serve a node as its contract says; `retries` is its pool's retry topic."""
        delivery = instance.node.contract.delivery
        return cls(
            instance=instance,
            policy=delivery.retry.policy,
            deadline_s=delivery.deadline_s,
            topic=topic,
            retries=retries if delivery.on_retry is OnRetry.OVERTAKE else None,
            places=FairSemaphore(delivery.max_in_flight),
            clock=clock,
            once=once,
        )

    async def serve(
        self, delivery: Delivery, place: CommandPosition, tried: RetryState | None = None
    ) -> Sequence[Message] | None:
        """Return the messages that end the delivery; None if its partition leaves before an attempt has ended it.

        `tried` is what happened to it before, if it comes from the retry topic: it is not served before it is due. A
        wait ends at once when the partition is leaving; an attempt that is under way ends by itself. Cancelling is no
        result.
        """
        command = self.instance.decode(delivery)
        if not isinstance(command, OnexEnvelope):
            return command
        tried = tried or _NEVER
        trial = _Attempt(delivery, command, place, tried.attempts, tried.first_failed_at, self._spent_s(tried))
        if tried.due is not None and await is_set_within(place.leaving, self._left_s(tried)):
            return None
        while isinstance(step := await self._step(trial), Wait):
            if await is_set_within(place.leaving, step.seconds):
                return None
        return step

    async def _step(self, trial: "_Attempt") -> Sequence[Message] | Wait | None:
        """Go one step: give what ends the delivery, or for how long to wait before everything is looked at anew.

        Anew, since what has expired by the time that a target is well again is not served. None: its partition leaves.
        """
        delivery, command = trial.delivery, trial.command
        planned = self.instance.prepare(command)
        claim = UNCLAIMED if self.once is None else await self.once.claim(delivery, command, planned)
        if isinstance(claim, Wait):
            return claim
        if isinstance(claim, Recorded):
            return self.instance.replay(delivery, command, claim.answer)
        if isinstance(claim, CommandFailed):
            planned, claim = claim, UNCLAIMED
        if not isinstance(planned, Plan):
            await self._release(claim, trial)
            return self._given_up(trial, planned)
        outcome = await self._called(trial, planned)
        if isinstance(outcome, TargetBusy):
            return Wait(max(outcome.retry_after_s or 0.0, _PROBE_LEAST_S))
        if isinstance(outcome, CommandFailed | CommandRejected):
            return await self._failed(trial, claim, planned, outcome)
        return outcome if outcome is None or isinstance(outcome, Wait) else await self._settled(trial, claim, outcome)

    async def _called(
        self, trial: "_Attempt", planned: Plan
    ) -> Sequence[Message] | CommandFailed | CommandRejected | Wait | None:
        """Let the handler act, once there is room for what it brings and its breaker lets it.

        Room comes first: a command that waits for room may need another one to end, which the breaker, or the node's
        places, must not keep from it.
        """
        room, breaker = self.room, self.instance.breaker
        reserved_bytes = 0 if room is None else room.begin(self.topic, trial.place)
        if reserved_bytes is None:
            assert room is not None  # noqa: S101 - narrows the type
            reserved_bytes = await room.enter(self.topic, trial.place)
        size_bytes = 0
        try:
            now_s = self.clock.monotonic_s()
            if not breaker.admits(now_s):
                return Wait(max(breaker.next_probe_s(now_s), _PROBE_LEAST_S))
            outcome = await self._attempt(trial, planned, now_s)
            if room is not None and isinstance(outcome, list):
                size_bytes = sum(map(size_of, outcome))
        finally:
            if room is not None:
                room.leave(self.topic, reserved_bytes, size_bytes)
        return outcome

    async def _attempt(
        self, trial: "_Attempt", planned: Plan, began_s: float
    ) -> Sequence[Message] | CommandFailed | CommandRejected | None:
        """Make one attempt that the breaker admitted."""
        breaker = self.instance.breaker
        period, well = breaker.period, None
        try:
            if not self.places.take():
                await self.places.wait()
            try:
                if trial.place.leaving.is_set():
                    return None
                if trial.command.expires_at is not None and trial.command.expires_at <= self.clock.now():
                    return TargetBusy("it expired while it waited")  # Planned again, it is answered so.
                number = trial.attempts + 1
                outcome = await self.instance.attempt(
                    trial.delivery, trial.command, planned, number=number, closed=trial.place.is_closed
                )
            finally:
                self.places.give_back()
            if isinstance(outcome, TargetBusy):
                return outcome  # the target was not asked: it is no attempt, and the breaker hears nothing of it
            well = not (isinstance(outcome, CommandFailed) and outcome.tells_of_trouble)
        finally:
            ended_s = self.clock.monotonic_s()
            breaker.ended(ended_s, period=period, well=well)
        trial.attempts += 1
        trial.spent_s += ended_s - began_s
        return outcome

    async def _failed(
        self, trial: "_Attempt", claim: Claim, planned: Plan, error: CommandFailed | CommandRejected
    ) -> Sequence[Message] | Wait:
        """Describe what follows a failed attempt: the end, a wait in its place, or one on the retry topic."""
        trial.first_failed_at = trial.first_failed_at or self.clock.now()
        delay_s = self._delay_s(error, trial.command, trial.attempts)
        if delay_s is None or trial.spent_s + delay_s > self.deadline_s:
            return await self._settled(trial, claim, self._given_up(trial, declared(planned, error)))
        self.instance.retry(trial.delivery, trial.command, error, attempt=trial.attempts, delay_s=delay_s)
        trial.spent_s += delay_s
        if self.retries is None or trial.spent_s <= _IN_PLACE_S:
            return Wait(delay_s)
        due = self.clock.now() + timedelta(seconds=delay_s)
        tried = RetryState(trial.attempts, trial.first_failed_at, due, delay_s, trial.spent_s)
        message = retry_message(trial.delivery, tried, topic=self.retries)
        if size_of(message) > self.instance.replies.bytes_max:
            return Wait(delay_s)  # With what is to be known of it, it is too large for the retry topic.
        # What may be overtaken holds up no other command of its key: when it is back, it may find that one's answer.
        await self._release(claim, trial)
        return [message]

    def _given_up(self, trial: "_Attempt", error: CommandFailed | CommandRejected) -> Sequence[Message]:
        attempts, first_failed_at = max(trial.attempts, 1), trial.first_failed_at
        return self.instance.give_up(
            trial.delivery, trial.command, error, attempts=attempts, first_failed_at=first_failed_at
        )

    async def _settled(self, trial: "_Attempt", held: Claim, messages: Sequence[Message]) -> Sequence[Message]:
        """Record what the command ended with, before anybody publishes it."""
        if self.once is not None:
            await self.once.settle(held, trial.delivery, trial.command, messages, trial.place.leaving)
        return messages

    async def _release(self, held: Claim, trial: "_Attempt") -> None:
        if self.once is not None:
            await self.once.release(held, trial.delivery, trial.command)

    def _left_s(self, tried: RetryState) -> float:
        """Seconds until a command is due. The clock by which that was written may differ: no wait gets longer by it."""
        assert tried.due is not None  # noqa: S101 - narrows the type; asked only where it is there
        longest_s = self.policy.max_s if tried.delay_s is None else min(tried.delay_s, self.policy.max_s)
        return min(max(0.0, (tried.due - self.clock.now()).total_seconds()), longest_s)

    def _spent_s(self, tried: RetryState) -> float:
        """Seconds that attempts and waits have taken. Where only a time is known, it is as good as the clocks agree."""
        if tried.spent_s is not None or tried.first_failed_at is None:
            return tried.spent_s or 0.0
        return max(0.0, (self.clock.now() - tried.first_failed_at).total_seconds())

    def _delay_s(self, error: CommandFailed | CommandRejected, command: OnexEnvelope, attempt: int) -> float | None:
        """Seconds until the next attempt; None where there is none."""
        if isinstance(error, CommandRejected):
            return None
        if not self.policy.is_retried(error.code, retryable=error.retryable, attempt=attempt):
            return None
        return self.policy.delay_s(attempt, chance=_chance(command, attempt), retry_after_s=error.retry_after_s)


@dataclass(slots=True)
class _Attempt:
    """A command on its way to its end, and what became of it so far: `spent_s` counts attempts and waits."""

    delivery: Delivery
    command: OnexEnvelope
    place: CommandPosition
    attempts: int
    first_failed_at: datetime | None
    spent_s: float


def _chance(command: OnexEnvelope, attempt: int) -> float:
    """A number from 0 up to 1 that differs from command to command and needs no dice: a replay waits as long."""
    return (command.envelope_id.int * (2 * attempt + 1) >> 8) % (1 << _CHANCE_BITS) / (1 << _CHANCE_BITS)
