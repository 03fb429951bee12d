"""What runs beside the work: it begins again when it fails, and somebody hears of it."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from omnibase_core.testing import RecordingObserver
from omnibase_core.testing.virtual_time import run
from omnibase_infra.background_tasks import Troubles, in_background


class Own(BaseException):
    """What is no Exception, and whose text cannot be had."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: _raise(ValueError("token s3cret is off")), "ValueError: token [...] is off"),
        (lambda: _raise(asyncio.CancelledError()), "CancelledError: "),
        (lambda: _raise(Own()), "Own: (its text cannot be had)"),
        (lambda: None, "Ended: it ended by itself"),
    ],
)
def test_what_fails_is_told_and_begins_again(end: Callable[[], None], reason: str) -> None:
    """However it ends: the first pause is a second, and none is longer than a minute."""
    told, begun_s = RecordingObserver(), list[float]()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        troubles = Troubles(told, redact=lambda text: text.replace("s3cret", "[...]"))
        loop.set_exception_handler(troubles.take)

        async def work() -> None:
            begun_s.append(loop.time())
            end()

        async with in_background("renewal", work):
            await asyncio.sleep(200)
            assert troubles.latest(loop.time()) == {"renewal": reason}
        assert troubles.latest(loop.time() + 301) == {}
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    run(scenario(), seed=1)
    pauses_s = [later - earlier for earlier, later in pairwise(begun_s)]
    assert pauses_s[:3] == pytest.approx([1, 2, 4])
    assert max(pauses_s) == pytest.approx(60)
    assert len(told.named("background_task_failed")) == len(begun_s)


def test_a_task_that_nobody_awaited_is_told() -> None:
    """Whoever began it by another way forgot it; asyncio tells its handler when it is collected."""
    told = RecordingObserver()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Troubles(told, redact=str).take)

        async def lost() -> None:
            raise ValueError("lost")

        task: asyncio.Task[Any] | None = asyncio.create_task(lost(), name="lost")
        await asyncio.sleep(0.01)
        assert task is not None
        assert task.done()
        task = None
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert told.named("background_task_failed") == [{"task": "lost", "reason": "ValueError: lost"}]
