"""What handlers were asked and how it went: figures by handler, target and operation."""

import time
from asyncio import CancelledError
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from omnibase_core.errors import HandlerError
from omnibase_core.ports import Handler, HandlerCall

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Each call counts to the first of these that it did not outlast."""
OK = "ok"


class CallLabels(NamedTuple):
    """What was asked of whom. A handler without targets has the target ""."""

    handler: str
    target: str
    operation: str


@dataclass(slots=True)
class CallFigures:
    """How calls of one kind went, and how long they took, the wait for their turns included."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """`ok`, or the code of the error; `cancelled` where nobody waited for the end."""
    seconds: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    """How many calls count to each of BOUNDS_S, and how many took longer."""

    def note(self, outcome: str, *, seconds: float) -> None:
        """Count one call."""
        self.outcomes[outcome] += 1
        self.seconds += seconds
        self.within[bisect_left(BOUNDS_S, seconds)] += 1


class MeasuredHandler:
    """Does what a handler does, and counts it. A Handler."""

    def __init__(self, handler: Handler, figures: dict[CallLabels, CallFigures]) -> None:
        """Keep the handler, and where its figures go."""
        self._handler = handler
        self._figures = figures

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the call."""
        began_s, outcome = time.perf_counter(), "internal_error"
        try:
            result = await self._handler.execute(call)
            outcome = OK
        except HandlerError as error:
            outcome = error.code
            raise
        except CancelledError:
            outcome = "cancelled"
            raise
        finally:
            # A named tuple at a third of what calling its class takes: this is done for each call.
            asked = tuple.__new__(CallLabels, (call.handler_type, call.target or "", call.operation))
            figures = self._figures.get(asked) or self._figures.setdefault(asked, CallFigures())
            figures.note(outcome, seconds=time.perf_counter() - began_s)
        return result
