"""The handlers of a history: one that awaits and one that is pure, which do as each command says."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from omnibase_core.errors import HandlerError, PublishFailed
from omnibase_core.ports import HandlerCall, Message, Outlet
from omnibase_core.testing.virtual_time import Dice
from tests.simulation.invariants import PUBLISHING, RECORDS, Invariants
from tests.simulation.store import WatchedStore

IN_FLIGHT_MAX = {"keyed": 4, "lined": 3, "loose": 5, "once": 4, "over": 4, "also": 4}
"""How many commands of a node may be under way."""


class OwnBaseException(BaseException):
    """What somebody derived from the root of all exceptions."""


class Escaping(HandlerError):
    """An error that ends whatever asks it for its code."""

    def __getattribute__(self, name: str) -> Any:
        """Fail."""
        if name == "code":
            raise LookupError("nobody knows")
        return super().__getattribute__(name)


class Unprintable(Exception):
    """An error that cannot even be told."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError("no text")


def misbehave(way: str) -> NoReturn:
    """Raise what Python can raise."""
    match way:
        case "exit":
            raise SystemExit
        case "interrupt":
            raise KeyboardInterrupt
        case "generator_exit":
            raise GeneratorExit
        case "cancelled":
            raise asyncio.CancelledError
        case "own_base":
            raise OwnBaseException("mine")
        case "unprintable":
            raise Unprintable
        case "escapes":
            raise Escaping("busy", "try again")
        case "stop_iteration":
            raise StopIteration
        case "recursion":
            raise RecursionError
    raise AssertionError(way)


class Pure:
    """An inline handler: it has its answer at hand."""

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Behave as the command says."""
        request = call.request.model_dump()
        match request["way"]:
            case "well":
                return {"n": request["n"]}
            case "for_good":
                raise HandlerError("no_such_thing", "do not try again")
            case "large":
                return {"blob": "x" * 2900}
            case "full":
                return {"blob": "x" * 2200}
        misbehave(request["way"])


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
        lane = f"{request['node']}/{request['key']}" if request["node"] == "keyed" and request["key"] else ""
        in_line = call.outlet is None or not call.outlet.depth
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
            case "for_good":
                raise HandlerError("no_such_thing", "do not try again")
            case "large":
                return {"blob": "x" * 2900}
            case "full":
                return {"blob": "x" * 2200}
            case "declined":
                return {"said": "no"}
            case "well" | "unknown":
                pass
            case way:
                misbehave(way)
        return {"n": request["n"]}
