"""The handlers of a history, and its function: one that awaits and two that are pure do as each command says."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from omnibase_core.errors import HandlerError, PublishFailed
from omnibase_core.ports import HandlerCall, Message, Outlet
from omnibase_core.testing.virtual_time import Dice
from tests.simulation.invariants import PUBLISHING, RECORDS, Invariants
from tests.simulation.store import WatchedStore
from tests.support.raised import GIVEN, ODD, RAISED, Escaping

T = TypeVar("T")

IN_FLIGHT_MAX = {"keyed": 4, "lined": 3, "loose": 5, "once": 4, "over": 4, "also": 4}
"""How many commands of a node may be under way."""
_PATIENT = frozenset({"slow", "hang", "retryable", "cancels"})
"""What a handler that awaits does before it does well."""


class Overran(BaseException):
    """What interrupts a function that takes longer than its budget."""


class Budget:
    """Bounds functions as a host does: by an exception that arrives in the midst of them."""

    def bounded(self, work: Callable[[], T], _: float, /) -> T:
        """Do the work. Raises TimeoutError when it overran."""
        try:
            return work()
        except Overran as overran:
            raise TimeoutError from overran


class NoWorkers:
    """Runs nothing: no node of a history is isolated."""

    async def call(self, function: str, argument: Any, /, *, budget_s: float) -> Any:
        """Fail."""
        raise AssertionError(f"{function}({argument!r}), {budget_s} s")


def called(argument: Any) -> Any:
    """Do as the command says: the function of a compute node."""
    match argument["way"]:
        case "overruns":
            raise Overran
        case way:
            return act(way, argument["n"])


def act(way: str, number: int) -> Any:
    """Return, or raise, what somebody may: the part of a command that is told at once."""
    match way:
        case "well" | "unknown":
            return {"n": number}
        case "for_good":
            raise HandlerError("no_such_thing", "do not try again")
        case "large":
            return {"blob": "x" * 2900}
        case "full":
            return {"blob": "x" * 2200}
        case "declined":
            return {"said": "no"}
        case "escapes":
            raise Escaping("busy", "try again")
    if (give := GIVEN.get(way)) is not None:
        return give()
    error = (RAISED.get(way) or ODD[way])()
    raise error


class Pure:
    """An inline handler: it has its answer at hand."""

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Behave as the command says."""
        request = call.request.model_dump()
        given: Mapping[str, Any] = act(request["way"], request["n"])
        return given


class Scripted:
    """A handler that does as the command says, and looks at what runs beside it."""

    def __init__(self, dice: Dice, invariants: Invariants, store: WatchedStore) -> None:
        """Start with nothing running."""
        self._dice = dice
        self._store = store
        self._invariants = invariants
        self._running: Counter[str] = Counter()
        self.look: Callable[[], None] = lambda: None

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Behave as scripted, within the bounds that the contract sets."""
        request = call.request.model_dump()
        # Requests are served out of line: they keep to no order, and to no limit of the node's lanes.
        in_line = call.outlet is None or not call.outlet.depth
        if "message" in request:  # It is a stranger's.
            message: Mapping[str, Any] = request["message"]
            return message
        lane = f"{request['node']}/{request['key']}" if request["node"] == "keyed" and request["key"] else ""
        if in_line:
            self._enter(lane, 1)
        self._enter(request["node"], IN_FLIGHT_MAX[request["node"]])
        try:
            self.look()
            await asyncio.sleep(self._dice.between(0, 0.05))
            if request["node"] == "once":
                return await self._store.effect(request["order"], request["n"], self._behave(request))
            result = await self._behave(request)
            if self._invariants.publishing and request["node"] in PUBLISHING:
                await self._publish(call.outlet, request)
            return result
        finally:
            self._running[request["node"]] -= 1
            if in_line:
                self._running[lane] -= 1

    async def _publish(self, outlet: Outlet | None, request: Mapping[str, Any]) -> None:
        assert outlet is not None
        try:
            await outlet.publish(Message(RECORDS, request["key"].encode(), b"%d" % request["n"]))
        except PublishFailed as error:
            raise HandlerError(error.code, str(error), retryable=True) from error

    def _enter(self, what: str, limit: int) -> None:
        self._running[what] += 1
        if what and self._running[what] > limit:
            self._invariants.violated(f"too many at once: {self._running[what]} of {what}, at most {limit}")

    async def _behave(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        match request["way"]:
            case "slow":
                await asyncio.sleep(self._dice.between(0, 1.2))
            case "hang":
                await asyncio.sleep(self._dice.between(0, 5))
            case "retryable":
                if self._dice.chance(0.7):
                    raise HandlerError("busy", "try again", retryable=True)
            case "cancels":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(1)
        given: Mapping[str, Any] = act(request["way"] if request["way"] not in _PATIENT else "well", request["n"])
        return given
