"""A command that expires while it waits for its node's place is not served any more."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from omnibase_core.testing import MemoryBroker
from tests.gear.commands import loaded_host, node
from tests.gear.stage import Stage, on_stage, play


def test_what_has_expired_by_the_time_that_it_has_a_place_is_not_served() -> None:
    """As what has expired by the time that its target is well again is not."""

    async def scenario() -> None:
        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            await asyncio.sleep(20)
            return request

        stage = Stage(behave, MemoryBroker(partitions=1))
        async with on_stage(stage, loaded_host({"a": node("a", delivery="{max_in_flight: 1}")})):
            soon = stage.clock.now() + timedelta(seconds=10)
            stage.publish("a", {"n": 0}, key=b"0")
            await asyncio.sleep(1)
            for n in range(1, 4):
                stage.publish("a", {"n": n}, key=b"%d" % n, expires_at=soon)
            await stage.until(lambda: stage.committed() == 4)
            assert sorted(stage.effects) == [0], stage.asked

    play(scenario)
