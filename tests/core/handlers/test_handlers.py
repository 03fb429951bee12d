"""The handlers of core: `local` gives back or fails as it is told to, `compute` calls functions."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from omnibase_core.errors import FunctionInterrupted, HandlerError
from omnibase_core.handlers.compute import COMPUTE_DESCRIPTION, ComputeHandler, FunctionCall
from omnibase_core.handlers.local import LOCAL_DESCRIPTION, Echo, Fail, LocalHandler
from omnibase_core.ports import HandlerCall

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


T = TypeVar("T")


class Patient:
    """A budget that interrupts what asks for it, and nothing else."""

    def bounded(self, work: Callable[[], T], seconds: float, /) -> T:
        """Do the work."""
        result = work()
        if result == {"spin": True}:
            raise TimeoutError(f"interrupted after {seconds:g} s")
        return result


class InPlace:
    """Workers that are none: they call what they were given, and interrupt what the budget would."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        """Keep the one function that there is."""
        self._function = function

    async def call(self, function: str, argument: Any, /, *, budget_s: float) -> Any:
        """Call it."""
        assert function == "pkg:f"
        return Patient().bounded(lambda: self._function(argument), budget_s)


def _call(handler_type: str, operation: str, request: BaseModel) -> HandlerCall:
    return HandlerCall(
        handler_type=handler_type, operation=operation, request=request, target=None, timeout_s=1.0, call_id=UUID(int=1)
    )


def _compute(function: Callable[[Any], Any], argument: Any = None) -> Mapping[str, Any]:
    """Call the function inline and isolated: it must come to the same."""
    handler = ComputeHandler({"pkg:f": function}.__getitem__, budget=Patient(), workers=InPlace(function))
    call = _call("compute", "call", FunctionCall(function="pkg:f", argument=argument, budget_s=1.0))
    isolated = _outcome(lambda: asyncio.run(handler.execute(call)))
    inline = _outcome(lambda: handler.execute_inline(call))
    assert (repr(inline), type(inline)) == (repr(isolated), type(isolated))
    if isinstance(inline, Exception):
        raise inline
    return inline


def _outcome(work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any] | Exception:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever it is, both have to raise it
        return error


@given(JSON)
def test_echo_gives_back_what_it_was_sent(message: Any) -> None:
    """Any JSON value comes back as it is."""
    assert LocalHandler().execute_inline(_call("local", "echo", Echo(message=message))) == {"message": message}


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Fail(), ("told_to_fail", "the request asked for a failure", False)),
        (Fail(code="busy", message="later", retryable=True), ("busy", "later", True)),
    ],
    ids=["by default", "as told"],
)
def test_fail_fails_as_it_is_told_to(request_: Fail, told: tuple[str, str, bool]) -> None:
    """The code, the words and whether to try again are the request's."""
    with pytest.raises(HandlerError) as raised:
        LocalHandler().execute_inline(_call("local", "fail", request_))
    assert (raised.value.code, str(raised.value), raised.value.retryable) == told


def test_local_refuses_a_request_that_is_not_its_own() -> None:
    """A request of another handler is told to be an unknown operation."""
    with pytest.raises(HandlerError, match="the local handler has no operation 'sing'") as raised:
        LocalHandler().execute_inline(_call("local", "sing", FunctionCall(function="a:b", argument=1, budget_s=1)))
    assert raised.value.code == "unknown_operation"


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (LOCAL_DESCRIPTION.operations["echo"].request, {}),
        (LOCAL_DESCRIPTION.operations["echo"].request, {"message": 1, "more": 2}),
        (LOCAL_DESCRIPTION.operations["fail"].request, {"code": 7}),
        (LOCAL_DESCRIPTION.settings, {"any": 1}),
        (COMPUTE_DESCRIPTION.operations["call"].request, {"function": "a:b"}),
        (COMPUTE_DESCRIPTION.settings, {"any": 1}),
    ],
)
def test_what_nothing_reads_is_refused(model: type[BaseModel], written: dict[str, Any]) -> None:
    """The models of requests and settings take what they name, and all of it."""
    with pytest.raises(ValidationError):
        model.model_validate(written)


@given(JSON)
def test_compute_gives_what_the_function_gives(argument: Any) -> None:
    """The function gets the argument as it is, and its object is the result."""
    assert _compute(lambda it: {"got": it}, argument) == {"got": argument}


def test_compute_finds_each_function_once() -> None:
    """Importing is not repeated with every command."""
    asked: list[str] = []

    def find(name: str) -> Callable[[Any], Any]:
        asked.append(name)
        return lambda argument: {"name": name, "argument": argument}

    handler = ComputeHandler(find, budget=Patient(), workers=InPlace(find("no:f")))
    asked.clear()
    requests = [FunctionCall(function=name, argument=1, budget_s=1.0) for name in ("a:f", "b:f", "a:f")]
    calls = [_call("compute", "call", request) for request in requests]
    assert [handler.execute_inline(call)["name"] for call in calls] == ["a:f", "b:f", "a:f"]
    assert asked == ["a:f", "b:f"]


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (None, "pkg:f: its result: Input should be a valid dictionary"),
        ([], "pkg:f: its result: Input should be a valid dictionary"),
        ("text", "pkg:f: its result: Input should be a valid dictionary"),
        ({1: 2}, "pkg:f: 1.[key]: Input should be a valid string"),
        ({"a": object()}, "pkg:f: a: input was not a valid JSON value"),
        ({"a": {"b": {1, 2}}}, "pkg:f: a.dict.b: input was not a valid JSON value"),
    ],
    ids=["nothing", "a list", "text", "a key that is no text", "an object of Python's", "deep within"],
)
def test_compute_refuses_what_is_no_object_of_json(result: Any, fault: str) -> None:
    """The error names the function and the place of the fault."""
    with pytest.raises(HandlerError) as raised:
        _compute(lambda _: result)
    assert (raised.value.code, str(raised.value), raised.value.retryable) == ("invalid_result", fault, False)


def test_what_a_function_raises_is_not_hidden() -> None:
    """A bug of a node comes out as it is: the runtime tells it from an error that was meant."""
    with pytest.raises(ZeroDivisionError):
        _compute(lambda it: {"share": 1 / it}, 0)


def test_a_handler_error_of_a_function_passes() -> None:
    """A function may refuse its argument with a code of its own."""

    def refuse(_: Any) -> Any:
        raise HandlerError("too_old", "not any more")

    with pytest.raises(HandlerError) as raised:
        _compute(refuse)
    assert raised.value.code == "too_old"


def test_a_function_that_is_interrupted_is_its_own_trouble() -> None:
    """The error says whose budget it was; its breaker opens, and nobody tries it again at once."""
    with pytest.raises(FunctionInterrupted) as raised:
        _compute(lambda _: {"spin": True}, None)
    assert str(raised.value) == "pkg:f was interrupted after 1 s (delivery.budget_s)"
    assert (raised.value.tells_of_trouble, raised.value.retryable) == (True, False)
