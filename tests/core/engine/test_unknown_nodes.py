"""A pool whose hosts differ, as while it is deployed: a command goes to a host that has its node, or is told of."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import HandlerError
from omnibase_core.ports import Message
from omnibase_core.testing import MemoryBroker
from tests.support.commands import command, loaded_host, node
from tests.support.stage import COMMANDS, RETRIES, Stage, play

REQUESTS = "onex.app.dev.test.cmd.runtime.pool.v1"
OVERTAKE = "{on_retry: overtake, retry: {attempts: 9, initial_s: 2, max_s: 5, multiplier: 2, jitter: 0}}"
NODES = {name: node(name, delivery=OVERTAKE) for name in ("new", "old")}
PATIENT = "handlers: {scripted: {breaker: {failures: 999}}}\nrequests: true\n"


@asynccontextmanager
async def pool(
    stage: Stage, *hosts: Mapping[str, str], unknown_node_s: float = 900
) -> AsyncIterator[list[NodeRuntime]]:
    """Run hosts of these nodes as one pool."""
    limits = f"{{unknown_node_s: {unknown_node_s}}}"
    runtimes = [stage.host(loaded_host(nodes, limits=limits, more=PATIENT)) for nodes in hosts]
    for runtime in runtimes:
        await runtime.start()
    try:
        yield runtimes
    finally:
        await asyncio.gather(*(runtime.stop() for runtime in runtimes))


def down_until(moment_s: float) -> Any:
    """Fail until then."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if asyncio.get_running_loop().time() < moment_s:
            raise HandlerError("down", "for a while", retryable=True)
        return request

    return behave


def test_retries_of_a_node_are_left_to_the_hosts_that_have_it() -> None:
    """While one of two hosts lacks it, none of its commands becomes a dead letter, and each answer has its key."""

    async def scenario() -> None:
        stage = Stage(down_until(10), MemoryBroker())
        lacking = {"old": NODES["old"]}
        async with pool(stage, NODES, lacking):
            for n in range(40):
                stage.send("new", n, b"%d" % n)
            await stage.until(lambda: len({it.causation_id for it in stage.answers("new")}) == 40)
            assert not any(it.error for it in stage.answers("new"))
            assert stage.letters == []
            assert any(message.headers[0][0] == "onex-passed-on" for message in stage.broker.messages(RETRIES))
            keys = {message.key for message in stage.broker.messages("onex.app.dev.test.evt.node.new.v1")}
            assert keys == {b"%d" % n for n in range(40)}

    play(scenario)


def test_requests_to_a_node_are_left_to_the_hosts_that_have_it() -> None:
    """Whichever partition of the pool's topic they are on."""

    async def scenario() -> None:
        stage = Stage(down_until(0), MemoryBroker())
        async with pool(stage, NODES, {"old": NODES["old"]}):
            headers = ((ADDRESSEE, COMMANDS.format("new").encode()), (DEPTH, b"1"))
            for n in range(20):
                sent = command(REQUESTS, "new", {"n": n}, key=b"%d" % n)
                assert stage.broker.append(sent._replace(headers=headers)) is None
            await stage.until(lambda: len({it.causation_id for it in stage.answers("new")}) == 20)
            assert stage.letters == []

    play(scenario)


@pytest.mark.parametrize("topic", ["retry", "requests"])
def test_what_no_host_knows_any_more_is_answered_and_named(topic: str) -> None:
    """After the time that the host contract says: the dead letter names the node and the command's first place.

    So a retry can be redriven, as any dead letter of a node. A request is not: nobody waits for its answer any more.
    """

    async def scenario() -> None:
        stage = Stage(down_until(0), MemoryBroker(partitions=1))
        headers: tuple[tuple[str, bytes], ...] = ((ADDRESSEE, COMMANDS.format("new").encode()), (DEPTH, b"1"))
        if topic == "retry":
            facts = {"topic": COMMANDS.format("new"), "partition": 3, "offset": 17, "attempts": 2, "due": _MOMENT}
            facts["first-failed-at"] = _MOMENT
            headers = tuple((f"onex-retry-{name}", str(value).encode()) for name, value in facts.items())
        sent = command(RETRIES if topic == "retry" else REQUESTS, "new", {"n": 1}, key=b"k")
        assert stage.broker.append(sent._replace(headers=headers)) is None
        async with pool(stage, {"old": NODES["old"]}, unknown_node_s=60):
            await stage.until(lambda: bool(stage.letters))
            assert 60 <= asyncio.get_running_loop().time() < 120
            [letter] = stage.letters
            facts_of_letter = dict(letter.headers)
            assert facts_of_letter["onex-dlq-node"] == b"new"
            assert facts_of_letter["onex-dlq-code"] == b"unknown_node"
            place = (facts_of_letter["onex-dlq-topic"], facts_of_letter["onex-dlq-offset"])
            assert place == (
                (COMMANDS.format("new").encode(), b"17") if topic == "retry" else (REQUESTS.encode(), b"0")
            )
            assert (letter.value, facts_of_letter["onex-dlq-key"]) == (sent.value, b"k")
            [answer] = stage.answers("new")
            assert answer.error is not None
            assert (answer.error.code, answer.error.retryable) == ("unknown_node", True)
            ended = {name: len(stage.broker.messages(name)) for name in (RETRIES, REQUESTS)}
            await stage.until(lambda: stage.committed() == sum(ended.values()))

    play(scenario)


def test_a_request_for_nobody_is_a_dead_letter_at_once() -> None:
    """It names no node of this environment and tenant: no host will ever have it."""

    async def scenario() -> None:
        stage = Stage(down_until(0), MemoryBroker())
        sent = command(REQUESTS, "new", {"n": 1}, key=b"k")
        foreign = (ADDRESSEE, b"onex.app.prod.other.cmd.node.new.v1")
        for headers in ((), ((ADDRESSEE, None),), (foreign,)):
            assert stage.broker.append(Message(REQUESTS, b"k", sent.value, headers)) is None
        async with pool(stage, NODES):
            await stage.until(lambda: len(stage.letters) == 3)
            assert asyncio.get_running_loop().time() < 5
            assert {dict(it.headers)["onex-dlq-code"] for it in stage.letters} == {b"not_for_this_pool"}

    play(scenario)


def test_a_request_too_large_to_be_passed_on_says_so() -> None:
    """The headers that pass it on have no room beside its own: no other host can get it, and the answer says why."""

    async def scenario() -> None:
        stage = Stage(down_until(0), MemoryBroker())
        sent = command(REQUESTS, "new", {"n": 1}, key=b"k")
        large = ("tracestate", b"t" * (stage.broker.message_bytes_max - len(sent.value) - 200))
        headers = (large, (ADDRESSEE, COMMANDS.format("new").encode()), (DEPTH, b"1"))
        assert stage.broker.append(sent._replace(headers=headers)) is None
        async with pool(stage, {"old": NODES["old"]}):
            await stage.until(lambda: bool(stage.letters))
            assert asyncio.get_running_loop().time() < 5
            assert dict(stage.letters[0].headers)["onex-dlq-code"] == b"message_too_large"
            [answer] = stage.answers("new")
            assert answer.error is not None
            assert answer.error.code == "message_too_large"
            assert "another host of the pool" in answer.error.message

    play(scenario)


_MOMENT = "2026-01-01T00:00:00+00:00"
