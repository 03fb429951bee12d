"""Many commands of a node that no host of the pool has, beside retries of one that is there."""

import asyncio
from collections.abc import Mapping
from typing import Any

from omnibase_core.errors import HandlerError
from omnibase_core.testing import MemoryBroker
from tests.support.commands import command, loaded_host, node
from tests.support.stage import COMMANDS, RETRIES, Stage, on_stage, play

OVERTAKE = "{on_retry: overtake, retry: {attempts: 9, initial_s: 2, max_s: 5, multiplier: 2, jitter: 0}}"
MOMENT = "2026-01-01T00:00:00+00:00"
FACTS = {
    "topic": COMMANDS.format("gone"),
    "partition": 3,
    "offset": 17,
    "attempts": 2,
    "due": MOMENT,
    "first-failed-at": MOMENT,
}
HEADERS = tuple((f"onex-retry-{name}", str(value).encode()) for name, value in FACTS.items())
STRAYS = 200


def stage_with_strays() -> Stage:
    """Set a stage whose handler fails once for each command, with strays on the retry topic."""
    failed: set[int] = set()

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] not in failed:
            failed.add(request["n"])
            raise HandlerError("down", "once", retryable=True)
        return request

    stage = Stage(behave, MemoryBroker(partitions=1))
    for n in range(STRAYS):
        sent = command(RETRIES, "gone", {"n": n}, key=b"%d" % n)
        assert stage.broker.append(sent._replace(headers=HEADERS)) is None
    return stage


def test_strays_end_within_the_time_that_the_contract_says() -> None:
    """However many there are: the time that they wait for their turn counts, too."""

    async def scenario() -> None:
        stage = stage_with_strays()
        limits = "{max_in_flight: 40, unknown_node_s: 60}"
        async with on_stage(stage, loaded_host({"old": node("old", delivery=OVERTAKE)}, limits=limits)):
            await stage.until(lambda: len(stage.letters) == STRAYS)
            assert asyncio.get_running_loop().time() < 180

    play(scenario)


def test_strays_do_not_keep_the_retries_of_other_nodes_waiting() -> None:
    """A retry that is due after two seconds is made within some, not after all strays have had their turn."""

    async def scenario() -> None:
        stage = stage_with_strays()
        limits = "{max_in_flight: 40, unknown_node_s: 900}"
        async with on_stage(stage, loaded_host({"old": node("old", delivery=OVERTAKE)}, limits=limits)):
            await asyncio.sleep(30)
            stage.send("old", 1)
            await stage.until(lambda: len(stage.answers("old")) == 1)
            assert asyncio.get_running_loop().time() < 30 + 20

    play(scenario)
