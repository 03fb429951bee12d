"""The deadline of a host's end: what each phase may take, and what happens when it passes."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from omnibase_core.testing import RecordingObserver
from omnibase_infra.host.shutdown import Shutdown


def play(stop_s: float, scenario: Callable[[Shutdown], Awaitable[None]]) -> tuple[RecordingObserver, list[str]]:
    """Run a scenario; return what was said, and the phase in which the host was abandoned, if it was."""
    observer = RecordingObserver()
    abandoned: list[str] = []

    async def whole() -> None:
        stopping = Shutdown(stop_s, observer=observer, abandon=lambda: abandoned.append(stopping.phase))
        await scenario(stopping)

    asyncio.run(whole())
    return observer, abandoned


def test_a_phase_that_hangs_is_named_and_abandoned_at_the_deadline() -> None:
    """Once, and as what it is."""

    async def scenario(stopping: Shutdown) -> None:
        stopping.begin()
        stopping.enter("watches")
        stopping.enter("handler vault")
        await asyncio.sleep(0.5)
        stopping.passed()
        assert not stopping.in_time

    observer, abandoned = play(0.05, scenario)
    assert abandoned == ["handler vault"]
    [event] = observer.named("stop_deadline_passed")
    assert (event["phase"], event["stop_s"]) == ("handler vault", 0.05)


def test_what_ends_in_time_is_not_abandoned() -> None:
    """Nor is anything said."""

    async def scenario(stopping: Shutdown) -> None:
        stopping.begin()
        stopping.enter("bus")
        stopping.end()
        await asyncio.sleep(0.2)
        assert stopping.in_time

    observer, abandoned = play(0.05, scenario)
    assert not abandoned
    assert not observer.named("stop_deadline_passed")


def test_the_drain_has_its_own_time_or_what_the_deadline_leaves_of_it() -> None:
    """A fifth of the whole, two seconds at most, is kept for the last commit and for everything behind it."""

    async def scenario(stopping: Shutdown) -> None:
        stopping.begin()
        now_s = time.monotonic()
        assert stopping.drain_s(3.0) == 3.0
        assert 22.5 < stopping.drain_s(25.0) <= 23.0
        assert 23.5 < stopping.bus_ends_by - now_s <= 24.0
        stopping.end()

    play(25.0, scenario)
