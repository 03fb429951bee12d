"""Functions are watched while they run: what reading cannot see, or did not, fails the command with its place."""

import asyncio
import sys
import threading
import time
from typing import Any
from uuid import UUID

import pytest

from omnibase_core.errors import CommandFailed, ImpureFunction
from omnibase_core.handlers.compute import FunctionCall
from omnibase_core.ports import HandlerCall, PureFunction
from omnibase_infra.demo.scoring import score_lead
from omnibase_infra.functions.budget import alarm_budget
from omnibase_infra.functions.purity.findings import Impurity
from omnibase_infra.functions.purity.guard import Guard
from omnibase_infra.host.plugins import handler_factories
from tests.infra.functions.purity import impure, pure
from tests.infra.functions.purity.samples import ARGUMENT, REFUSED, nodes_of

GUARD = Guard()
LEAD = {"company_size": 250, "visits": 7, "industry": "energy"}


def watched(function: PureFunction) -> Any:
    """Call a function under the guard."""
    return GUARD.guarded(function, name="sample")(dict(ARGUMENT))


@pytest.mark.filterwarnings("ignore:coroutine")  # nobody awaits what an async function gives
@pytest.mark.parametrize("name", [name for name, refusal in REFUSED.items() if refusal.guarded])
def test_an_impure_function_is_caught(name: str) -> None:
    """Before it has done anything: no file is read, no server asked, no process started."""
    with pytest.raises(ImpureFunction) as caught:
        watched(nodes_of(impure)[name])
    assert caught.value.code == "impure_function"
    assert not caught.value.retryable
    assert str(caught.value).startswith("sample: ")
    assert sys.getprofile() is None


@pytest.mark.parametrize("name", nodes_of(pure))
def test_a_pure_function_is_left_alone(name: str) -> None:
    """Its result is what it is without the guard."""
    function = nodes_of(pure)[name]
    assert watched(function) == function(dict(ARGUMENT))


def test_the_place_and_the_advice_are_told() -> None:
    """The line of the node's own code, and what to use instead."""
    with pytest.raises(ImpureFunction) as caught:
        watched(impure.environment_alias)
    line = impure.environment_alias.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        f"sample: {impure.__file__}:{line}: os._Environ.__getitem__; settings are inputs: write them into the "
        "contract's request, or send them in the payload"
    )
    assert caught.value.details == {"impurity": Impurity.ENVIRONMENT}


def test_what_is_swallowed_is_told_all_the_same() -> None:
    """A function that catches everything hides nothing."""

    def stubborn(_: Any) -> str:
        try:
            return str(time.time())
        except BaseException:  # noqa: BLE001 - the stubbornness itself
            return "nothing to see"

    with pytest.raises(ImpureFunction, match=r"time\.time"):
        watched(stubborn)


def test_a_changed_argument_is_told() -> None:
    """The contract's answer may read the payload after the function."""
    with pytest.raises(ImpureFunction, match="it changed its argument"):
        watched(lambda argument: argument.pop("n"))


def test_what_the_function_raises_is_its_own() -> None:
    """A bug is no impurity."""
    with pytest.raises(ZeroDivisionError):
        watched(lambda _: 1 // 0)
    assert sys.getprofile() is None


def test_what_other_threads_do_meanwhile_is_not_watched() -> None:
    """The host's own threads read clocks and sockets all the time."""
    done: list[float] = []
    begun: list[bool] = []

    def beside() -> None:
        while not begun:
            time.sleep(0.001)
        done.append(time.time())

    def waits(_: Any) -> int:
        begun.append(True)
        while not done:
            pass
        return 1

    thread = threading.Thread(target=beside)
    thread.start()
    assert watched(waits) == 1
    thread.join(10)


def test_a_budget_interrupts_what_is_watched() -> None:
    """The guard is off again afterwards."""

    def spin(_: Any) -> None:
        while True:
            pass

    with alarm_budget() as budget, pytest.raises(TimeoutError):
        budget.bounded(lambda: GUARD.guarded(spin, name="sample")({}), 0.05)
    assert sys.getprofile() is None
    assert time.time() > 0


def test_a_budget_that_ends_while_a_call_is_judged_is_no_impurity() -> None:
    """A function that calls others all the time is interrupted in the guard's own code, and that is what is told."""

    def calls(_: Any) -> None:
        while True:
            sum(n * n for n in range(1000))

    with alarm_budget() as budget:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                budget.bounded(lambda: GUARD.guarded(calls, name="sample")({}), 0.01)
    assert sys.getprofile() is None
    assert time.time() > 0


@pytest.mark.parametrize("strict", [True, False])
def test_a_strict_host_watches_functions(strict: bool) -> None:  # noqa: FBT001 - the one parameter of the test
    """The compute handler of a strict host refuses what that of another runs, on the loop and in a worker."""
    call = HandlerCall(
        handler_type="compute",
        operation="call",
        request=FunctionCall(function="tests.infra.functions.purity.impure:clock", argument={}, budget_s=5),
        target=None,
        timeout_s=5,
        call_id=UUID(int=1),
    )

    async def scenario() -> None:
        factory = handler_factories(strict=strict)["compute"]
        async with factory.open(settings=factory.description.settings(), targets={}) as opened:
            handler: Any = opened
            if not strict:
                assert handler.execute_inline(call)["at"] > 0
                return
            with pytest.raises(ImpureFunction) as inline:
                handler.execute_inline(call)
            with pytest.raises(CommandFailed) as isolated:
                await handler.execute(call)
            assert (isolated.value.code, str(isolated.value)) == ("impure_function", str(inline.value))

    asyncio.run(scenario())


def test_the_examples_run_under_the_guard() -> None:
    """They are what a user copies."""
    assert GUARD.guarded(score_lead, name="sample")(LEAD) == score_lead(LEAD)
