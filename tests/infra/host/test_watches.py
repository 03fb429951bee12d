"""Watches: what changes is sent to the node at least once, by one host, and goes on whatever the server does.

Most of it is played in virtual time by a shelf that a test arranges; the rest against the stand-in for Consul.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from omnibase_core.codec import decode
from omnibase_core.contracts.compiler.watches import CompiledWatch
from omnibase_core.contracts.host import Watch
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Handler, HandlerCall, Message, Partition, Refusal
from omnibase_core.testing import RecordingObserver
from omnibase_core.testing.virtual_time import run
from omnibase_core.topics import Namespace
from omnibase_infra.handlers.consul import ConsulHandlerFactory, ConsulSettings, ConsulTarget
from omnibase_infra.handlers.consul.operations import following
from omnibase_infra.handlers.consul.services import ListServices
from omnibase_infra.host.watches import Watcher
from omnibase_spi import HandlerError
from tests.support.consul_standin import Agent

NAMES = Namespace(environment="dev", tenant="test")
TOPIC = NAMES.command("lister", 1)
DUTY = Partition(TOPIC, 0)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
AWAY = HandlerError("unreachable", "nobody there", retryable=True)


class Shelf:
    """A handler that gives what the test put on it, as a blocking query does."""

    def __init__(self) -> None:
        """Start with one book."""
        self.index, self.books = 5, ["a"]
        self.trouble: Exception | None = None
        self.asked: list[int | None] = []
        self.cancelled = 0
        self._changed = asyncio.Event()

    def put(self, *books: str, index: int | None = None) -> None:
        """Change what is there."""
        self.books, self.index = list(books), self.index + 1 if index is None else index
        self._changed.set()
        self._changed = asyncio.Event()

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Wait until there is something newer than the index that was asked for."""
        assert isinstance(call.request, ListServices)
        self.asked.append(call.request.index)
        if self.trouble is not None:
            raise self.trouble
        try:
            if call.request.index == self.index:
                async with asyncio.timeout(call.timeout_s / 2):
                    await self._changed.wait()
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {"services": {book: [] for book in self.books}, "index": self.index}


class Bus:
    """Keeps what is published. `acknowledge` ends waiting for the broker; `refuse` is what it says."""

    def __init__(self) -> None:
        """Acknowledge everything."""
        self.messages: list[Message] = []
        self.broker = asyncio.Event()
        self.broker.set()
        self.refuse: PublishFailed | None = None

    async def publish(self, messages: Sequence[Message], /) -> Sequence[Refusal]:
        """Take messages, and wait for the broker."""
        self.messages += messages
        await self.broker.wait()
        return [] if self.refuse is None else [Refusal(0, self.refuse)]

    @property
    def commands(self) -> list[OnexEnvelope]:
        """What was published."""
        return [decode(message.value) for message in self.messages]

    @property
    def books(self) -> list[str]:
        """What each command says is there."""
        return ["".join(it.payload["services"]) for it in self.commands]


