"""An asyncio event loop in virtual time: it waits for nothing, opens nothing, and a seed decides who runs first.

The style is that of FoundationDB and TigerBeetle: with time, order and faults drawn from one seed, a run that found a
fault can be had again as often as it takes to understand it.
"""

import asyncio
import gc
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, MutableSequence, Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_MASK = 2**64 - 1


class Dice:
    """Seeded random numbers: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        """Start the sequence of a seed."""
        self._state = seed & _MASK

    def bits(self) -> int:
        """Return 64 random bits."""
        self._state = mixed = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, bound: int) -> int:
        """Return a whole number from 0 up to, not including, the bound."""
        return (self.bits() * bound) >> 64

    def between(self, low: float, high: float) -> float:
        """Return a number from `low` up to `high`."""
        return low + (high - low) * (self.bits() >> 11) * 2.0**-53

    def chance(self, share: float) -> bool:
        """Return true in this share of the cases."""
        return self.between(0, 1) < share

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.below(len(options))]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put the items into a random order."""
        for index in range(len(items) - 1, 0, -1):
            other = self.below(index + 1)
            items[index], items[other] = items[other], items[index]

    def fork(self) -> "Dice":
        """Return dice of their own to a part of the simulation."""
        return Dice(self.bits())


class SimulationStuck(RuntimeError):
    """Nothing is ready and no timer is set, or turn follows turn and the time stands still."""


class VirtualClock:
    """The running loop's time as a Clock."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Take which moment the loop's time 0 is."""
        self._start = start

    def now(self) -> datetime:
        """Return the moment."""
        return self._start + timedelta(seconds=self.monotonic_s())

    def monotonic_s(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """Runs what is ready in an order that the dice decide; when nothing is, its time jumps to the next timer.

    asyncio itself promises the order of `call_soon`: code that holds under this loop does not lean on that promise.
    Raises SimulationStuck when nothing can ever happen again, or after `turns_max` turns at the same moment.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, dice: Dice, *, turns_max: int = 100_000) -> None:
        """Start at time 0."""
        super().__init__()
        self._dice = dice
        self._now_s = 0.0
        self._turns = 0
        self._turns_max = turns_max
        self._numbers = count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.set_task_factory(self._numbered)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_s

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer. Timers of the same moment are numbered, so that their order does not depend on the heap."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _run_once(self) -> None:
        """Take one turn. Overrides the one method of asyncio's loop that waits."""
        timers, ready = self._timers, self._ready
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:
            self._jump()
        while timers and timers[0][0] <= self._now_s:
            ready.append(heapq.heappop(timers)[2])
        turn = list(ready)
        self._turns += 1
        if self._turns > self._turns_max:
            self._turns = 0
            raise SimulationStuck(f"the time stands still at {self._now_s:.3f} s; among what is next: {turn[:3]}")
        ready.clear()
        if len(turn) > 1:
            self._dice.shuffle(turn)
        for handle in turn:
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - as asyncio's own loops do

    def _jump(self) -> None:
        if not self._timers:
            waiting = sorted(repr(task) for task in asyncio.all_tasks(self))
            raise SimulationStuck(f"nothing is ready and no timer is set; for ever waits {'; '.join(waiting)}")
        if (when := self._timers[0][0]) > self._now_s:
            self._now_s = when
            self._turns = 0

    def _process_events(self, event_list: Sequence[object]) -> None:
        """There is no I/O, so there are no events of it."""

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""

    def _numbered(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        return _NumberedTask(work, loop=loop, number=next(self._numbers), **options)


class _NumberedTask(asyncio.Task[T]):
    """A task whose place in a set does not depend on where it lies in memory: that would differ from run to run."""

    def __init__(self, work: Coroutine[Any, Any, T], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self._number


def run(work: Coroutine[Any, Any, T], *, seed: int) -> T:
    """Run a coroutine to its end in virtual time, as `asyncio.run` does in real time.

    The collector of cycles rests meanwhile: it would run at a moment that depends on what was run before.
    """
    loop: Any = VirtualTimeLoop
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=lambda: loop(Dice(seed)), debug=False) as runner:
            return runner.run(work)
    finally:
        if was_collecting:
            gc.enable()


class FixedClock:
    """Stands at a moment until it is advanced."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Start at an aware moment."""
        self._now = start
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        """Return the moment at which the clock stands."""
        return self._now

    def monotonic_s(self) -> float:
        """Return the seconds by which the clock was advanced."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds
