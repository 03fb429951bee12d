"""Threads whose calls may never return: what was given up does nothing more, and nobody waits for it."""

import asyncio
import subprocess
import sys
import threading

import pytest

from omnibase_infra.kafka.watchdog import CallHangs, GuardedThread, bounded

_HANGS = """
import asyncio, threading
from omnibase_infra.kafka.watchdog import bounded
print(asyncio.run(bounded("close", threading.Event().wait, within_s=0.1)))
"""


def test_a_thread_that_was_given_up_begins_no_other_call() -> None:
    """Its call returns at last, and it lets go of what it has, and ends."""
    free, ended, calls = threading.Event(), threading.Event(), list[str]()

    async def scenario() -> None:
        thread = GuardedThread("test", call_s_max=0.3, at_end=ended.set)

        def work() -> None:
            thread.call("first", free.wait)
            thread.call("second", lambda: calls.append("second"))

        with pytest.raises(CallHangs, match="has not come back from first"):
            await thread.run(work)
        assert not ended.is_set()
        free.set()
        assert await asyncio.to_thread(ended.wait, 10)

    asyncio.run(scenario())
    assert calls == []


def test_work_of_many_short_calls_may_take_longer_than_one_call() -> None:
    """The bound is that of a single call. What a call raises reaches the loop."""

    async def scenario() -> None:
        thread = GuardedThread("test", call_s_max=1)

        def work() -> int:
            return sum(thread.call("wait", lambda: threading.Event().wait(0.3) or 1) for _ in range(6))

        assert await thread.run(work) == 6
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: thread.call("divide", lambda: 1 // 0))
        assert await thread.end(within_s=10)

    asyncio.run(scenario())


def test_a_call_that_hangs_keeps_no_process_alive() -> None:
    """The interpreter exits while the call is still under way."""
    done = subprocess.run([sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_bounded_work_is_waited_for() -> None:
    """And it is said that it came to its end."""
    assert asyncio.run(bounded("close", lambda: None, within_s=10))