class Stage:
    """One host's watch, with the partitions that it serves."""

    def __init__(self, handler: Handler, **written: Any) -> None:
        """Begin on duty."""
        watch = Watch.model_validate(
            {"handler": "consul", "call": "services", "node": "lister", "operation": "list", **written}
        )
        compiled = CompiledWatch(name="fleet", watch=watch, major=1, request=ListServices(), following=following)
        self.bus, self.observer, self.assigned = Bus(), RecordingObserver(), [DUTY]
        self.watcher = Watcher(compiled, handler, names=NAMES, publish=self.bus.publish, observer=self.observer)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Stage":
        """Run the watch."""
        self._task = asyncio.create_task(self.watcher.run(lambda: self.assigned, lambda: NOON))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel it: nothing is left."""
        assert self._task is not None
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


def play(scenario: Callable[[Shelf], Awaitable[None]]) -> None:
    """Run a scenario in virtual time, at whose end nothing runs any more."""

    async def whole() -> None:
        before = asyncio.all_tasks()
        await scenario(Shelf())
        assert asyncio.all_tasks() == before

    run(whole(), seed=1)


def test_what_is_now_is_sent_and_then_each_change() -> None:
    """As a command to the node's operation, under the watch's name as its key. Nothing changes: nothing is sent."""

    async def scenario(shelf: Shelf) -> None:
        async with Stage(shelf, timeout_s=60.0) as stage:
            await asyncio.sleep(100)
            shelf.put("a", "b")
            await asyncio.sleep(500)
            shelf.put("b")
            await asyncio.sleep(100)
            assert stage.bus.books == ["a", "ab", "b"]
            assert stage.watcher.state == "watching"
            first, *_ = stage.bus.commands
            assert stage.bus.messages[0][:2] == (TOPIC, b"fleet")
            assert (first.node_slug, first.operation, first.timestamp) == ("lister", "list", NOON)
            assert first.payload == {"services": {"a": []}, "index": 5}
            assert first.metadata == {"watch": "fleet"}
            assert first.correlation_id == first.envelope_id
            assert len({it.envelope_id for it in stage.bus.commands}) == 3

    play(scenario)


def test_changes_in_a_row_come_as_one() -> None:
    """No more than one command in `interval_s`, and the last state is always among them."""

    async def scenario(shelf: Shelf) -> None:
        async with Stage(shelf, interval_s=10.0) as stage:
            for number in range(100):
                shelf.put(str(number))
                await asyncio.sleep(0.3)
            await asyncio.sleep(60)
            assert len(stage.bus.books) <= 5
            assert stage.bus.books[-1] == "99"

    play(scenario)


def test_a_server_that_does_not_wait_is_not_asked_in_a_row() -> None:
    """It would be kept busy by nothing but the watch."""

    async def scenario(shelf: Shelf) -> None:
        shelf.index = 0
        async with Stage(shelf, interval_s=1.0) as stage:
            await asyncio.sleep(100)
            assert len(shelf.asked) < 110
            assert len(stage.bus.books) == 1

    play(scenario)


def test_an_index_that_goes_back_loses_no_change() -> None:
    """What is there after it is sent, and what comes then too."""

    async def scenario(shelf: Shelf) -> None:
        shelf.index = 1000
        async with Stage(shelf) as stage:
            await asyncio.sleep(10)
            shelf.put("a", "old", index=3)
            await asyncio.sleep(100)
            shelf.put("a", "new")
            await asyncio.sleep(100)
            assert stage.bus.books == ["a", "aold", "anew"]
            assert shelf.asked[:3] == [None, 1000, None]

    play(scenario)


@pytest.mark.parametrize("trouble", [AWAY, HandlerError("access_denied", "not you"), ZeroDivisionError("a bug")])
def test_a_server_in_trouble_is_asked_less_and_less_often_until_it_is_back(trouble: Exception) -> None:
    """The watch says so once, and misses nothing that lasted; what has not changed is not sent again."""

    async def scenario(shelf: Shelf) -> None:
        async with Stage(shelf, backoff_max_s=20.0, timeout_s=2.0) as stage:
            await asyncio.sleep(10)
            shelf.trouble = trouble
            await asyncio.sleep(5)
            asked = len(shelf.asked)
            await asyncio.sleep(1000)
            assert 50 <= len(shelf.asked) - asked <= 110
            code = trouble.code if isinstance(trouble, HandlerError) else "internal_error"
            assert stage.watcher.state.startswith(code)
            assert [it["code"] for it in stage.observer.named("watch_failed")] == [code]
            shelf.trouble = None
            await asyncio.sleep(30)
            assert (stage.watcher.state, stage.bus.books) == ("watching", ["a"])
            shelf.trouble = trouble
            await asyncio.sleep(30)
            shelf.put("b")
            shelf.trouble = None
            await asyncio.sleep(30)
            assert stage.bus.books == ["a", "b"]

    play(scenario)


def test_a_handler_that_does_not_keep_to_its_time_is_cut_off() -> None:
    """A call that hangs ends a moment after its time, and is made again."""

    class Hanging:
        calls = 0

        async def execute(self, _: HandlerCall, /) -> Mapping[str, Any]:
            self.calls += 1
            return await asyncio.get_running_loop().create_future()

    async def scenario(_: Shelf) -> None:
        handler = Hanging()
        async with Stage(handler, timeout_s=10.0) as stage:
            await asyncio.sleep(11.2)
            assert stage.watcher.state.startswith("timeout: no result within 10 s")
            await asyncio.sleep(60)
            assert handler.calls > 3

    play(scenario)


def test_nothing_goes_on_before_the_broker_has_it() -> None:
    """While the broker is away the watch waits; when it is back, the newest is sent too."""

    async def scenario(shelf: Shelf) -> None:
        async with Stage(shelf) as stage:
            stage.bus.broker.clear()
            await asyncio.sleep(100)
            shelf.put("b")
            shelf.put("c")
            await asyncio.sleep(100)
            assert (stage.bus.books, len(shelf.asked)) == (["a"], 1)
            stage.bus.broker.set()
            await asyncio.sleep(10)
            assert stage.bus.books == ["a", "c"]

    play(scenario)


def test_what_the_broker_refuses_is_sent_again_until_it_is_acknowledged() -> None:
    """The watch says so once, asks less and less often meanwhile, and sends the same change once it may."""

    async def scenario(shelf: Shelf) -> None:
        async with Stage(shelf, backoff_max_s=20.0) as stage:
            stage.bus.refuse = PublishFailed("not_authorised", "not you")
            await asyncio.sleep(1000)
            assert stage.watcher.state == "not_authorised: not you"
            assert [it["watch"] for it in stage.observer.named("watch_publish_failed")] == ["fleet"]
            assert 50 <= len(stage.bus.books) <= 110
            assert set(stage.bus.books) == {"a"}
            assert len(stage.observer.named("watch_recovered")) == 1
            refused = len(stage.bus.books)
            stage.bus.refuse = None
            await asyncio.sleep(30)
            assert (stage.bus.books[refused:], stage.watcher.state) == (["a"], "watching")
            await asyncio.sleep(1000)
            assert stage.bus.books[refused:] == ["a"]

    play(scenario)


def test_a_newer_result_takes_the_place_of_one_that_is_refused() -> None:
    """Of what is too large for the broker nothing is left to send, once it has changed."""

    async def scenario(shelf: Shelf) -> None:
        async with Stage(shelf) as stage:
            stage.bus.refuse = PublishFailed("message_too_large", "2 MB")
            await asyncio.sleep(100)
            assert stage.watcher.state == "message_too_large: 2 MB"
            refused = len(stage.bus.books)
            shelf.put("b")
            stage.bus.refuse = None
            await asyncio.sleep(100)
            assert (stage.bus.books[refused:], stage.watcher.state) == (["b"], "watching")

    play(scenario)


def test_a_result_without_a_form_in_json_does_not_end_the_watch() -> None:
    """It is told like any other that cannot be sent, and what comes next is sent."""

    async def scenario(_: Shelf) -> None:
        class Odd(Shelf):
            async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
                result = await super().execute(call)
                return {**result, "services": float("nan")} if self.books == ["a"] else result

        odd = Odd()
        async with Stage(odd) as stage:
            await asyncio.sleep(100)
            assert stage.watcher.state.startswith("publish_refused: the result has no form in JSON")
            odd.put("b")
            await asyncio.sleep(100)
            assert (stage.bus.books, stage.watcher.state) == (["b"], "watching")

    play(scenario)


def test_one_host_watches_at_a_time() -> None:
    """That which serves the first partition of the node's commands; whoever takes over sends what is now."""

    async def scenario(shelf: Shelf) -> None:
        async with Stage(shelf) as first, Stage(shelf) as second:
            second.assigned = [Partition(TOPIC, 1), Partition("other", 0)]
            await asyncio.sleep(10)
            assert (first.bus.books, second.bus.books) == (["a"], [])
            assert (first.watcher.state, second.watcher.state) == ("watching", "standby")
            first.assigned, second.assigned = second.assigned, first.assigned
            await asyncio.sleep(10)
            shelf.put("b")
            await asyncio.sleep(10)
            assert (first.bus.books, second.bus.books) == (["a"], ["a", "b"])
            assert (first.watcher.state, second.watcher.state) == ("standby", "watching")

    play(scenario)


