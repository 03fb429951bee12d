"""What a sender, a handler or a function can do to a host: it costs the command that did it, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from omnibase_core.ports import Delivery, HandlerCall, Headers, Partition
from omnibase_core.testing import MemoryBroker
from tests.support.commands import command, loaded_host, node
from tests.support.raised import GIVEN, ODD, RAISED, Escaping, Own
from tests.support.stage import COMMANDS, Stage, on_stage, play

RULE = """, errors: [{when: "${ has(result.said) && result.said == 'no' }", code: declined}]"""
OUTPUT = ", output: {type: object, properties: {said: {type: string}}}"


def raising(error: BaseException) -> Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]:
    """Raise for the first command, and answer all others."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0:
            raise error
        return request

    return behave


def giving(way: str) -> Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]:
    """Return for the first command what is no answer, and answer all others."""

    async def behave(request: dict[str, Any]) -> Any:
        return GIVEN[way]() if request["n"] == 0 else request

    return behave


class InlineGiving:
    """A pure handler that gives for the first command what is no answer."""

    def __init__(self, way: str) -> None:
        """Keep what it gives."""
        self._way = way

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Answer, or give that."""
        request = call.request.model_dump()
        given: Mapping[str, Any] = GIVEN[self._way]() if request["n"] == 0 else request
        return given


class Inline:
    """A pure handler that raises for the first command."""

    def __init__(self, error: BaseException) -> None:
        """Keep what it raises."""
        self._error = error

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Answer, or raise."""
        request = call.request.model_dump()
        if request["n"] == 0:
            raise self._error
        return request


@pytest.mark.parametrize("way", RAISED)
def test_whatever_a_handler_raises_is_an_error_answer_and_its_lane_goes_on(way: str) -> None:
    """Also a CancelledError that nobody asked for: the next command of the key is served."""
    error = RAISED[way]()

    async def scenario() -> None:
        async with on_stage(Stage(raising(error)), loaded_host({"a": node("a")})) as stage:
            for n in (0, 1):
                stage.send("a", n)
            await stage.until(lambda: stage.committed() == 2)
            assert [it.error and it.error.code for it in stage.answers("a")] == ["internal_error", None]
            assert type(error).__name__ in stage.answers("a")[0].error.message  # type: ignore[union-attr]
            assert len(stage.letters) == 1

    play(scenario)


@pytest.mark.parametrize("way", RAISED)
def test_whatever_a_pure_handler_raises_is_an_error_answer(way: str) -> None:
    """It runs on the loop itself: the batch goes on behind it."""
    error = RAISED[way]()

    async def scenario() -> None:
        async with on_stage(Stage(raising(error)), loaded_host({"a": node("a")}), scripted=Inline(error)) as stage:
            for n in (0, 1):
                stage.send("a", n)
            await stage.until(lambda: stage.committed() == 2)
            assert [it.error and it.error.code for it in stage.answers("a")] == ["internal_error", None]

    play(scenario)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("way", ODD)
def test_an_error_whose_fields_are_off_is_answered_so_that_it_can_be_read(way: str, inline: bool) -> None:  # noqa: FBT001 - a case
    """Somebody has set them after it was made: to send them on would give an answer that no consumer can decode."""

    async def scenario() -> None:
        error = ODD[way]()
        handlers: dict[str, Any] = {"scripted": Inline(error)} if inline else {}
        async with on_stage(Stage(raising(error)), loaded_host({"a": node("a")}), **handlers) as stage:
            for n in (0, 1):
                stage.send("a", n)
            await stage.until(lambda: stage.committed() == 2)
            [failed, served] = stage.answers("a")
            assert failed.error is not None
            assert failed.error.code == ("odd" if way in ("odd_details", "odd_quiet") else "internal_error")
            assert failed.error.message.startswith("as it was made" if failed.error.code == "odd" else "HandlerError: ")
            assert served.payload == {"n": 1}
            assert len(stage.letters) == 1

    play(scenario)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("more", ["", RULE, OUTPUT], ids=["plain", "rule", "output"])
