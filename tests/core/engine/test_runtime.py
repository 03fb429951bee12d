"""The loop on the bus in memory, under each guarantee: what is served, in which order, and what is committed when."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from omnibase_core.codec import decode
from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import HandlerError, UnknownHandler
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import HandlerCall, Message, Partition
from omnibase_core.testing import FixedClock, MemoryBroker, MemoryBus, RecordingObserver
from tests.support.commands import ECHO, command, loaded_host, node, payloads

COMMANDS = "onex.app.dev.test.cmd.node.{}.v1"
EVENTS = "onex.app.dev.test.evt.node.{}.v1"
DEAD_LETTERS = "onex.app.dev.test.dlq.runtime.pool.v1"
GROUP = "onex.dev.test.pool"

GUARANTEE: ContextVar[str] = ContextVar("guarantee")

Behaviour = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]


@pytest.fixture(autouse=True, params=["at_least_once", "exactly_once"])
def _guarantee(request: pytest.FixtureRequest) -> None:
    """Let each test run twice: what holds with answers of their own holds with transactions, too."""
    GUARANTEE.set(request.param)


class Scripted:
    """A handler that does what the test says, and notes what it was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        """Take the behaviour: from a request to a result."""
        self.asked: list[dict[str, Any]] = []
        self._behaviour = behaviour

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Note the request, and behave."""
        request = call.request.model_dump()
        self.asked.append(request)
        return await self._behaviour(request)


async def answer_at_once(request: dict[str, Any]) -> Mapping[str, Any]:
    """Return the request back."""
    return request


class Stage:
    """A broker with one running host."""

    def __init__(self, loaded: LoadedHost, broker: MemoryBroker, runtime: NodeRuntime, bus: MemoryBus) -> None:
        """Keep the parts."""
        self.loaded = loaded
        self.broker = broker
        self.runtime = runtime
        self.bus = bus
        self.observer = RecordingObserver()

    def answers(self, slug: str) -> list[Message]:
        """Return a node's answers."""
        return self.broker.messages(EVENTS.format(slug))

    def dead_letters(self) -> list[Message]:
        """Return the pool's dead letters."""
        return self.broker.messages(DEAD_LETTERS)

    def committed(self) -> int:
        """Count the commands up to which is committed."""
        return sum(self.broker.committed(GROUP).values())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until something holds; a test that waits in vain is ended."""
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - nothing tells that the loop has turned
                await asyncio.sleep(0)


@asynccontextmanager
async def running(
    nodes: Mapping[str, str],
    *,
    behaviour: Behaviour = answer_at_once,
    broker: MemoryBroker | None = None,
    limits: str = "{}",
) -> AsyncIterator[Stage]:
    """Run a host of these nodes until the end of the block."""
    loaded = loaded_host(nodes, limits=limits, guarantee=GUARANTEE.get())
    broker = broker or MemoryBroker()
    bus = MemoryBus(broker, group=GROUP)
    observer = RecordingObserver()
    runtime = NodeRuntime(loaded.contract, bus=bus, clock=FixedClock(), observer=observer)
    runtime.register_handler("local", LocalHandler())
    runtime.register_handler("scripted", Scripted(behaviour))
    runtime.load_nodes(loaded.nodes)
    stage = Stage(loaded, broker, runtime, bus)
    stage.observer = observer
    await runtime.start()
    try:
        yield stage
    finally:
        await runtime.stop()


def send(stage: Stage, *messages: Message) -> None:
    """Publish commands."""
    for message in messages:
        assert stage.broker.append(message) is None


def to(slug: str, payload: Mapping[str, Any] | None = None, **changes: Any) -> Message:
    """Make a command for a node."""
    return command(COMMANDS.format(slug), slug, payload, **changes)


def test_a_command_gets_its_answer_and_then_its_offset_is_committed() -> None:
    """The answer carries the payload, the key and the correlation, and the trace goes on."""

    async def scenario() -> None:
        async with running({"echo": node("echo", handler="local", operations=ECHO)}) as stage:
            sent = to("echo", {"text": "hi"}, key=b"k")
            send(stage, sent._replace(headers=(("traceparent", b"00-abc"), ("other", b"x"))))
            await stage.until(lambda: stage.committed() == 1)
            [message] = stage.answers("echo")
            answer, asked = decode(message.value), decode(sent.value)
            assert answer.payload == {"text": "hi"}
            assert (answer.correlation_id, answer.causation_id) == (asked.correlation_id, asked.envelope_id)
            assert (answer.handler_type, message.key) == ("local", b"k")
            [told] = stage.observer.named("command_answered")
            assert (told["node"], told["causation_id"]) == ("echo", str(asked.envelope_id))
            assert list(message.headers) == [("traceparent", b"00-abc")]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"", b"empty"), (b"[1,2]", b"not_an_object"), (b'{"a', b"not_json"), (b"\xff", b"not_json")],
)
def test_what_cannot_be_decoded_gets_a_dead_letter_and_the_next_is_served(value: bytes, code: bytes) -> None:
    """The dead letter holds the original bytes, key and headers, and its reason and place."""

    async def scenario() -> None:
        async with running({"echo": node("echo", handler="local", operations=ECHO)}) as stage:
            send(stage, Message(COMMANDS.format("echo"), b"k", value, (("mine", b"1"),)), to("echo", key=b"k"))
            await stage.until(lambda: stage.committed() == 2)
            [letter] = stage.dead_letters()
            headers = dict(letter.headers)
            assert (letter.key, letter.value) == (b"echo", value)
            assert headers["onex-dlq-code"] == code
            assert (headers["onex-dlq-key"], headers["mine"], headers["onex-dlq-offset"]) == (b"k", b"1", b"0")
            assert len(stage.answers("echo")) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("changes", "code", "letters"),
    [
        ({"payload": {"a": "text"}}, "payload_invalid", 0),
        ({"operation": "dance"}, "unknown_operation", 0),
        ({"handler_type": "http"}, "handler_mismatch", 0),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expired", 0),
        ({"node_slug": "other"}, "node_mismatch", 1),
    ],
)
def test_a_wrong_command_gets_an_error_answer(changes: dict[str, Any], code: str, letters: int) -> None:
    """Only what went to the wrong topic is a dead letter as well."""
    operations = """{do: {input: {properties: {a: {type: integer}}}, request: "${ payload }"}}"""

    async def scenario() -> None:
        async with running({"strict": node("strict", operations=operations)}) as stage:
            sent = json.loads(to("strict").value or b"") | changes
            send(stage, Message(COMMANDS.format("strict"), None, _json(sent)))
            await stage.until(lambda: stage.committed() == 1)
            [answer] = stage.answers("strict")
            error = decode(answer.value).error
            assert error is not None
            assert error.code == code
            assert len(stage.dead_letters()) == letters

    asyncio.run(scenario())


def test_a_failure_is_answered_and_dead_lettered_and_the_neighbour_serves_on() -> None:
    """A handler's error and a handler's bug both end their command, and nothing else."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["how"] == "error":
            raise HandlerError("no_luck", "try again", retryable=True, details={"n": 1})
        raise RuntimeError("a bug")

    async def scenario() -> None:
        nodes = {"bad": node("bad"), "echo": node("echo", handler="local", operations=ECHO)}
        async with running(nodes, behaviour=behave) as stage:
            send(stage, to("bad", {"how": "error"}), to("bad", {"how": "bug"}), to("echo"))
            await stage.until(lambda: stage.committed() == 3)
            errors = [decode(message.value).error for message in stage.answers("bad")]
            found = {error.code: (error.message, error.retryable, error.details) for error in errors if error}
            assert found == {
                "no_luck": ("try again", True, {"n": 1}),
                "internal_error": ("RuntimeError: a bug", False, {}),
            }
            assert len(stage.dead_letters()) == 2
            assert len(stage.answers("echo")) == 1
            assert stage.runtime.figures["bad"].degraded is not None
            assert stage.runtime.figures["echo"].degraded is None

    asyncio.run(scenario())


