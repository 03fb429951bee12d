"""Commands of a node that awaits nothing are served in runs: nobody can tell from outside."""

import asyncio
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Any

import pytest

from omnibase_core.codec import decode
from omnibase_core.engine.dispatch import serve_run
from omnibase_core.engine.in_flight import Assignment
from omnibase_core.engine.instance import NodeInstance
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import BusError, PublishFailed
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import Delivery, Message, Partition
from omnibase_core.testing import MemoryBus, RecordingObserver
from omnibase_core.testing.virtual_time import VirtualClock
from tests.core.engine.test_rejected_messages import Refusing
from tests.support.commands import command, loaded_host, node
from tests.support.stage import COMMANDS, EVENTS, GROUP, LETTERS, Stage, play

OPERATIONS = """
  echo: {input: {type: object}, request: {message: "${ payload }"}, answer: "${ result.message }"}
  fail: {input: {type: object}, call: fail, request: {code: told}}
"""
TOPIC = COMMANDS.format("a")


def pure_host(bus: MemoryBus, guarantee: str = "at_least_once") -> NodeRuntime:
    """Return a runtime with one pure node."""
    loaded = loaded_host({"a": node("a", handler="local", operations=OPERATIONS)}, guarantee=guarantee)
    runtime = NodeRuntime(loaded.contract, bus=bus, clock=VirtualClock(), observer=RecordingObserver())
    runtime.register_handler("local", LocalHandler())
    runtime.load_nodes(loaded.nodes)
    return runtime


def mixed(count: int) -> list[Message]:
    """Return commands of every kind: good, failing, rejected, undecodable, redriven, traced."""
    messages = []
    for n in range(count):
        kind = n % 7
        operation = {1: "fail", 2: "none_such"}.get(kind, "echo")
        message = command(TOPIC, "b" if kind == 5 else "a", {"n": n}, key=b"%d" % (n % 3), operation=operation)
        headers = {4: (("onex-redrive", b"2"),), 6: (("traceparent", b"00-1-2-01"), ("other", b"x"))}.get(kind, ())
        value = b"not json %d" % n if kind == 3 else message.value
        messages.append(message._replace(value=value, headers=headers))
    return messages


def deliveries(messages: Sequence[Message], number: int = 0) -> deque[Delivery]:
    """Return messages as the bus delivers them."""
    partition = Partition(TOPIC, number)
    return deque(Delivery(partition, n, it.key, it.value, it.headers, 0) for n, it in enumerate(messages))


def served(runtime: NodeRuntime, waiting: deque[Delivery], *, room_bytes: int = 10_000_000) -> Any:
    """Serve a run of these."""
    roster = runtime._roster  # noqa: SLF001 - what it hands the run
    instance = roster.pure(TOPIC)
    assert isinstance(instance, NodeInstance)
    assignment = Assignment(waiting[0].partition, 0.0)
    return serve_run(roster, assignment, instance, waiting, room_bytes=room_bytes, until_s=inf)


def test_a_run_gives_what_its_commands_give_one_by_one() -> None:
    """Whatever they are, in their order; and it counts what they hold."""

    async def scenario() -> None:
        runtime = pure_host(MemoryBus(Stage(None).broker, group=GROUP))
        waiting = deliveries(mixed(100))
        run = served(runtime, deque(waiting))
        alone = [served(runtime, deque([it])) for it in waiting]
        assert run.offsets == list(range(100))
        assert [list(it) for it in run.answers] == [list(it.answers[0]) for it in alone]
        assert run.size_bytes == sum(it.size_bytes for it in alone) == sum(it.size_bytes for it in run.works())
        assert run.letters == sum(it.letters for it in alone) == sum(it.topic == LETTERS for it in run.messages)

    play(scenario)


def test_a_run_ends_where_its_partition_or_the_room_does() -> None:
    """What is left stays where it is."""

    async def scenario() -> None:
        runtime = pure_host(MemoryBus(Stage(None).broker, group=GROUP))
        waiting = deliveries(mixed(10)) + deliveries(mixed(5), number=1)
        assert len(served(runtime, waiting).offsets) == 10
        assert len(waiting) == 5
        assert len(served(runtime, waiting, room_bytes=1).offsets) == 1
        assert len(waiting) == 4

    play(scenario)


@pytest.mark.parametrize("offsets", [[0, 1, 1], [0, 2, 1], [3, 4]])
def test_a_run_that_goes_back_within_an_assignment_is_refused(offsets: list[int]) -> None:
    """Nothing of it is noted: what was begun before must not be begun again."""

    async def scenario() -> None:
        runtime = pure_host(MemoryBus(Stage(None).broker, group=GROUP))
        partition = Partition(TOPIC, 0)
        assignment = Assignment(partition, 0.0)
        if offsets[0]:
            assignment.begin_run(served(runtime, deliveries(mixed(5))), 0.0)
        [message] = mixed(1)
        waiting = deque(Delivery(partition, it, None, message.value, (), 0) for it in offsets)
        before = assignment.ledger.unfinished
        with pytest.raises(BusError, match="went back"):
            assignment.begin_run(served(runtime, waiting), 0.0)
        assert assignment.ledger.unfinished == before

    play(scenario)


def test_what_is_refused_of_a_run_is_sent_again_alone() -> None:
    """The rest is done and is not repeated; everything ends, and nothing is held any more."""

    async def scenario() -> None:
        stage = Stage(None)
        refused: list[Message] = []

        def refuses(message: Message) -> PublishFailed | None:
            if (
                message.topic == EVENTS.format("a")
                and message not in refused
                and decode(message.value).payload.get("n") in (0, 7, 70)
            ):
                refused.append(message)
                return PublishFailed("not_authorised", "not yet")
            return None

        bus = Refusing(stage.broker, refuses)
        runtime = pure_host(bus)
        sent = mixed(100)
        for message in sent:
            assert stage.broker.append(message) is None
        await runtime.start()
        try:
            await stage.until(lambda: stage.committed() == 100)
            await asyncio.sleep(1)
            assert len(refused) == 3
            assert (runtime.in_flight, runtime.bytes_in_flight) == (0, 0)
            answers = stage.broker.messages(EVENTS.format("a"))
            assert (
                len(answers)
                == len({decode(it.value).envelope_id for it in answers})
                == sum(n % 7 != 3 for n in range(100))
            )
            assert len(bus.given) == len(answers) + len(stage.letters) + 3
        finally:
            await runtime.stop()

    play(scenario)


def test_a_run_is_done_in_transactions() -> None:
    """With exactly once its commands stand in line like all others."""

    async def scenario() -> None:
        stage = Stage(None)
        runtime = pure_host(MemoryBus(stage.broker, group=GROUP), "exactly_once")
        for message in mixed(100):
            assert stage.broker.append(message) is None
        await runtime.start()
        try:
            await stage.until(lambda: stage.committed() == 100)
            assert len(stage.broker.messages(EVENTS.format("a"))) == sum(n % 7 != 3 for n in range(100))
            assert (runtime.in_flight, runtime.bytes_in_flight) == (0, 0)
        finally:
            await runtime.stop()

    play(scenario)
