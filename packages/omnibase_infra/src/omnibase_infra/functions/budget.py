"""Interrupts pure functions that run for too long: the interval timer of the process, on the loop's thread.

Between two instructions of Python the function is cut off, wherever it is. What never comes back to Python (a regular
expression gone wild, a huge power) cannot be interrupted in this way: that takes a worker process, which can be killed.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_AGAIN_S = 0.01
"""A function that swallows everything is interrupted again and again."""


class _BudgetSpent(BaseException):
    """Not an Exception: a function that catches those is interrupted too."""


class AlarmBudget:
    """Bounds work by SIGALRM. A Budget."""

    def __init__(self) -> None:
        """Bound nothing yet."""
        self._working = False

    def bounded(self, work: Callable[[], T], seconds: float, /) -> T:
        """Do the work. Raises TimeoutError when it was interrupted."""
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
                self._working = True
                return work()
            finally:
                self._working = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _BudgetSpent as spent:
            self._working = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise TimeoutError(f"interrupted after {seconds:g} s") from spent

    def alarm(self, _number: int, _frame: FrameType | None) -> None:
        """Interrupt the work, unless it has just ended. The handler of the signal."""
        if self._working:
            raise _BudgetSpent


@contextmanager
def alarm_budget() -> Iterator[AlarmBudget]:
    """Yield a budget for as long as the context is open; it takes the process's SIGALRM. On the main thread only."""
    budget = AlarmBudget()
    before = signal.signal(signal.SIGALRM, budget.alarm)
    try:
        yield budget
    finally:
        signal.signal(signal.SIGALRM, before)
