"""What is counted of a command whose partition is lost in the very moment in which its handler ends."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from omnibase_core.ports import Revoked
from omnibase_core.testing import MemoryBroker
from tests.support.commands import loaded_host, node
from tests.support.stage import Stage, on_stage, play


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_command_is_dropped_once(guarantee: str) -> None:
    """Dropped twice, it would leave the host with room that it does not have."""

    async def scenario() -> None:
        over = asyncio.Event()

        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            await over.wait()
            return request

        stage = Stage(behave, MemoryBroker(partitions=1))
        stage.send("a", 1)
        async with on_stage(stage, loaded_host({"a": node("a")}, guarantee=guarantee)):
            await stage.until(lambda: bool(stage.asked))
            over.set()
            lost = frozenset(stage.runtime.assigned)
            stage.runtime._handover.revoke(Revoked(lost, lost=True, release=lambda: None))  # noqa: SLF001 - the moment counts
            await asyncio.sleep(10)
            assert (stage.runtime.in_flight, stage.runtime.bytes_in_flight) == (0, 0)

    play(scenario)
