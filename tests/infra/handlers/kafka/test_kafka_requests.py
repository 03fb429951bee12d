"""Nodes that ask each other: the real handler and the real engine, on a bus in memory and in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from omnibase_core.codec import decode
from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import HandlerError, InvalidContracts, PublishFailed
from omnibase_core.ports import HandlerCall, Message
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_core.testing.virtual_time import VirtualClock, run
from omnibase_core.topics import Namespace
from omnibase_infra.handlers.kafka import KafkaHandlerFactory, KafkaHandlerSettings, KafkaTarget, RequestContext
from tests.support.commands import command, host, node, registry

NAMES = Namespace(environment="dev", tenant="test")
REQUESTS, LETTERS = NAMES.requests("pool"), NAMES.dead_letter("pool")
GROUP = "onex.dev.test.pool"


class Airwaves(MemoryBroker):
    """A broker on which everybody hears new answers at once."""

    def __init__(self, **options: Any) -> None:
        """Start without a listener."""
        super().__init__(**options)
        self._hearing: list[tuple[Collection[str], Callable[[Sequence[bytes]], None]]] = []
        self.deaf = False

    def append(self, message: Message) -> PublishFailed | None:
        """Keep it, and let it be heard."""
        error = super().append(message)
        for topics, hear in self._hearing if error is None and not self.deaf else ():
            if message.topic in topics and message.value is not None:
                hear([message.value])
        return error

    @asynccontextmanager
    async def listen(
        self, topics: Collection[str], *, hear: Callable[[Sequence[bytes]], None], listening: Callable[[str], None]
    ) -> AsyncIterator[None]:
        """Hear new answers."""
        entry = (topics, hear)
        self._hearing.append(entry)
        for topic in topics:
            listening(topic)
        yield
        self._hearing.remove(entry)


def asker(name: str, asked: str, *, delivery: str = "{timeout_s: 5}", expected: str = "") -> str:
    """Write a node that asks another what it is asked."""
    operations = f"""
  do:
    input: {{type: object}}
    call: request
    request: {{payload: "${{ payload }}", expect_errors: [{expected}]}}
    answer: {{"n": "${{ payload.n }}", error: "${{ result.error == null ? '' : result.error.code }}"}}
"""
    return node(name, handler="kafka", operations=operations, delivery=delivery) + f"target: {asked}\n"


def bound(texts: Mapping[str, str]) -> str:
    """Bind the targets of nodes, which have the names of those that are asked."""
    asked = dict.fromkeys(
        line.split()[1] for text in texts.values() for line in text.split("\n") if line[:7] == "target:"
    )
    targets = ", ".join(f"{name}: {{node: {name}}}" for name in asked)
    return f"requests: true\nhandlers: {{kafka: {{targets: {{{targets}}}}}}}\n"


class Stage:
    """Hosts of a pool on one broker."""

    def __init__(self, broker: Airwaves, stack: AsyncExitStack, texts: Mapping[str, str], limits: str) -> None:
        """Read the contracts."""
        self.broker = broker
        self.runtimes: list[NodeRuntime] = []
        self._stack = stack
        files = {f"{name}.yaml": text for name, text in texts.items()}
        self.names = list(texts)
        written = {**files, "host.yaml": host(*texts, limits=limits) + bound(texts)}
        self._loaded = registry(written, KafkaHandlerFactory.description).hosts["test-host"]

    async def start(self, behave: Any) -> NodeRuntime:
        """Start one more host."""
        loaded = self._loaded
        bus = MemoryBus(self.broker, group=GROUP)
        clock = VirtualClock()
        runtime = NodeRuntime(loaded.contract, bus=bus, clock=clock, observer=RecordingObserver())
        place = RequestContext(namespace=NAMES, pool="pool", listen=self.broker.listen, now=clock.now)
        targets: Any = loaded.settings.targets.get("kafka", {})
        opening = KafkaHandlerFactory(place).open(settings=KafkaHandlerSettings(), targets=targets)
        runtime.register_handler("kafka", await self._stack.enter_async_context(opening))
        runtime.register_handler("scripted", behave)
        runtime.load_nodes(loaded.nodes)
        await runtime.start()
        self._stack.push_async_callback(runtime.stop)
        self.runtimes.append(runtime)
        return runtime

    def send(self, slug: str, n: int) -> None:
        """Send a command that nobody waits for."""
        topic = NAMES.command(slug, 1)
        assert self.broker.append(command(topic, slug, {"n": n}, key=b"%d" % (n % 3))) is None

    def answers(self, slug: str) -> list[Any]:
        """Return a node's answers to commands that are no requests."""
        found = [decode(it.value) for it in self.broker.messages(NAMES.event(slug, 1))]
        asked = {decode(it.value).envelope_id for it in self.broker.messages(REQUESTS)}
        return [it for it in found if it.causation_id not in asked]

    async def until(self, holds: Callable[[], bool], *, within_s: float = 1000) -> None:
        """Let time pass until something holds."""
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(0.1)


