"""The engine on a stage: a host on a broker in memory, in virtual time, with a handler that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID, uuid4

from omnibase_core.codec import decode
from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.idempotency_store import IdempotencyStore
from omnibase_core.ports import Handler, HandlerCall, Headers, InlineHandler, Message, Tracer
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_core.testing.virtual_time import VirtualClock, run
from tests.support.commands import command

GROUP = "onex.dev.test.pool"
COMMANDS = "onex.app.dev.test.cmd.node.{}.v1"
EVENTS = "onex.app.dev.test.evt.node.{}.v1"
LETTERS = "onex.app.dev.test.dlq.runtime.pool.v1"
RETRIES = "onex.app.dev.test.retry.runtime.pool.v1"

Behaviour = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]


class Stage:
    """A broker, perhaps a store, and the handler `scripted`, which notes what it is asked and what it has done."""

    def __init__(
        self, behaviour: Behaviour, broker: MemoryBroker | None = None, store: IdempotencyStore | None = None
    ) -> None:
        """Keep what the handler does."""
        self.broker = broker or MemoryBroker()
        self.observer = RecordingObserver()
        self.asked: list[tuple[float, Any]] = []
        self.effects: list[Any] = []
        self.tracer: Tracer | None = None
        self.clock = VirtualClock()
        self.runtime: NodeRuntime
        self._behaviour = behaviour
        self._store = store

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Behave as the test says. Commands are told apart by their `n`."""
        request = call.request.model_dump()
        self.asked.append((asyncio.get_running_loop().time(), request.get("n")))
        result = await self._behaviour(request)
        self.effects.append(request.get("n"))
        return result

    def send(self, slug: str, n: int, key: bytes | None = b"k") -> UUID:
        """Publish a command, and give its id."""
        return self.publish(slug, {"n": n}, key=key)

    def publish(
        self, slug: str, payload: Mapping[str, Any], *, key: bytes | None = b"k", headers: Headers = (), **changes: Any
    ) -> UUID:
        """Publish a command in every detail, and give its id."""
        identity: UUID = changes.pop("envelope_id", None) or uuid4()
        sent = command(COMMANDS.format(slug), slug, payload, key=key, envelope_id=identity, **changes)
        assert self.broker.append(sent._replace(headers=headers)) is None
        return identity

    def answers(self, slug: str) -> list[OnexEnvelope]:
        """Return a node's answers."""
        return [decode(it.value) for it in self.broker.messages(EVENTS.format(slug))]

    @property
    def letters(self) -> list[Message]:
        """The pool's dead letters."""
        return self.broker.messages(LETTERS)

    def committed(self) -> int:
        """Count what is committed."""
        return sum(self.broker.committed(GROUP).values())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let time pass until something holds."""
        async with asyncio.timeout(100_000):
            while not holds():  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(0.1)

    def host(self, loaded: LoadedHost, **handlers: Handler | InlineHandler) -> NodeRuntime:
        """Return the engine of a host, which is not started yet."""
        runtime = NodeRuntime(
            loaded.contract, bus=MemoryBus(self.broker, group=GROUP), clock=self.clock, observer=self.observer
        )
        for handler_type, handler in {"scripted": self, **handlers}.items():
            runtime.register_handler(handler_type, handler)
        if self._store is not None:
            runtime.register_store(self._store)
        runtime.load_nodes(loaded.nodes, tracer=self.tracer)
        return runtime


AnyStage = TypeVar("AnyStage", bound=Stage)


@asynccontextmanager
async def on_stage(stage: AnyStage, loaded: LoadedHost, **handlers: Handler | InlineHandler) -> AsyncIterator[AnyStage]:
    """Run a host on a stage until the end of the block."""
    stage.runtime = stage.host(loaded, **handlers)
    await stage.runtime.start()
    try:
        yield stage
    finally:
        await stage.runtime.stop()


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario under a few schedules."""
    for seed in range(5):
        run(scenario(), seed=seed)
