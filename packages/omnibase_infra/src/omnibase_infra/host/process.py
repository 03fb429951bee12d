"""RuntimeHostProcess: one host from its contract to its end. Opens everything in order, and closes it in reverse."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.engine.memory_store import MemoryStore
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.idempotency_store import IdempotencyStore
from omnibase_core.ports import Handler, InlineHandler, Observer
from omnibase_infra.background_tasks import Troubles, in_background
from omnibase_infra.call_chain.metrics import CallFigures, CallLabels
from omnibase_infra.host.health import HealthReport, SecretsHealth, health_server, in_turns, node_health
from omnibase_infra.host.loading import contracts_dir_of
from omnibase_infra.host.logs import open_log
from omnibase_infra.host.metrics import lines_of
from omnibase_infra.host.partitions import partition_healths
from omnibase_infra.host.plugins import handler_factories, request_context
from omnibase_infra.host.resources import HostResources, configured_tracer, vaults_of
from omnibase_infra.host.settings import Settings, process_secrets, process_settings
from omnibase_infra.host.shutdown import Shutdown
from omnibase_infra.host.state import HostState, StateNotSafe, StateNotWritable, remove_state, write_state
from omnibase_infra.host.watches import Watcher
from omnibase_infra.secrets.current import CurrentSecrets
from omnibase_infra.secrets.reader import HostReader
from omnibase_infra.secrets.redaction import Redactor
from omnibase_infra.secrets.rotation import Rotation
from omnibase_spi import SecretResolver

Opened = TypeVar("Opened")

_LOOK_S = 0.1


class SystemClock:
    """Time as the system tells it. A Clock."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class RuntimeHostProcess:
    """A running host. Enter it as a context: inside, its nodes are served.

    Its state file tells `runtime-host send` where the broker is and, by `contracts_dir`, what is served. With `strict`,
    functions of compute nodes are watched while they run, and one that is not pure fails its command.

    Leaving the context takes `limits.stop_s` seconds at most, where `abandon` ends the process: it is called at that
    deadline, after the event `stop_deadline_passed`. `stopped_in_time` says afterwards whether everything has ended.
    """

    def __init__(
        self,
        loaded: LoadedHost,
        *,
        settings: Settings | None = None,
        secrets: SecretResolver | None = None,
        contracts_dir: Path | None = None,
        strict: bool = False,
        abandon: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what the host is made of; nothing is opened yet.

        Settings and secrets are by default those of the process: its environment variables.
        """
        settings = settings or process_settings()
        secrets = secrets or process_secrets(loaded.contract.secrets)
        self.contract = loaded.contract
        self._loaded = loaded
        redactor = Redactor()
        self._reader = HostReader(secrets, loaded.contract.secrets, vaults_of(loaded), learn=redactor.learn)
        self._state_dir = settings.state_dir
        self._contracts_dir = contracts_dir or contracts_dir_of(Path(loaded.path))
        self._strict = strict
        self._log, self._shipper = open_log(
            host=loaded.contract.name,
            level=settings.log_level,
            form=settings.log_format,
            redact=redactor.redacted_tree,
        )
        self._secrets = CurrentSecrets(self._reader, redactor, observer=self._log)
        self._rotation = Rotation(self._secrets, observer=self._log)
        self._clock = SystemClock()
        self._started_at = self._clock.now()
        self._calls: dict[CallLabels, CallFigures] = {}
        self._tracer = configured_tracer()
        self._openings = HostResources(
            loaded,
            secrets=self._secrets,
            rotation=self._rotation,
            redactor=redactor,
            log=self._log,
            calls=self._calls,
            tracer=self._tracer,
        )
        self._stack = AsyncExitStack()
        self._troubles = Troubles(self._log, redact=redactor.redacted)
        self._stopping = Shutdown(loaded.contract.limits.stop_s, observer=self._log, abandon=abandon)
        self._watchers: list[Watcher] = []
        self._store: IdempotencyStore | None = None
        names = loaded.contract.namespace
        self._nodes_by_topic = {
            names.command(node.contract.name, node.contract.major): node.contract.name for node in loaded.nodes
        }

    async def __aenter__(self) -> Self:
        """Open bus, handlers and health, and start serving."""
        async with AsyncExitStack() as stack:
            loop = asyncio.get_running_loop()
            stack.callback(loop.set_exception_handler, loop.get_exception_handler())
            loop.set_exception_handler(self._troubles.take)
            stack.push_async_callback(self._reader.close)
            stack.callback(self._stopping.enter, "secrets")
            await self._secrets.load(self._openings.names_of_secrets())
            self.bus = await self._open(stack, "bus", self._openings.bus())
            await self._open(stack, "logs", self._log_shipping())
            self.runtime = NodeRuntime(self.contract, bus=self.bus, clock=self._clock, observer=self._log)
            await self._open(stack, "rotation of secrets", self._rotation.watching())
            place = request_context(self.contract, listen=self.bus.listen, now=self._clock.now)
            factories = handler_factories(strict=self._strict, place=place)
            for handler_type in self._openings.handler_types:
                opening = self._openings.handler(factories[handler_type])
                handler = await self._open(stack, f"handler {handler_type}", opening)
                self.runtime.register_handler(handler_type, handler)
                self._watchers.extend(self._watchers_of(handler_type, handler))
            if any(node.contract.idempotency for node in self._loaded.nodes):
                self._store = await self._open(stack, "idempotency store", self._openings.store())
                self.runtime.register_store(self._store)
            self.runtime.load_nodes(self._loaded.nodes, tracer=self._tracer)
            endpoint = self.contract.health
            serving = health_server(
                host=endpoint.address,
                port=endpoint.port,
                report=self.report,
                metrics=self.metrics,
                observer=self._log,
            )
            self.health_url = await self._open(stack, "health", serving)
            await self.runtime.start()
            stack.push_async_callback(self._stop)
            await self._open(stack, "watches", self._watching())
            self._tell_where_it_is(stack)
            self._stack = stack.pop_all()
        if self.bus.embedded:
            self._log.event("warning", "embedded_broker", meaning="for trying out: nothing outlives this process")
        self._log.event("info", "host_started", nodes=len(self._loaded.nodes), health=self.health_url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let commands in flight finish, commit, and close everything in reverse, within `limits.stop_s`."""
        self._stopping.begin()
        self.bus.ends_by = self._stopping.bus_ends_by
        try:
            await self._stack.__aexit__(kind, error, trace)
        finally:
            self._stopping.end()

    @property
    def log(self) -> Observer:
        """The host's log, for what befalls its process."""
        return self._log

    @property
    def stopped_in_time(self) -> bool:
        """Whether no phase of stopping was cut off by the deadline."""
        return self._stopping.in_time

    async def until(self, stop: asyncio.Event) -> None:
        """Serve until the event is set. Raises BusError when the bus cannot go on."""
        stopped = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(self.runtime.wait())
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if ended.done():
            ended.result()
        ended.cancel()

    async def until_ready(self) -> None:
        """Return when the host is ready, as `/ready` says it. Raises BusError when the bus cannot go on."""
        ended = asyncio.create_task(self.runtime.wait())
        try:
            while (await self.report()).not_ready_reasons and not ended.done():
                await asyncio.wait({ended}, timeout=_LOOK_S)
            if ended.done():
                ended.result()
        finally:
            ended.cancel()

    async def report(self) -> HealthReport:
        """Return how the host and each of its nodes are. With a thousand of them, others have their turns meanwhile."""
        runtime = self.runtime
        survey = self.bus.survey()
        healths = partition_healths(self._nodes_by_topic, survey, runtime.standings, lag_s=self.bus.lag_s)
        partitions = dict(await in_turns(healths))
        nodes = dict(await in_turns((name, node_health(it)) for name, it in runtime.figures.items()))
        return HealthReport(
            host=self.contract.name,
            uptime_s=(self._clock.now() - self._started_at).total_seconds(),
            stopping=self._stopping.begun,
            broker_connected=self.bus.connected,
            client_failure=self._client_trouble(survey.waiting),
            assigned_partitions=len(runtime.assigned),
            in_flight=runtime.in_flight,
            bytes_in_flight=runtime.bytes_in_flight,
            # What was begun, and what is there and not even begun.
            stalled_s=round(max([runtime.stalled_s, *(it.stalled_s for it in partitions.values())]), 3),
            stalled_max_s=self.contract.health.stalled_max_s,
            breakers=runtime.breakers,
            secrets=SecretsHealth(
                unreadable=dict(self._secrets.faults),
                reopened={name: it.reopened for name, it in self._rotation.upkeep.items()},
                stale={name: it.stale for name, it in self._rotation.upkeep.items() if it.stale},
            ),
            watches={watcher.name: watcher.state for watcher in self._watchers},
            nodes=nodes,
            partitions=partitions,
            missing_topics=survey.gone,
            background=self._troubles.latest(asyncio.get_running_loop().time()),
            store_used=self._store.used if isinstance(self._store, MemoryStore) else None,
            rebalance_pending=survey.group,
        )

    def _client_trouble(self, waiting: str | None) -> str | None:
        """Return what the Kafka client does not come back from; one that waits for a broker that is away does not."""
        if self.bus.trouble is not None:
            return self.bus.trouble
        return None if waiting is None else f"the consumer waits for {waiting}"

    async def metrics(self) -> str:
        """Return the figures of the host, its nodes and its handlers' calls, for Prometheus."""
        return "".join(await in_turns(lines_of(await self.report(), self._calls)))

    async def _open(self, stack: AsyncExitStack, phase: str, context: AbstractAsyncContextManager[Opened]) -> Opened:
        """Enter a context. When it is left, that is the phase of stopping that the host is in."""
        opened = await stack.enter_async_context(context)
        stack.callback(self._stopping.enter, phase)
        return opened

    def _watchers_of(self, handler_type: str, handler: Handler | InlineHandler) -> Iterable[Watcher]:
        names, publish = self.contract.namespace, self.bus.publish
        for compiled in self._loaded.watches:
            if compiled.watch.handler == handler_type:
                # What can wait for a change is not inline.
                yield Watcher(compiled, cast("Handler", handler), names=names, publish=publish, observer=self._log)

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        """Run the watches, beside the work."""
        async with AsyncExitStack() as stack:
            for watcher in self._watchers:
                run = partial(watcher.run, lambda: self.runtime.assigned, self._clock.now)
                await stack.enter_async_context(in_background(f"watch {watcher.name}", run))
            yield

    @asynccontextmanager
    async def _log_shipping(self) -> AsyncIterator[None]:
        """Send log lines to the host's own topic, beside the work."""
        topic = self.contract.namespace.log(self.contract.name)
        run = partial(self._shipper.run, self.bus.publish, topic, self.contract.name)
        async with in_background("shipping of the log", run):
            try:
                yield
            finally:
                self._log.event("info", "host_stopped")

    async def _stop(self) -> None:
        self._stopping.enter("drain, commit and leaving the group")
        self._log.event("info", "host_stopping", in_flight=self.runtime.in_flight)
        await self.runtime.stop(within_s=self._stopping.drain_s(self.contract.limits.drain_s))
        if time.monotonic() >= self._stopping.bus_ends_by:
            # The bus gave up on a broker that does not answer. There is a little time left for everything else.
            self._stopping.passed()

    def _tell_where_it_is(self, stack: AsyncExitStack) -> None:
        """Write the state file, until the end. A host serves all the same where there is no place for it.

        It leads other commands to a broker of Kafka: a host with another bus has none.
        """
        if not self.bus.address:
            return
        state_dir, state = self._state_dir, self._state(self.bus.address)
        try:
            write_state(state_dir, state)
        except (StateNotWritable, StateNotSafe) as error:
            way = f"give it --host and --broker {state.bootstrap_servers}"
            meaning = f"`runtime-host send` does not find this host by itself: {way}"
            self._log.event("warning", error.code, reason=str(error), meaning=meaning)
        else:
            stack.callback(remove_state, state_dir, state)

    def _state(self, address: str) -> HostState:
        contract = self.contract
        return HostState(
            host=contract.name,
            pid=os.getpid(),
            started_at=self._started_at,
            bootstrap_servers=address,
            contract_path=str(Path(self._loaded.path).resolve()),
            contracts_dir=str(self._contracts_dir.resolve()),
            nodes={node.contract.name: node.contract.major for node in self._loaded.nodes},
            health_url=self.health_url,
        )