class Leaf:
    """A handler that answers after a moment, or does what a test says."""

    def __init__(self, says: Callable[[dict[str, Any]], Mapping[str, Any]] = lambda request: request) -> None:
        """Keep what it says."""
        self._says = says

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Answer."""
        await asyncio.sleep(0.01)
        return self._says(call.request.model_dump())


@asynccontextmanager
async def staged(
    texts: Mapping[str, str], *, leaf: Leaf | None = None, hosts: int = 1, limits: str = "{}", partitions: int = 1
) -> AsyncIterator[Stage]:
    """Run hosts with these nodes."""
    async with AsyncExitStack() as stack:
        stage = Stage(Airwaves(partitions=partitions), stack, texts, limits)
        for _ in range(hosts):
            await stage.start(leaf or Leaf())
        yield stage


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario under a few schedules."""
    for seed in range(3):
        run(scenario(), seed=seed)


def test_the_answer_of_the_node_is_the_result() -> None:
    """The request says who asks, with what command it belongs together, and until when somebody waits."""

    async def scenario() -> None:
        async with staged({"a": asker("a", "b"), "b": node("b")}) as stage:
            stage.send("a", 7)
            await stage.until(lambda: len(stage.answers("a")) == 1)
            [answer] = stage.answers("a")
            assert answer.payload == {"n": 7, "error": ""}
            [sent] = stage.broker.messages(REQUESTS)
            request, headers = decode(sent.value), dict(sent.headers)
            assert (request.correlation_id, request.causation_id) == (answer.correlation_id, answer.causation_id)
            assert (headers[DEPTH], headers[ADDRESSEE]) == (b"1", NAMES.command("b", 1).encode())
            assert request.expires_at is not None
            assert (request.expires_at - request.timestamp).total_seconds() == 5

    play(scenario)


@pytest.mark.parametrize("hosts", [1, 2])
def test_nodes_that_ask_each_other_do_not_lock_the_host(hosts: int) -> None:
    """Far more commands wait than anybody has places for, on both sides and in one partition; each has its answer.

    They ask each other in circles, which end where eight wait in a row. All of it takes less than one timeout would.
    """

    async def scenario() -> None:
        tight = "{timeout_s: 300, max_in_flight: 2}"
        ways: dict[str, Any] = {"delivery": tight, "expected": "too_deep"}
        lined: dict[str, Any] = {**ways, "delivery": tight.replace("}", ", ordering: partition}")}
        nodes = {"a": asker("a", "b", **lined), "b": asker("b", "a", **ways), "c": node("c", delivery=tight)}
        async with staged(nodes, hosts=hosts, limits="{max_in_flight: 2, ahead_max: 10}") as stage:
            for n in range(100):
                for name in nodes:
                    stage.send(name, n)
            await stage.until(lambda: all(len(stage.answers(name)) == 100 for name in nodes), within_s=290)
            assert {it.payload["n"] for name in nodes for it in stage.answers(name)} == set(range(100))
            assert len(stage.broker.messages(REQUESTS)) == 2 * 100 * 8
            assert len(stage.broker.messages(LETTERS)) == 2 * 100

    run(scenario(), seed=1)


def test_commands_that_wait_for_an_answer_keep_nobody_out() -> None:
    """However many wait for a node that does not answer: the host serves its other nodes."""

    async def scenario() -> None:
        nodes = {"a": asker("a", "gone", delivery="{timeout_s: 300}"), "c": node("c"), "gone": node("gone")}
        leaf = Leaf()
        async with staged(nodes, leaf=leaf, limits="{max_in_flight: 3}") as stage:
            stage.broker.deaf = True
            for n in range(50):
                stage.send("a", n)
                stage.send("c", n)
            await stage.until(lambda: len(stage.answers("c")) == 50, within_s=100)
            assert stage.answers("a") == []

    run(scenario(), seed=1)


def test_a_command_whose_answer_is_lost_asks_again_and_is_never_lost() -> None:
    """With the same id; at the end of its attempts it has an error answer and a dead letter."""

    async def scenario() -> None:
        retry = "{timeout_s: 5, retry: {attempts: 3, initial_s: 1, max_s: 1, jitter: 0}}"
        async with staged({"a": asker("a", "b", delivery=retry), "b": node("b")}) as stage:
            stage.broker.deaf = True
            stage.send("a", 1)
            await stage.until(lambda: len(stage.answers("a")) == 1)
            [answer] = stage.answers("a")
            assert (answer.error.code, answer.error.retryable) == ("no_answer", True)
            assert "5 s" in answer.error.message
            assert len(stage.broker.messages(LETTERS)) == 1
            requests = stage.broker.messages(REQUESTS)
            assert (len(requests), len({decode(it.value).envelope_id for it in requests})) == (3, 1)
            stage.broker.deaf = False
            stage.send("a", 2)
            await stage.until(lambda: len(stage.answers("a")) == 2)
            assert stage.answers("a")[1].error is None

    play(scenario)