@pytest.mark.parametrize("way", GIVEN)
def test_a_result_that_cannot_be_sent_is_an_error_answer(way: str, more: str, inline: bool) -> None:  # noqa: FBT001 - a case
    """Whatever a handler gives in place of an object of JSON; the next command of the key is served.

    Also where an expression reads it, or a schema: neither may end the process.
    """

    async def scenario() -> None:
        handlers: dict[str, Any] = {"scripted": InlineGiving(way)} if inline else {}
        operations = f'{{do: {{input: {{type: object}}, request: "${{ payload }}"{more}}}}}'
        host = loaded_host({"a": node("a", operations=operations)})
        async with on_stage(Stage(giving(way)), host, **handlers) as stage:
            for n in (0, 1):
                stage.send("a", n)
            await stage.until(lambda: stage.committed() == 2)
            [failed, served] = stage.answers("a")
            assert failed.error is not None
            codes = {"answer_too_large" if way == "gives_too_much" else "answer_invalid"}
            assert failed.error.code in codes | ({"expression_failed"} if more == RULE else set())
            assert served.payload == {"n": 1}
            assert len(stage.letters) == 1

    play(scenario)


@pytest.mark.parametrize("inline", [True, False])
def test_what_escapes_becomes_a_dead_letter_of_bytes_alone(inline: bool) -> None:  # noqa: FBT001 - a case
    """Nothing that may have been at fault is asked again; health names the node, and the next command is served."""

    async def scenario() -> None:
        error = Escaping("odd", "x")
        handlers: dict[str, Any] = {"scripted": Inline(error)} if inline else {}
        async with on_stage(Stage(raising(error)), loaded_host({"a": node("a")}), **handlers) as stage:
            stage.send("a", 0)
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 2)
            [letter] = stage.letters
            facts = dict(letter.headers)
            assert facts["onex-dlq-code"] == b"internal_error"
            assert facts["onex-dlq-topic"] == COMMANDS.format("a").encode()
            assert [it.payload for it in stage.answers("a")] == [{"n": 1}]
            [told] = stage.observer.named("command_internal_error")
            assert told["node"] == "a"

    play(scenario)


def test_a_handler_that_cancels_its_own_task_costs_its_command_alone() -> None:
    """Were its host to end by it, the next owner would, too: its lane goes on, and it has a dead letter."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            if request["n"] == 0:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(1)
            return request

        async with on_stage(Stage(behave), loaded_host({"a": node("a")})) as stage:
            for n in range(3):
                stage.send("a", n)
            await stage.until(lambda: stage.committed() == 3)
            assert [it.payload for it in stage.answers("a")] == [{"n": 1}, {"n": 2}]
            assert len(stage.letters) == 1

    play(scenario)


def test_a_handler_that_cancels_its_own_task_while_its_partition_leaves_ends_no_host() -> None:
    """The engine cancels nothing then: taken for its own doing, it would end the lane, and so the host."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            if request["n"] == 0:
                await asyncio.sleep(0.5)
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(1)
            return request

        async with on_stage(Stage(behave), loaded_host({"a": node("a")})) as stage:
            stage.send("a", 0)
            await stage.until(lambda: len(stage.asked) == 1)
            other = stage.host(loaded_host({"a": node("a")}))
            await other.start()
            await stage.until(lambda: stage.committed() == 1)
            assert len(stage.letters) == 1
            assert not stage.observer.named("engine_failed")
            await other.stop()
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 2)
            assert [it.payload for it in stage.answers("a")] == [{"n": 1}]

    play(scenario)


