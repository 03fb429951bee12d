"""Shutdown: the one deadline that all phases of a host's end share, and what is said when it passes.

Drain, last commit, leaving the group, closing handlers and store, the last log lines: each of them could wait for
somebody who does not answer. What is still waiting at the deadline is abandoned. That loses nothing: what is not
committed is delivered to the next owner of its partition.
"""

import time
from asyncio import TimerHandle, get_running_loop
from collections.abc import Callable

from omnibase_core.ports import Observer

_AFTER_DRAIN_MAX_S = 2.0
_AFTER_DRAIN_SHARE = 0.2


class Shutdown:
    """When the end of a host has to be over, and which phase it is in.

    Of the whole time a fifth, two seconds at most, is kept for what comes after the drain: half of it for the last
    commit and for leaving the group, half for everything else. `abandon` is called at the deadline and may end the
    process; where it returns, the phases go on as long as they take. Times are monotonic seconds.
    """

    def __init__(self, stop_s: float, *, observer: Observer, abandon: Callable[[], None]) -> None:
        """Keep what is needed; `begin` starts the time."""
        self.phase = ""
        self.in_time = True
        self.begun = False
        self._stop_s = stop_s
        self._kept_s = min(_AFTER_DRAIN_MAX_S, stop_s * _AFTER_DRAIN_SHARE)
        self._observer = observer
        self._abandon = abandon
        self._deadline_s = float("inf")
        self._timer: TimerHandle | None = None

    def begin(self) -> None:
        """Start the time."""
        self.begun = True
        self._deadline_s = time.monotonic() + self._stop_s
        self._timer = get_running_loop().call_later(self._stop_s, self._at_deadline)

    def enter(self, phase: str) -> None:
        """Record what is about to end."""
        self.phase = phase

    def end(self) -> None:
        """Record that everything has ended."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def bus_ends_by(self) -> float:
        """When the bus has to have left its group, whether or not the broker answers."""
        return self._deadline_s - self._kept_s / 2

    def drain_s(self, drain_s: float) -> float:
        """Return for how long commands in flight may go on, of the time that the contract gives them."""
        return max(0.0, min(drain_s, self._deadline_s - self._kept_s - time.monotonic()))

    def passed(self) -> None:
        """Report, once, that the phase did not end in time."""
        if self.in_time:
            self.in_time = False
            meaning = "what is not committed is served again by the next owner of its partition"
            self._observer.event(
                "error", "stop_deadline_passed", phase=self.phase, stop_s=self._stop_s, meaning=meaning
            )

    def _at_deadline(self) -> None:
        self.passed()
        self._abandon()