def test_a_handler_that_hangs_is_timed_out() -> None:
    """`delivery.timeout_s` bounds the call."""

    async def hang(_: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        async with running({"slow": node("slow", delivery="{timeout_s: 0.01}")}, behaviour=hang) as stage:
            send(stage, to("slow"))
            await stage.until(lambda: stage.committed() == 1)
            error = decode(stage.answers("slow")[0].value).error
            assert error is not None
            assert (error.code, error.retryable) == ("timeout", True)

    asyncio.run(scenario())


@pytest.mark.parametrize(("ordering", "at_once"), [("key", 2), ("partition", 1), ("none", 4)])
def test_ordering_says_what_waits_for_what(ordering: str, at_once: int) -> None:
    """Four commands of two keys in one partition: as many run at once as the contract lets."""
    gate = asyncio.Event()
    running_now: list[int] = []

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        running_now.append(request["n"])
        await gate.wait()
        return request

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        nodes = {"slow": node("slow", delivery=f"{{ordering: {ordering}}}")}
        async with running(nodes, behaviour=behave, broker=broker) as stage:
            send(stage, *(to("slow", {"n": n}, key=b"ab"[n % 2 : n % 2 + 1]) for n in range(4)))
            await stage.until(lambda: len(running_now) == at_once)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(running_now) == at_once
            gate.set()
            await stage.until(lambda: stage.committed() == 4)
            if ordering != "none":
                answered = payloads(stage.answers("slow"))
                assert [it["n"] for it in answered if it["n"] % 2 == 0] == [0, 2]
                assert [it["n"] for it in answered if it["n"] % 2 == 1] == [1, 3]

    asyncio.run(scenario())


def test_nothing_is_committed_beyond_unfinished_work() -> None:
    """Later commands of the partition are done; the offset waits for the first, and in a transaction so do answers."""
    gate = asyncio.Event()
    done: list[int] = []

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0:
            await gate.wait()
        done.append(request["n"])
        return request

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        async with running({"slow": node("slow")}, behaviour=behave, broker=broker) as stage:
            send(stage, *(to("slow", {"n": n}, key=b"%d" % n) for n in range(5)))
            await stage.until(lambda: len(done) == 4)
            await asyncio.sleep(0.01)
            assert stage.committed() == 0
            assert len(stage.answers("slow")) == (4 if GUARANTEE.get() == "at_least_once" else 0)
            gate.set()
            await stage.until(lambda: stage.committed() == 5)
            assert len(stage.answers("slow")) == 5

    asyncio.run(scenario())


def test_stopping_commits_only_what_is_done_and_the_rest_is_served_again() -> None:
    """What is cancelled at the end of the drain is not acknowledged: the next host serves it."""

    begun = asyncio.Event()

    async def hang(_: dict[str, Any]) -> Mapping[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        nodes = {"slow": node("slow")}
        async with running(nodes, behaviour=hang, broker=broker, limits="{drain_s: 0.01}") as stage:
            send(stage, to("slow", {"n": 1}))
            await begun.wait()
        assert stage.committed() == 0
        assert stage.observer.named("drain_timed_out") == [{"unfinished": 1}]
        async with running(nodes, broker=broker) as stage:
            await stage.until(lambda: stage.committed() == 1)
            assert payloads(stage.answers("slow")) == [{"n": 1}]

    asyncio.run(scenario())


def test_stopping_waits_for_work_in_flight() -> None:
    """Within the drain, work is finished, answered and committed; nothing new is begun."""
    gate = asyncio.Event()
    begun = asyncio.Event()

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        begun.set()
        await gate.wait()
        return request

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        async with running({"slow": node("slow")}, behaviour=behave, broker=broker) as stage:
            send(stage, to("slow", {"n": 1}, key=b"k"), to("slow", {"n": 2}, key=b"k"))
            await begun.wait()
            stopping = asyncio.create_task(stage.runtime.stop())
            await asyncio.sleep(0)
            gate.set()
            await stopping
            assert payloads(stage.answers("slow")) == [{"n": 1}]
            assert stage.committed() == 1

    asyncio.run(scenario())


def test_a_full_node_holds_back_itself_alone() -> None:
    """One node at its limit takes no more, while its neighbour serves on."""
    gate = asyncio.Event()

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        await gate.wait()
        return request

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        nodes = {
            "slow": node("slow", delivery="{max_in_flight: 3, ordering: none}"),
            "echo": node("echo", handler="local", operations=ECHO),
        }
        async with running(nodes, behaviour=behave, broker=broker) as stage:
            for n in range(4000):
                send(stage, to("slow", {"n": n}), to("echo"))
            # What is left in flight are slow's: three, what may wait for them, and one batch that was on its way.
            await stage.until(lambda: len(stage.answers("echo")) == 4000 and stage.runtime.in_flight <= 3300)
            for _ in range(20):
                await asyncio.sleep(0)
            assert 3000 <= stage.runtime.in_flight <= 3300
            gate.set()
            await stage.until(lambda: stage.committed() == 8000)

    asyncio.run(scenario())


def test_nodes_that_stand_still_do_not_fill_the_host() -> None:
    """However much waits for them, what there is no room for stays on the broker, and in the end nothing is lost."""
    gate = asyncio.Event()
    stuck = [f"stuck-{number}" for number in range(4)]

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] >= 0:
            await gate.wait()
        return request

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        nodes = {slug: node(slug, delivery="{max_in_flight: 20, ordering: none}") for slug in [*stuck, "well"]}
        async with running(nodes, behaviour=behave, broker=broker, limits="{max_in_flight: 100}") as stage:
            send(stage, *(to(slug, {"n": n}) for slug in stuck for n in range(300)))
            await stage.until(lambda: stage.runtime.in_flight > 70)
            for number in range(1, 200):
                send(stage, to("well", {"n": -number}))
            await stage.until(lambda: len(stage.answers("well")) == 199)
            assert stage.runtime.in_flight < 100
            gate.set()
            await stage.until(lambda: stage.committed() == 4 * 300 + 199)
            for slug in stuck:
                assert [it["n"] for it in payloads(stage.answers(slug))] == list(range(300))

    asyncio.run(scenario())


def test_two_hosts_share_the_partitions_and_nothing_is_served_twice() -> None:
    """A second host takes over half of the partitions, once what is in flight there is done."""

    async def scenario() -> None:
        nodes = {"echo": node("echo", handler="local", operations=ECHO)}
        broker = MemoryBroker()
        async with running(nodes, broker=broker) as first:
            send(first, *(to("echo", {"n": n}, key=b"%d" % n) for n in range(50)))
            async with running(nodes, broker=broker) as second:
                await first.until(lambda: len(first.runtime.assigned) == len(second.runtime.assigned) == 2)
                send(first, *(to("echo", {"n": n}, key=b"%d" % n) for n in range(50, 100)))
                await first.until(lambda: first.committed() == 100)
            await first.until(lambda: len(first.runtime.assigned) == 4)
            assert sorted(it["n"] for it in payloads(first.answers("echo"))) == list(range(100))

    asyncio.run(scenario())


def test_the_late_result_of_a_lost_partition_is_dropped() -> None:
    """Work that outlives its partition publishes nothing: whoever has the partition now serves the command."""
    gate = asyncio.Event()
    begun = asyncio.Event()

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        begun.set()
        await gate.wait()
        return request

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        limits = "{drain_s: 0.01}"
        async with running({"slow": node("slow")}, behaviour=behave, broker=broker, limits=limits) as stage:
            send(stage, to("slow", {"n": 1}))
            await begun.wait()
            broker.lose(GROUP, Partition(COMMANDS.format("slow"), 0))
            await stage.until(lambda: stage.observer.named("partitions_revoked") != [])
            # The partition came back to the only member there is, which begins the command once more.
            await stage.until(lambda: stage.runtime.in_flight == 2)
            gate.set()
            await stage.until(lambda: stage.committed() == 1)
            assert payloads(stage.answers("slow")) == [{"n": 1}]
            await stage.until(lambda: stage.runtime.in_flight == 0)

    asyncio.run(scenario())


def test_an_answer_too_large_is_refused_and_dead_lettered_cut_short() -> None:
    """Nothing can wedge a partition: the error answer is short, the dead letter has the place and the hash."""

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1, message_bytes_max=3000)
        nodes = {"echo": node("echo", handler="local", operations=ECHO.replace('"${ result.message }"', _TWICE))}
        async with running(nodes, broker=broker) as stage:
            send(stage, to("echo", {"text": "x" * 2000}), to("echo", {"text": "y"}))
            await stage.until(lambda: stage.committed() == 2)
            error = decode(stage.answers("echo")[0].value).error
            assert error is not None
            assert error.code == "answer_too_large"
            [letter] = stage.dead_letters()
            headers = dict(letter.headers)
            assert headers["onex-dlq-code"] == b"answer_too_large"
            assert len(stage.answers("echo")) == 2

    asyncio.run(scenario())


_TWICE = '{a: "${ result.message.text }", b: "${ result.message.text }"}'


def test_a_node_without_its_handler_is_refused() -> None:
    """Loading says which handler is missing."""
    loaded = loaded_host({"bad": node("bad")})
    bus = MemoryBus(MemoryBroker(), group=GROUP)

    async def scenario() -> None:
        runtime = NodeRuntime(loaded.contract, bus=bus, clock=FixedClock(), observer=RecordingObserver())
        with pytest.raises(UnknownHandler, match="node 'bad': handler 'scripted' is not registered"):
            runtime.load_nodes(loaded.nodes)

    asyncio.run(scenario())


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