def test_an_engine_that_fails_publishes_nothing_more() -> None:
    """It has left its group: what still ends there would come behind what the next owners of its partitions answer."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            if request["n"] == 0:
                raise Escaping("odd", "x")
            await asyncio.sleep(1)
            return request

        def fail(_: Any, error: BaseException) -> Any:
            raise error

        stage = Stage(behave)
        runtime = stage.host(loaded_host({"a": node("a")}))
        runtime._roster.raw_letter = fail  # type: ignore[method-assign]  # noqa: SLF001 - a bug of the engine
        stage.send("a", 1, key=b"slow")
        stage.send("a", 0, key=b"bad")
        await runtime.start()
        with pytest.raises(LookupError):
            await runtime.wait()
        await asyncio.sleep(5)
        assert len(stage.asked) == 2
        assert (stage.answers("a"), stage.committed()) == ([], 0)
        await runtime.stop()

    play(scenario)


LARGE = b"x" * 2600


@pytest.mark.parametrize(
    ("key", "headers", "operation", "metadata"),
    [
        (LARGE, (), None, {}),
        (b"k", (("traceparent", LARGE),), None, {}),
        (b"k", (("traceparent", LARGE),), "o" * 200, {}),
        (b"k", (), None, {"m": "x" * 2600}),
        (LARGE, (("tracestate", LARGE),), "o" * 200, {"m": "x" * 1600}),
    ],
    ids=["key", "trace", "operation", "metadata", "all"],
)
def test_a_command_that_leaves_no_room_for_its_answer_is_answered_all_the_same(
    key: bytes, headers: Headers, operation: str | None, metadata: dict[str, Any]
) -> None:
    """With an error, without what makes it too large; once, and with one dead letter at most."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            return {"blob": "x" * 500, **request}

        broker = MemoryBroker(message_bytes_max=100_000)
        stage = Stage(behave, broker)
        sent = command(COMMANDS.format("a"), "a", {"n": 1}, key=key, operation=operation, metadata=metadata)
        assert broker.append(sent._replace(headers=headers)) is None
        broker.message_bytes_max = 3000
        async with on_stage(stage, loaded_host({"a": node("a")})):
            await stage.until(lambda: stage.committed() == 1)
            await asyncio.sleep(100)
            [answer] = stage.answers("a")
            assert answer.error is not None
            assert answer.error.code in ("answer_too_large", "unknown_operation")
            assert len(stage.letters) <= 1

    play(scenario)


def test_a_command_whose_headers_cannot_be_read_is_answered_and_dead_lettered() -> None:
    """Its trace and its redrive generation are unknown, so that it is not served."""

    async def scenario() -> None:
        async with on_stage(Stage(raising(Own())), loaded_host({"a": node("a")})) as stage:
            instance = stage.runtime._roster._instances[COMMANDS.format("a")]  # noqa: SLF001 - no bus in memory says so
            sent = command(COMMANDS.format("a"), "a", {"n": 1}, key=b"k")
            delivery = Delivery(Partition(sent.topic, 0), 0, sent.key, sent.value, (), 0, "a name is not UTF-8")
            messages = instance.serve_inline(delivery, instance.clock.now())
            assert [it.topic.split(".")[4] for it in messages] == ["evt", "dlq"]
            assert dict(messages[1].headers)["onex-dlq-code"] == b"headers_unreadable"

    play(scenario)


def test_a_command_that_is_nested_too_deeply_is_a_dead_letter() -> None:
    """What could be read and not be written again would end the host."""

    async def scenario() -> None:
        async with on_stage(Stage(raising(Own())), loaded_host({"a": node("a")})) as stage:
            deep: Any = []
            for _ in range(200):
                deep = [deep]
            stage.publish("a", {"n": 1}, metadata={"deep": deep})
            stage.send("a", 2)
            await stage.until(lambda: stage.committed() == 2)
            [letter] = stage.letters
            assert dict(letter.headers)["onex-dlq-code"] == b"too_deep"
            assert [it.payload for it in stage.answers("a")] == [{"n": 2}]

    play(scenario)
