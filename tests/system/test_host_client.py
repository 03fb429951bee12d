"""HostClient against a host in a process of its own: what a service that is no node gets to see."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from uuid import uuid4

import pytest

from omnibase_core.envelope import OnexEnvelope
from omnibase_core.ports import Message
from omnibase_infra.client import CallFailed, HostClient, NoAnswer, NodeNotThere
from tests.support.commands import node
from tests.support.hosts import Machine, echo_nodes
from tests.support.traffic import create_topics, publish

CALLS = 300
PICKY = """
  choose:
    input: {type: object, required: [count], properties: {count: {type: integer}}}
    request: {message: "${ payload }"}
    errors: [{when: "${ payload.count > 9 }", code: too_many, message: at most nine}]
    answer: "${ result.message }"
"""


def _nodes() -> dict[str, str]:
    return {**echo_nodes(["echo"]), "picky": node("picky", handler="local", operations=PICKY)}


def _topic(machine: Machine, stream: str, slug: str) -> str:
    return f"onex.app.test.{machine.tenant}.{stream}.node.{slug}.v1"


def _with_client(machine: Machine, scenario: Callable[[HostClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with HostClient(machine.broker, environment="test", tenant=machine.tenant) as client:
            await scenario(client)

    asyncio.run(run())


async def _until_there(client: HostClient, node: str) -> None:
    """Wait until the broker tells of topics that it has just created."""
    async with asyncio.timeout(30):
        while True:
            with suppress(NoAnswer):
                try:
                    await client.call(node, {}, timeout_s=1)
                except NodeNotThere:
                    continue
            return


@pytest.fixture
def serving(machine: Machine) -> Machine:
    """Run a host with an echo and a node that refuses some commands."""
    machine.write(_nodes())
    host = machine.start()
    host.until_ready()
    return machine


def test_each_call_gets_its_own_answer(serving: Machine) -> None:
    """Hundreds at once, of several keys; an error answer is raised with its code, and is no end of the client."""

    async def scenario(client: HostClient) -> None:
        calls = (client.call("echo", {"n": n}, key=f"k{n % 7}", metadata={"n": n}) for n in range(CALLS))
        answers = await asyncio.gather(*calls)
        assert [it.payload for it in answers] == [{"n": n} for n in range(CALLS)]
        assert [it.metadata for it in answers] == [{"n": n} for n in range(CALLS)]
        with pytest.raises(CallFailed, match="at most nine") as failure:
            await client.call("picky", {"count": 10}, operation="choose")
        assert (failure.value.code, failure.value.retryable) == ("too_many", False)
        with pytest.raises(CallFailed) as failure:
            await client.call("picky", {})
        assert failure.value.code == "payload_invalid"
        assert (await client.call("picky", {"count": 9})).payload == {"count": 9}

    _with_client(serving, scenario)


def test_a_call_that_is_repeated_with_its_id_has_the_same_answer(serving: Machine) -> None:
    """The answer's id follows from the command's."""

    async def scenario(client: HostClient) -> None:
        request_id = uuid4()
        first = await client.call("echo", {"n": 1}, request_id=request_id)
        again = await client.call("echo", {"n": 1}, request_id=request_id)
        assert first.envelope_id == again.envelope_id
        assert first.causation_id == request_id

    _with_client(serving, scenario)


def test_a_node_that_is_not_there_is_told_at_once_and_looked_for_again(serving: Machine) -> None:
    """Not after the time of the call; when its topics have come, it can be called."""

    async def scenario(client: HostClient) -> None:
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(NodeNotThere, match="is a host with this node running"):
            await client.call("nobody", {}, timeout_s=30)
        assert asyncio.get_running_loop().time() - began_s < 15
        create_topics(serving.broker, [_topic(serving, stream, "nobody") for stream in ("cmd", "evt")])
        await _until_there(client, "nobody")
        with pytest.raises(NoAnswer, match="'nobody' within 1 s"):
            await client.call("nobody", {}, timeout_s=1)

    _with_client(serving, scenario)


def test_what_nobody_took_in_time_expires(machine: Machine) -> None:
    """A host that comes later says so, and does not serve it."""
    machine.write(_nodes())
    create_topics(machine.broker, [_topic(machine, stream, "echo") for stream in ("cmd", "evt")])

    async def scenario(client: HostClient) -> None:
        with pytest.raises(NoAnswer):
            await client.call("echo", {"n": 1}, timeout_s=1)
        host = machine.start()
        await asyncio.to_thread(host.until_ready)
        async with aclosing(client.answers("echo", group=f"{machine.tenant}-late")) as answers:
            answer = await asyncio.wait_for(anext(answers), 30)
        assert answer.error is not None
        assert answer.error.code == "expired"

    _with_client(machine, scenario)


def test_a_group_reads_each_answer_and_goes_on_where_it_was(serving: Machine) -> None:
    """Three are read, the third not to its end: it comes again. What is no answer is skipped."""
    group = f"{serving.tenant}-readers"

    async def read(client: HostClient, count: int) -> list[OnexEnvelope]:
        found: list[OnexEnvelope] = []
        async with aclosing(client.answers("echo", group=group)) as answers:
            async for answer in answers:
                found.append(answer)
                if len(found) == count:
                    return found
        raise AssertionError

    async def scenario(client: HostClient) -> None:
        sent = [await client.send("echo", {"n": n}, key="one") for n in range(2)]
        publish(serving.broker, [Message(_topic(serving, "evt", "echo"), b"one", b"no answer")])
        sent += [await client.send("echo", {"n": n}, key="one") for n in range(2, 5)]
        async with asyncio.timeout(60):
            first = await read(client, 3)
            second = await read(client, 3)
        assert [it.causation_id for it in first] == sent[:3]
        assert [it.causation_id for it in second] == sent[2:]

    _with_client(serving, scenario)


def test_a_group_of_a_pool_is_left_alone(machine: Machine) -> None:
    """Who read with it would take partitions from hosts."""

    async def scenario(client: HostClient) -> None:
        with pytest.raises(ValueError, match=r"does not begin with onex\."):
            await anext(client.answers("echo", group=f"onex.test.{machine.tenant}.pool"))

    _with_client(machine, scenario)