def test_cancelling_at_any_await_leaves_nothing_behind() -> None:
    """Neither a task nor a call: after each number of steps of the loop, and of tenths of seconds."""

    async def scenario(shelf: Shelf) -> None:
        for steps in range(40):
            for pause_s in (0, 0.1):
                async with Stage(shelf):
                    for _ in range(steps):
                        await asyncio.sleep(pause_s)
        assert shelf.cancelled > 0

    play(scenario)


# --- Against Consul -----------------------------------------------------------------------------------------------


def test_services_of_consul_are_projected_into_commands(own_consul: Agent) -> None:
    """Registered, changed and removed, past a cluster without a leader and a snapshot of old."""
    stand_in = own_consul.scripted
    target = ConsulTarget.model_validate({"address": f"http://127.0.0.1:{own_consul.port}", "token": own_consul.token})

    async def whole() -> None:
        factory = ConsulHandlerFactory()
        async with (
            asyncio.timeout(30),
            factory.open(settings=ConsulSettings(), targets={"main": target}) as handler,
            Stage(handler, target="main", interval_s=0.01, timeout_s=2.0, backoff_max_s=0.1) as stage,
        ):
            await seen(stage, {"consul": []})
            stand_in.do(lambda: stand_in.state.register({"Name": "web", "Tags": ["b", "a"]}))
            await seen(stage, {"consul": [], "web": ["a", "b"]})
            stand_in.leader = False
            stand_in.do(lambda: stand_in.state.register({"Name": "db"}))
            await until(lambda: stage.watcher.state.startswith("no_leader"))
            stand_in.leader = True
            await seen(stage, {"consul": [], "db": [], "web": ["a", "b"]})
            stand_in.do(stand_in.state.forget)
            await until(lambda: stage.bus.commands[-1].payload["index"] == 3)
            stand_in.do(lambda: stand_in.state.deregister("web"))
            await seen(stage, {"consul": [], "db": []})
            assert len(stage.bus.commands) == 5

    asyncio.run(whole())


async def seen(stage: Stage, services: Mapping[str, Sequence[str]]) -> None:
    """Wait until the last command says that these services are there."""
    await until(lambda: bool(stage.bus.messages) and stage.bus.commands[-1].payload["services"] == services)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)
