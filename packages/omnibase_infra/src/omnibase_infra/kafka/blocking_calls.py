"""What a thread that calls into the Kafka client is waiting for, as other threads see it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 3.0


class BlockingCalls:
    """Notes each call of one thread into the client. Most calls have no time-out, and a client may not come back."""

    def __init__(self) -> None:
        """Wait for nothing."""
        self._stack: tuple[tuple[str, float], ...] = ()

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Record that the thread waits for something. The innermost counts: a call may call back."""
        before = self._stack
        self._stack = (*before, (name, time.monotonic()))
        try:
            yield
        finally:
            self._stack = before

    @property
    def current(self) -> tuple[str, float] | None:
        """What the thread waits for, and since when in monotonic time."""
        stack = self._stack
        return stack[-1] if stack else None

    def longer_than(self, patience_s: float = PATIENCE_S) -> str | None:
        """Describe what the thread has been waiting for, if for so long."""
        if (current := self.current) is None:
            return None
        waited_s = time.monotonic() - current[1]
        return f"{current[0]} for {waited_s:.0f} s" if waited_s > patience_s else None
