"""Whatever stands in a message: it ends as an answer or a dead letter, is committed, and its neighbour is served.

The generators go to each limit and beyond it: depth, width, names, keys, headers, metadata, and bytes that are nothing.
"""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import Message
from omnibase_core.testing.virtual_time import run
from tests.support.commands import loaded_host, node
from tests.support.stage import COMMANDS, Stage, on_stage
from tests.support.strangers import LIMITS, RESULT, at_the_limit, strange_node, stranger

T = TypeVar("T")


class Drawn:
    """Chooses as hypothesis does, so that what fails is shrunk."""

    def __init__(self, draw: st.DrawFn) -> None:
        """Keep what draws."""
        self._draw = draw

    def choice(self, options: Sequence[T], /) -> T:
        """Draw one of the options."""
        return self._draw(st.sampled_from(options))


@st.composite
def strangers(draw: st.DrawFn) -> Message:
    """Draw a hostile message for node `a`."""
    return stranger(Drawn(draw), COMMANDS.format("a"), "a", uuid4())


@given(st.lists(strangers(), min_size=1, max_size=3))
@settings(max_examples=200)
def test_a_message_ends_and_its_neighbour_is_served(messages: list[Message]) -> None:
    """In bounded steps: an explosion in any of them would run into the time-out of the tests."""

    async def scenario() -> None:
        host = loaded_host({"a": strange_node("a", handler="scripted"), "b": node("b")})
        async with on_stage(Stage(behave), host) as stage:
            taken = [it for it in messages if stage.broker.append(it) is None]
            neighbour = stage.send("b", 7)
            await stage.until(lambda: stage.committed() == len(taken) + 1)
            assert [it.causation_id for it in stage.answers("b")] == [neighbour]
            ended = len(stage.answers("a")) + len(stage.letters)
            assert len(taken) <= ended <= 2 * len(taken)
            assert all(len(it.headers) < 40 for it in stage.letters)
            for name, said in ((name, str(fields)) for _, name, fields in stage.observer.events):
                assert len(said) < 4000, name

    run(scenario(), seed=1)


@pytest.mark.parametrize("handler", ["local", "scripted"])
@pytest.mark.parametrize("name", LIMITS)
def test_a_message_at_a_limit_ends_as_the_limit_says(name: str, handler: str) -> None:
    """What is within it is served, and what is beyond it refused by that limit and no other."""

    async def scenario() -> None:
        host = loaded_host({"a": strange_node("a", handler=handler), "b": node("b")})
        async with on_stage(Stage(behave), host, local=LocalHandler()) as stage:
            message, ends = at_the_limit(name, COMMANDS.format("a"), "a", UUID(int=1))
            assert stage.broker.append(message) is None
            stage.send("b", 7)
            await stage.until(lambda: stage.committed() == 2)
            ended = {RESULT if it.error is None else it.error.code for it in stage.answers("a")}
            ended |= {dict(it.headers)["onex-dlq-code"].decode() for it in stage.letters}  # type: ignore[union-attr]
            assert ended == {ends}
            assert len(stage.answers("b")) == 1

    run(scenario(), seed=1)


async def behave(request: dict[str, Any]) -> dict[str, Any]:
    """Return what there is."""
    message: dict[str, Any] = request.get("message", request)
    return message


def test_no_value_of_a_payload_goes_into_the_log() -> None:
    """The sender gets the value back, and an operator its place and the rule; at the level debug, the value, too."""

    async def scenario() -> None:
        async with on_stage(Stage(behave), loaded_host({"a": strange_node("a", handler="scripted")})) as stage:
            stage.observer.verbose = False
            stage.publish("a", {"items": ["s3cret"]})
            await stage.until(lambda: stage.committed() == 1)
            [answer] = stage.answers("a")
            assert answer.error is not None
            assert answer.error.message == '$.items[0]: "s3cret" is not of type "integer"'
            [event] = stage.observer.named("command_rejected")
            assert event["reason"] == "$.items[0]: type"
            assert "s3cret" not in str(stage.observer.events)
            assert stage.runtime.figures["a"].last_error == "payload_invalid: $.items[0]: type"
            stage.observer.verbose = True
            stage.publish("a", {"items": ["s3cret"]})
            await stage.until(lambda: stage.committed() == 2)
            assert stage.observer.named("command_rejected")[1]["values"] == answer.error.message

    run(scenario(), seed=1)
