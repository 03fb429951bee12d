"""What handlers were asked and how it went, counted."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.call_chain.metrics import BOUNDS_S, CallFigures, CallLabels, MeasuredHandler


class Nothing(BaseModel):
    """A request that asks for nothing."""


class Told:
    """A handler that does what the target's name says."""

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Return a result, fail, break or hang."""
        match call.target:
            case "fails":
                raise HandlerError("down", "as told")
            case "breaks":
                raise ZeroDivisionError
            case "hangs":
                await asyncio.Event().wait()
        return {"ok": True}


def counted(*targets: str) -> dict[CallLabels, CallFigures]:
    """Do calls, each for a moment at most; gives the figures."""
    figures: dict[CallLabels, CallFigures] = {}

    async def scenario() -> None:
        handler = MeasuredHandler(Told(), figures)
        for target in targets:
            call = HandlerCall("told", "do", Nothing(), target or None, 1.0, UUID(int=1))
            try:
                async with asyncio.timeout(0.02):
                    assert await handler.execute(call) == {"ok": True}
            except (HandlerError, ZeroDivisionError, TimeoutError):
                continue

    asyncio.run(scenario())
    return figures


@pytest.mark.parametrize(
    ("target", "outcome"),
    [("", "ok"), ("api", "ok"), ("fails", "down"), ("breaks", "internal_error"), ("hangs", "cancelled")],
)
def test_each_call_is_counted_by_how_it_ended(target: str, outcome: str) -> None:
    """A result, an error by its code, a bug, or nobody who waited."""
    [(asked, figures)] = counted(target, target).items()
    assert asked == ("told", target, "do")
    assert figures.outcomes == {outcome: 2}


def test_calls_are_told_apart_by_their_target() -> None:
    """A target that fails does not spoil the figures of another."""
    figures = counted("api", "fails", "api")
    assert {asked.target: it.outcomes.total() for asked, it in figures.items()} == {"api": 2, "fails": 1}


def test_the_time_of_calls_is_counted() -> None:
    """In all, and by bounds: what took exactly as long as a bound is within it."""
    figures = CallFigures()
    for seconds in (0.001, BOUNDS_S[0], 0.2, 1000.0):
        figures.note("ok", seconds=seconds)
    assert figures.seconds == pytest.approx(1000.206)
    assert (figures.within[0], figures.within[-1], sum(figures.within)) == (2, 1, 4)
    [hung] = counted("hangs").values()
    assert 0.02 <= hung.seconds < 1
