"""The partitions of a node that is always full are served evenly, and one that is busy alone is not slowed."""

import asyncio
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from omnibase_core.testing import MemoryBroker
from tests.support.commands import loaded_host, node
from tests.support.stage import Stage, on_stage, play

PARTITIONS, COMMANDS, KEYS = 3, 6000, 60


def test_no_partition_of_a_full_node_starves() -> None:
    """Ten commands a second for each of three partitions: after ten seconds, each has had some."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(0.1)
        return request

    async def scenario() -> None:
        stage = Stage(behave, MemoryBroker(partitions=PARTITIONS))
        for n in range(COMMANDS):
            stage.send("a", n, b"%d" % (n % KEYS))
        async with on_stage(stage, loaded_host({"a": node("a", delivery="{max_in_flight: 4}")})):
            await asyncio.sleep(10)
            of_node = {it: standing for it, standing in stage.runtime.standings.items() if ".node.a." in it.topic}
            done = sorted(standing.watermark or 0 for standing in of_node.values())
            assert len(done) == PARTITIONS
            assert done[0] > done[-1] / 2
            held = [standing.pause_reason for standing in of_node.values() if standing.pause_reason]
            assert any("share of the partition" in reason for reason in held)
            await stage.until(lambda: stage.committed() == COMMANDS)

    play(scenario)


def test_a_partition_that_is_busy_alone_has_all_places_of_its_node() -> None:
    """Its share of a node with 100 partitions would be 30; it has as many under way as the node may have, 50."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(0.05 + request["n"] * 7919 % 100 / 1000)
        return request

    async def scenario() -> None:
        stage = Stage(behave, MemoryBroker(partitions=100))
        keys = [key for n in range(30_000) if crc32(key := b"%d" % n) % 100 == 7][:200]
        for n in range(6000):
            stage.send("a", n, keys[n % len(keys)])
        async with on_stage(stage, loaded_host({"a": node("a", delivery="{max_in_flight: 50}")})):
            await asyncio.sleep(1)
            before = len(stage.effects)
            await asyncio.sleep(8)
            assert len(stage.effects) - before > 0.95 * 8 * 50 / 0.0995
            assert sum(standing.watermark is not None for standing in stage.runtime.standings.values()) == 1

    play(scenario)


def test_what_is_done_behind_a_long_command_is_no_part_of_a_share() -> None:
    """One command takes ten minutes. What follows it in its partition is served as what is in the others."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(600 if request["n"] == 0 else 0.1)
        return request

    async def scenario() -> None:
        stage = Stage(behave, MemoryBroker(partitions=2))
        of_partition = [[key for n in range(200) if crc32(key := b"%d" % n) % 2 == number][:30] for number in (0, 1)]
        for n in range(16_000):
            keys = of_partition[n % 2]
            stage.send("a", n, b"long" if n == 0 else keys[n // 2 % 30])
        delivery = "{max_in_flight: 20, timeout_s: 1000, deadline_s: 2000}"
        async with on_stage(stage, loaded_host({"a": node("a", delivery=delivery)})):
            await asyncio.sleep(60)
            served = [sum(n % 2 == number for n in stage.effects) for number in (0, 1)]
            assert min(served) > 0.8 * max(served), served

    play(scenario)
