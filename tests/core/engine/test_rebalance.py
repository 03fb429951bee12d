"""A partition that moves while a command of it hangs: it moves in bounded time, and its neighbours are served."""

import asyncio
from collections.abc import Mapping
from typing import Any

from omnibase_core.handlers.local import LocalHandler
from omnibase_core.testing import MemoryBroker
from tests.support.commands import ECHO, loaded_host, node
from tests.support.stage import Stage, play

NODES = {
    "slow": node("slow", delivery="{timeout_s: 100}"),
    "echo": node("echo", handler="local", operations=ECHO),
}
LIMITS = "{revoke_s: 2}"


async def hangs(request: dict[str, Any]) -> Mapping[str, Any]:
    """Take a minute."""
    await asyncio.sleep(60)
    return request


def test_neighbours_are_served_while_a_partition_drains() -> None:
    """An echo is answered at once, on both hosts; what hangs is left to the next owner after `revoke_s`."""

    async def scenario() -> None:
        stage = Stage(hangs, MemoryBroker())
        first = stage.host(loaded_host(NODES, limits=LIMITS), local=LocalHandler())
        await first.start()
        for n in range(8):
            stage.send("slow", n, b"%d" % n)
        await asyncio.sleep(1)
        second = stage.host(loaded_host(NODES, limits=LIMITS), local=LocalHandler())
        await second.start()
        for n in range(20):
            stage.publish("echo", {"n": n}, key=b"%d" % n)
            await asyncio.sleep(0.1)
            if n == 15:
                # Of half of the partitions, which do not move, everything is answered by now.
                assert len(stage.answers("echo")) >= 5
        await asyncio.sleep(2)
        assert len({it.causation_id for it in stage.answers("echo")}) == 20
        assert first.assigned
        assert second.assigned
        await stage.until(lambda: len({it.causation_id for it in stage.answers("slow")}) == 8)
        await asyncio.gather(first.stop(), second.stop())

    play(scenario)


def test_what_does_not_end_in_time_counts_for_nothing() -> None:
    """Its late result is dropped: there is one answer, the next owner's."""

    async def scenario() -> None:
        stage = Stage(hangs, MemoryBroker(partitions=2))
        first = stage.host(loaded_host(NODES, limits=LIMITS), local=LocalHandler())
        await first.start()
        for n in range(8):
            stage.send("slow", n, b"%d" % n)
        await asyncio.sleep(30)
        second = stage.host(loaded_host(NODES, limits=LIMITS), local=LocalHandler())
        await second.start()
        await stage.until(lambda: stage.committed() == 8)
        assert len(stage.answers("slow")) == 8
        assert (first.bytes_in_flight, second.bytes_in_flight) == (0, 0)
        await asyncio.gather(first.stop(), second.stop())

    play(scenario)
