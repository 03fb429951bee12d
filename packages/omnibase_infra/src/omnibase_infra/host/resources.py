"""What a host opens by its contract: bus, handlers and store, with its secrets as they are, and anew as they change."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.host import HandlerBinding, TargetLimits
from omnibase_core.contracts.secrets import VAULT, VaultSecret
from omnibase_core.engine.instance import is_inline
from omnibase_core.ports import Handler, InlineHandler
from omnibase_infra.call_chain.limits import LimitedHandler
from omnibase_infra.call_chain.metrics import CallFigures, CallLabels, MeasuredHandler
from omnibase_infra.call_chain.redaction import RedactingHandler
from omnibase_infra.host.buses import HostBus, host_bus
from omnibase_infra.host.logs import LogObserver
from omnibase_infra.host.plugins import KAFKA, bus_factories, store_factories
from omnibase_infra.secrets.current import CurrentSecrets, resolved, secrets_of
from omnibase_infra.secrets.redaction import Redactor
from omnibase_infra.secrets.rotation import Rotation
from omnibase_infra.secrets.runtime_secrets import taught
from omnibase_infra.secrets.vault.target import VaultTarget
from omnibase_spi import HandlerFactory, IdempotencyStore

if TYPE_CHECKING:
    from omnibase_infra.host.tracing import OtelTracer

_CLOSE_S = 1.0
"""How long a handler has beyond its longest call before it is closed for good."""
_STORE_S = 60.0
"""How long a store has: none of its questions takes longer."""


class HostResources:
    """Opens what a host is made of. `calls` is filled with the figures of its handlers' calls."""

    def __init__(
        self,
        loaded: LoadedHost,
        *,
        secrets: CurrentSecrets,
        rotation: Rotation,
        redactor: Redactor,
        log: LogObserver,
        calls: dict[CallLabels, CallFigures],
        tracer: "OtelTracer | None",
    ) -> None:
        """Keep what is needed to open; nothing is opened yet."""
        self._loaded = loaded
        self._secrets = secrets
        self._rotation = rotation
        self._redactor = redactor
        self._log = log
        self._calls = calls
        self._tracer = tracer

    @property
    def handler_types(self) -> list[str]:
        """The handlers that nodes or watches ask."""
        asked = {node.handler_type for node in self._loaded.nodes}
        return sorted(asked | {it.watch.handler for it in self._loaded.watches})

    def names_of_secrets(self) -> frozenset[str]:
        """Return every secret that is needed here: what no node of the host uses is not opened."""
        of_handlers = [it for name in self.handler_types for it in self._settings_of(name)]
        store = [] if self._loaded.settings.store is None else [self._loaded.settings.store]
        vaults = vaults_of(self._loaded).values()
        return frozenset().union(*map(secrets_of, [self._loaded.settings.bus, *of_handlers, *store, *vaults]))

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[HostBus]:
        """Open the bus. When its secrets change it stays as it is, and health says that a restart is needed."""
        name, settings = self._loaded.settings.bus_type or KAFKA, self._loaded.settings.bus
        self._rotation.hold("bus", secrets=secrets_of(settings))
        opening = bus_factories()[name].open(
            settings=resolved(settings, self._secrets),
            host=self._loaded.contract,
            topics=self._loaded.topics,
            observer=self._log,
        )
        async with opening as bus:
            yield host_bus(bus, name)

    @asynccontextmanager
    async def handler(self, factory: HandlerFactory) -> AsyncIterator[Handler | InlineHandler]:
        """Yield a handler that stays open, whatever becomes of its secrets; count its calls and limit them."""
        handler_type = factory.description.handler_type
        open_ = partial(self._opened, factory)
        secrets = frozenset().union(*map(secrets_of, self._settings_of(handler_type)))
        # A call ends by then at the latest, so that no call is cut off.
        drain_s = _CLOSE_S + max(
            (node.contract.delivery.timeout_s for node in self._loaded.nodes if node.handler_type == handler_type),
            default=0.0,
        )
        kept = self._rotation.handler(handler_type, open_, secrets=secrets, drain_s=drain_s) if secrets else open_()
        async with kept as handler:
            if is_inline(handler):
                yield handler
                return
            inner: Handler = RedactingHandler(cast("Handler", handler), self._redactor)
            if self._tracer is not None:
                inner = self._tracer.traced(inner)
            yield MeasuredHandler(LimitedHandler(inner, self._limits_of(handler_type)), self._calls)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[IdempotencyStore]:
        """Yield the store of answers that the host contract names, whatever becomes of its secrets."""
        binding, settings = self._loaded.contract.idempotency, self._loaded.settings.store
        assert binding is not None  # noqa: S101 - the registry saw to it
        assert settings is not None  # noqa: S101 - likewise
        factory = store_factories()[binding.store]

        def open_() -> AbstractAsyncContextManager[IdempotencyStore]:
            return factory.open(settings=resolved(settings, self._secrets), observer=self._log)

        name, secrets = f"idempotency.{binding.store}", secrets_of(settings)
        kept = self._rotation.store(name, open_, secrets=secrets, drain_s=_STORE_S) if secrets else open_()
        async with kept as store:
            yield store

    @asynccontextmanager
    async def _opened(self, factory: HandlerFactory) -> AsyncIterator[Handler | InlineHandler]:
        """Open a handler with what the host contract says of it, or with nothing; secrets as they are now.

        What it is given later, such as tokens, the redactor learns.
        """
        handler_type = factory.description.handler_type
        settings = self._loaded.settings.handlers.get(handler_type) or factory.description.settings()
        targets = self._loaded.settings.targets.get(handler_type, {})
        async with AsyncExitStack() as stack:
            with taught(self._redactor.learn):
                handler = await stack.enter_async_context(
                    factory.open(
                        settings=resolved(settings, self._secrets),
                        targets={name: resolved(target, self._secrets) for name, target in targets.items()},
                    )
                )
            yield handler

    def _limits_of(self, handler_type: str) -> Mapping[str, TargetLimits]:
        written = self._loaded.contract.handlers.get(handler_type, HandlerBinding()).limits
        targets = self._loaded.settings.targets.get(handler_type, {})
        # Nodes that ask each other must not wait for a turn that another's wait has: no limit by default.
        asked = {node.contract.target for node in self._loaded.nodes if node.asks_a_node}
        return {name: written.get(name, TargetLimits()) for name in targets if name in written or name not in asked}

    def _settings_of(self, handler_type: str) -> list[BaseModel]:
        """Return what the host contract says of a handler: its settings, and each of its targets."""
        written = self._loaded.settings
        settings = written.handlers.get(handler_type)
        return [*([settings] if settings else []), *written.targets.get(handler_type, {}).values()]


def vaults_of(loaded: LoadedHost) -> dict[str, VaultTarget]:
    """Return the targets in which secrets of the host itself are."""
    needed = {it.vault for it in loaded.contract.secrets.values() if isinstance(it, VaultSecret)}
    targets = loaded.settings.targets.get(VAULT, {})
    return {name: it for name, it in targets.items() if name in needed and isinstance(it, VaultTarget)}


def configured_tracer() -> "OtelTracer | None":
    """Return what tells of spans where OpenTelemetry is set up in this process; else it is not even imported."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from omnibase_infra.host.tracing import configured_tracer as of_provider

    return of_provider()
