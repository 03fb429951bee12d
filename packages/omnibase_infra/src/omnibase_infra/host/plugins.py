"""Which handlers and stores there are: explicit tables, and the entry points of installed plug-ins."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import entry_points
from linecache import getline
from typing import TypeVar

from pydantic import BaseModel

from omnibase_core.contracts.catalog import Catalog
from omnibase_core.errors import OnexError, Problem
from omnibase_core.handlers.compute import COMPUTE_DESCRIPTION, ComputeHandler, ComputeSettings
from omnibase_core.handlers.local import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import HandlerDescription, InlineHandler, PureFunction
from omnibase_infra.functions.budget import alarm_budget
from omnibase_infra.functions.importing import import_function
from omnibase_infra.functions.purity.findings import Finding
from omnibase_infra.functions.workers.pool import worker_pool
from omnibase_infra.handlers.kafka import KafkaHandlerFactory, RequestContext
from omnibase_infra.host.settings import worker_environment
from omnibase_infra.kafka import KafkaBusFactory
from omnibase_infra.stores.memory import MemoryStoreFactory
from omnibase_infra.stores.postgres import PostgresStoreFactory
from omnibase_spi import BusFactory, HandlerFactory, StoreFactory

T = TypeVar("T")

ENTRY_POINTS = "omnibase.handlers"


class BrokenPlugin(OnexError):
    """An installed plug-in that cannot be used."""

    code = "broken_plugin"


class LocalHandlerFactory:
    """Makes core's `local` handler."""

    description: HandlerDescription = LOCAL_DESCRIPTION

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[InlineHandler]:  # noqa: ARG002 - it has nothing to set
        """Yield the handler."""
        yield LocalHandler()


class ComputeHandlerFactory:
    """Makes core's `compute` handler, which calls functions by name; with `strict`, under a guard."""

    description: HandlerDescription = COMPUTE_DESCRIPTION

    def __init__(self, *, strict: bool = False) -> None:
        """Take whether functions are watched while they run."""
        self._strict = strict

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[InlineHandler]:  # noqa: ARG002 - it has no targets
        """Yield the handler. On the loop, a signal interrupts functions; workers are started as they are needed."""
        assert isinstance(settings, ComputeSettings)  # noqa: S101 - narrows the type; the registry validated it
        with (
            alarm_budget() as budget,
            worker_pool(
                workers=settings.workers,
                worker_bytes_max=settings.worker_bytes_max,
                environment=worker_environment(),
                strict=self._strict,
            ) as workers,
        ):
            yield ComputeHandler(self._finder(), budget=budget, workers=workers)

    def _finder(self) -> Callable[[str], PureFunction]:
        if not self._strict:
            return import_function
        # What watches functions, and below what reads them, is held by hosts that need it, and by no others.
        from omnibase_infra.functions.purity.guard import guarded_import

        return guarded_import()


def bus_factory() -> BusFactory:
    """Return the one bus that there is."""
    return KafkaBusFactory()


def handler_factories(*, strict: bool = False, place: RequestContext | None = None) -> Mapping[str, HandlerFactory]:
    """Return every handler by its type; with `strict`, functions are watched while they run.

    `place` is that of the host: whoever opens handlers gives it.

    Raises BrokenPlugin for a plug-in that fails to import or takes a name.
    """
    makers: dict[str, Callable[[], HandlerFactory]] = {
        "local": LocalHandlerFactory,
        "compute": partial(ComputeHandlerFactory, strict=strict),
        "consul": _consul,
        "db": _db,
        "http": _http,
        "kafka": partial(KafkaHandlerFactory, place),
        "llm": _llm,
        "vault": _vault,
    }
    for entry_point in entry_points(group=ENTRY_POINTS):
        try:
            factory: HandlerFactory = entry_point.load()
            handler_type = factory.description.handler_type
        except Exception as error:
            raise BrokenPlugin(f"plug-in {entry_point.value}: {type(error).__name__}: {error}") from error
        if handler_type in makers:
            raise BrokenPlugin(f"plug-in {entry_point.value}: the handler type {handler_type!r} is taken")
        makers[handler_type] = partial(_given, factory)
    return _MadeWhenAsked(makers)


def _consul() -> HandlerFactory:
    from omnibase_infra.handlers.consul import ConsulHandlerFactory

    return ConsulHandlerFactory()


def _db() -> HandlerFactory:
    from omnibase_infra.handlers.db import DbHandlerFactory

    return DbHandlerFactory()


def _http() -> HandlerFactory:
    from omnibase_infra.handlers.http import HttpHandlerFactory

    return HttpHandlerFactory()


def _llm() -> HandlerFactory:
    from omnibase_infra.handlers.llm import LlmHandlerFactory

    return LlmHandlerFactory()


def _vault() -> HandlerFactory:
    from omnibase_infra.handlers.vault import VaultHandlerFactory

    return VaultHandlerFactory()


def _given(factory: HandlerFactory) -> HandlerFactory:
    return factory


class _MadeWhenAsked(Mapping[str, T]):
    """Values by their names, each made when it is first asked for: a host does not hold the handlers of others."""

    def __init__(self, makers: Mapping[str, Callable[[], T]]) -> None:
        self._makers = makers
        self._made: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def store_factories() -> Mapping[str, StoreFactory]:
    """Return every store in which nodes with `idempotency` may keep their answers, by its name."""
    return {"memory": MemoryStoreFactory(), "postgres": PostgresStoreFactory()}


def catalog() -> Catalog:
    """Return what contracts may refer to on this machine."""
    factories = handler_factories()

    def described(name: str) -> HandlerDescription:
        return factories[name].description

    return Catalog(
        handlers=_MadeWhenAsked({name: partial(described, name) for name in factories}),
        bus=bus_factory().settings,
        import_function=import_function,
        stores={name: factory.settings for name, factory in store_factories().items()},
        impurities=function_reader(),
    )


def function_reader() -> Callable[[str, Sequence[str]], Sequence[Problem]]:
    """Return what reads functions that can be imported, each once, for what is not pure."""

    @cache
    def findings() -> Callable[..., Iterable[Finding]]:
        from omnibase_infra.functions.purity.reader import findings_of
        from omnibase_infra.functions.purity.world import FunctionSources

        return partial(findings_of, sources=FunctionSources())

    @cache
    def read(name: str, packages: Sequence[str]) -> Sequence[Problem]:
        found = findings()(import_function(name), name=name, packages=packages)
        return [
            Problem(
                it.path,
                it.line,
                it.column,
                it.message,
                code="impure-function",
                source=getline(it.path, it.line).rstrip(),
            )
            for it in found
        ]

    return lambda name, packages: read(name, tuple(packages))
