"""The store that the hosts of a history share, and the witness of what happens for each key."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from omnibase_core.codec import decode
from omnibase_core.engine.memory_store import MemoryStore
from omnibase_core.errors import StoreFailed
from omnibase_core.idempotency_store import Granted, Recorded, Taken
from omnibase_core.testing.virtual_time import Dice, VirtualClock
from tests.simulation.invariants import Invariants

ORDERS = 8
"""How many keys the commands of a history share."""


def order_of(number: int) -> int:
    """Describe which order a command is for, by its number."""
    return number * 7919 % ORDERS


class WatchedStore:
    """An IdempotencyStore that is slow, and fails now and then: before it does what it is asked, or afterwards.

    Once an answer is recorded for an order, no effect of another command for it begins; what is recorded tells of an
    effect that has happened; and while one command's effect is under way, none of another of the order begins. A
    command that two hosts have, because one does not know yet that it has lost it, may have its effect on both.
    """

    def __init__(self, dice: Dice, invariants: Invariants) -> None:
        """Start with nothing recorded."""
        self._inner = MemoryStore(VirtualClock().monotonic_s)
        self._dice = dice
        self._invariants = invariants
        self._fails = dice.choice((0.0, 0.0, 0.1, 0.3))
        self._recorded: dict[int, set[int]] = {}
        self._happened: set[int] = set()
        self._under_way: dict[int, list[int]] = {}

    def heal(self) -> None:
        """Fail no more."""
        self._fails = 0.0

    async def effect(self, order: int, number: int, work: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Let a command have its effect, and note that it has."""
        if others := self._recorded.get(order, set()) - {number}:
            self._invariants.violated(f"second effect: order {order} by command {number}, recorded by {others}")
        under_way = self._under_way.setdefault(order, [])
        if any(other != number for other in under_way):
            self._invariants.violated(f"two effects at once: order {order}, by commands {number} and {under_way}")
        under_way.append(number)
        try:
            result = await work
        finally:
            under_way.remove(number)
        self._happened.add(number)
        self._invariants.counts["effects once"] += 1
        return result

    async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
        """Claim, after a while."""
        await self._way()
        found = await self._inner.claim(key, owner=owner, lease_s=lease_s)
        await self._way()
        self._invariants.counts["replays"] += isinstance(found, Recorded)
        self._invariants.counts["keys taken"] += isinstance(found, Taken)
        return found

    async def record(self, key: str, /, *, owner: str, answer: bytes, window_s: float) -> bool:
        """Record, after a while, and look whether what is recorded has happened."""
        await self._way()
        done = await self._inner.record(key, owner=owner, answer=answer, window_s=window_s)
        if done:
            self._note(answer)
        await self._way()
        return done

    async def release(self, key: str, /, *, token: int) -> None:
        """Release, after a while."""
        await self._way()
        await self._inner.release(key, token=token)
        await self._way()

    def _note(self, answer: bytes) -> None:
        said = decode(answer)
        assert said.causation_id is not None
        number = said.causation_id.int
        if number not in self._happened:
            self._invariants.violated(f"recorded too early: command {number}, whose effect has not happened")
        recorded = self._recorded.setdefault(order_of(number), set())
        recorded.add(number)
        self._invariants.counts["records"] += 1
        if len(recorded) > 1:
            self._invariants.violated(f"recorded twice: order {order_of(number)}, by commands {recorded}")

    async def _way(self) -> None:
        await asyncio.sleep(self._dice.between(0, 0.02))
        if self._dice.chance(self._fails):
            raise StoreFailed("the simulated store fails")
