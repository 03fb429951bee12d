"""A node that floods the dead letters, in virtual time: it rests while there are neighbours, and loses nothing."""

import asyncio
from collections.abc import Mapping
from typing import Any

from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import Message
from omnibase_core.testing import MemoryBroker
from tests.support.commands import ECHO, loaded_host, node
from tests.support.stage import COMMANDS, Stage, on_stage, play

RUBBISH = 1000
NODES = {name: node(name, handler="local", operations=ECHO) for name in ("echo", "flooded")}


async def nobody(_: dict[str, Any]) -> Mapping[str, Any]:
    """Stand for a handler that nobody asks."""
    raise AssertionError("nobody asks")


def flooded_stage() -> Stage:
    """Return a broker with rubbish for one node."""
    stage = Stage(nobody, MemoryBroker(partitions=1))
    for n in range(RUBBISH):
        assert stage.broker.append(Message(COMMANDS.format("flooded"), b"%d" % n, b"rubbish")) is None
    return stage


def test_a_flood_of_dead_letters_waits_for_its_neighbours() -> None:
    """Of a thousand a second at most it is, behind the first batches; a neighbour is answered as ever."""

    async def scenario() -> None:
        stage = flooded_stage()
        stage.publish("echo", {"n": 0})
        async with on_stage(stage, loaded_host(NODES), local=LocalHandler()):
            for n in range(1, 6):
                await asyncio.sleep(0.1)
                assert len(stage.letters) <= 300 + 100 * n
                assert len(stage.answers("echo")) == n
                stage.publish("echo", {"n": n})
            await stage.until(lambda: stage.committed() == RUBBISH + 6)
            assert len(stage.letters) == RUBBISH

    play(scenario)


def test_a_node_that_is_alone_floods_as_it_likes() -> None:
    """Nobody would gain by its rest."""

    async def scenario() -> None:
        stage = flooded_stage()
        async with on_stage(stage, loaded_host(NODES), local=LocalHandler()):
            await asyncio.sleep(0.05)
            assert stage.committed() == len(stage.letters) == RUBBISH

    play(scenario)


def test_a_node_with_some_failures_does_not_rest() -> None:
    """What fails now and then is no flood."""

    async def scenario() -> None:
        stage = Stage(nobody, MemoryBroker(partitions=1))
        for n in range(500):
            stage.publish("flooded", {"n": n})
            if n % 4 == 0:
                assert stage.broker.append(Message(COMMANDS.format("flooded"), b"k", b"rubbish")) is None
        stage.publish("echo", {"n": 0})
        async with on_stage(stage, loaded_host(NODES), local=LocalHandler()):
            await asyncio.sleep(0.05)
            assert stage.committed() == 626
            assert len(stage.letters) == 125

    play(scenario)