def test_a_host_that_stops_while_it_waits_leaves_the_command_to_the_next() -> None:
    """It is not committed, so that the next host asks again and answers."""

    async def scenario() -> None:
        async with staged({"a": asker("a", "b", delivery="{timeout_s: 300}"), "b": node("b")}) as stage:
            stage.broker.deaf = True
            stage.send("a", 1)
            await stage.until(lambda: len(stage.broker.messages(NAMES.event("b", 1))) == 1)
            await stage.runtimes[0].stop()
            assert stage.answers("a") == []
            stage.broker.deaf = False
            await stage.start(Leaf())
            await stage.until(lambda: len(stage.answers("a")) == 1)
            assert stage.answers("a")[0].error is None

    play(scenario)


@pytest.mark.parametrize(
    ("code", "retryable", "expected", "gives"),
    [
        ("busy", True, "", "request_failed"),
        ("no_such_thing", False, "", "request_refused"),
        ("no_such_thing", False, "no_such_thing", None),
    ],
)
def test_an_error_of_the_node_is_an_error_unless_it_is_expected(
    *, code: str, retryable: bool, expected: str, gives: str | None
) -> None:
    """It is retryable where the node's is, and says what the node said."""

    def fails(_: dict[str, Any]) -> Mapping[str, Any]:
        raise HandlerError(code, "as told", retryable=retryable)

    async def scenario() -> None:
        once = "{timeout_s: 5, retry: {attempts: 1}}"
        nodes = {"a": asker("a", "b", delivery=once, expected=expected), "b": node("b", delivery=once)}
        async with staged(nodes, leaf=Leaf(fails)) as stage:
            stage.send("a", 1)
            await stage.until(lambda: len(stage.answers("a")) == 1)
            [answer] = stage.answers("a")
            if gives is None:
                assert answer.payload == {"n": 1, "error": code}
            else:
                assert (answer.error.code, answer.error.retryable) == (gives, retryable)
                assert answer.error.details["code"] == code

    play(scenario)


def test_what_is_nobodys_request_is_a_dead_letter() -> None:
    """On the request topic, and for no node of the pool: nothing stands still behind it."""

    async def scenario() -> None:
        async with staged({"a": asker("a", "b"), "b": node("b")}) as stage:
            stray = command(REQUESTS, "other", {"n": 1})
            assert stage.broker.append(stray) is None
            assert stage.broker.append(stray._replace(headers=[(ADDRESSEE, b"\xff")])) is None
            stage.send("a", 1)
            await stage.until(lambda: len(stage.answers("a")) == 1)
            letters = [dict(it.headers) for it in stage.broker.messages(LETTERS)]
            assert [it["onex-dlq-code"] for it in letters] == [b"not_for_this_pool"] * 2

    play(scenario)


def test_a_host_of_exactly_once_takes_no_node_that_asks() -> None:
    """Its request would be sent only with its own answer: refused at check, where one that publishes is taken."""
    publisher = node("p", handler="kafka", operations="{do: {input: {type: object}, request: {text: x}}}")
    known = KafkaHandlerFactory.description
    targets = "handlers: {kafka: {targets: {%s}}}\n"
    texts = {"p.yaml": publisher + "target: t\n", "a.yaml": asker("a", "b")}
    taken = {**texts, "h.yaml": host("p", guarantee="exactly_once") + targets % "t: {topics: [t]}"}
    assert registry(taken, known).hosts["test-host"].contract.nodes == ["p"]
    refused = {**texts, "h.yaml": host("p", "a", guarantee="exactly_once") + targets % "b: {node: b}, t: {topics: [t]}"}
    with pytest.raises(InvalidContracts, match="so that it would wait for itself"):
        registry(refused, known)


@pytest.mark.parametrize(
    ("target", "says"), [("{topics: [t]}", "that has topics and no node to ask"), ("{node: b}", "no topics")]
)
def test_a_target_is_held_to_what_is_done_with_it(target: str, says: str) -> None:
    """At check, and not with the first command."""
    texts = {
        "a.yaml": asker("a", "it"),
        "p.yaml": node("p", handler="kafka", operations="{do: {input: {type: object}, request: {text: x}}}")
        + "target: it\n",
        "h.yaml": host("a", "p") + f"handlers: {{kafka: {{targets: {{it: {target}}}}}}}\n",
    }
    with pytest.raises(InvalidContracts) as refused:
        registry(texts, KafkaHandlerFactory.description)
    [problem] = refused.value.problems
    assert says in problem.message


@pytest.mark.parametrize(
    "target", [{}, {"topics": ["t"], "node": "b"}, {"topics": ["t"], "pool": "p"}, {"node": "B!"}, {"topics": []}]
)
def test_a_target_has_topics_or_a_node(target: dict[str, Any]) -> None:
    """Neither nothing nor both."""
    with pytest.raises(ValidationError):
        KafkaTarget.model_validate(target)
