"""Which handlers, stores and buses there are: tables of this project's own, and entry points of installed plug-ins.

Both are read in the same way: a name, and where its factory is, as `module:attribute`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from inspect import isclass
from linecache import getline
from typing import Any, TypeVar

from pydantic import BaseModel

from omnibase_core.contracts.catalog import Catalog
from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.errors import OnexError, Problem
from omnibase_infra.functions.importing import import_function
from omnibase_infra.functions.purity.findings import Finding
from omnibase_infra.handlers.kafka import KafkaHandlerFactory, Listen, RequestContext
from omnibase_infra.host.core_handlers import ComputeHandlerFactory
from omnibase_spi import BusFactory, HandlerFactory, StoreFactory

T = TypeVar("T")

HANDLERS, STORES, BUSES = "omnibase.handlers", "omnibase.stores", "omnibase.buses"
"""The entry point groups of plug-ins."""
KAFKA = "kafka"
"""The bus of a host contract that names none."""

_OWN: Mapping[str, Mapping[str, str]] = {
    HANDLERS: {
        "local": "omnibase_infra.host.core_handlers:LocalHandlerFactory",
        "compute": "omnibase_infra.host.core_handlers:ComputeHandlerFactory",
        "consul": "omnibase_infra.handlers.consul:ConsulHandlerFactory",
        "db": "omnibase_infra.handlers.db:DbHandlerFactory",
        "http": "omnibase_infra.handlers.http:HttpHandlerFactory",
        "kafka": "omnibase_infra.handlers.kafka:KafkaHandlerFactory",
        "llm": "omnibase_infra.handlers.llm:LlmHandlerFactory",
        "vault": "omnibase_infra.handlers.vault:VaultHandlerFactory",
    },
    STORES: {
        "memory": "omnibase_infra.stores.memory:MemoryStoreFactory",
        "postgres": "omnibase_infra.stores.postgres:PostgresStoreFactory",
    },
    BUSES: {
        KAFKA: "omnibase_infra.kafka:KafkaBusFactory",
    },
}


class BrokenPlugin(OnexError):
    """An installed plug-in that cannot be used."""

    code = "broken_plugin"


def bus_factories() -> Mapping[str, BusFactory]:
    """Return every bus by the name that a host contract has for it. Raises BrokenPlugin."""
    return _factories(BUSES, "bus", _name_of_settings)


def store_factories() -> Mapping[str, StoreFactory]:
    """Return every store in which nodes with `idempotency` may keep answers, by its name. Raises BrokenPlugin."""
    return _factories(STORES, "store", _name_of_settings)


def handler_factories(*, strict: bool = False, place: RequestContext | None = None) -> Mapping[str, HandlerFactory]:
    """Return every handler by its type; with `strict`, functions are watched while they run.

    `place` is that of the host: whoever opens handlers gives it.

    Raises BrokenPlugin for a plug-in that fails to import or takes a name.
    """
    known: Mapping[str, HandlerFactory] = _factories(HANDLERS, "handler type", _type_of_handler)

    def factory(name: str) -> HandlerFactory:
        # These two have to know more of the host than what its contract says of them.
        match name:
            case "compute":
                return ComputeHandlerFactory(strict=strict)
            case "kafka":
                return KafkaHandlerFactory(place)
        return known[name]

    return _OnDemand(known, factory)


def request_context(contract: RuntimeHostContract, *, listen: Listen, now: Callable[[], datetime]) -> RequestContext:
    """Return where a host is, for handlers that ask other nodes. `listen` is that of its bus."""
    return RequestContext(namespace=contract.namespace, pool=contract.pool, listen=listen, now=now)


def catalog() -> Catalog:
    """Return what contracts may refer to on this machine. Raises BrokenPlugin."""
    handlers, stores, buses = handler_factories(), store_factories(), bus_factories()
    return Catalog(
        handlers=_OnDemand(handlers, lambda name: handlers[name].description),
        bus=buses[KAFKA].settings,
        buses=_OnDemand(buses, lambda name: buses[name].settings),
        import_function=import_function,
        stores=_OnDemand(stores, lambda name: stores[name].settings),
        impurities=function_reader(),
    )


def _factories(group: str, noun: str, name_of: Callable[[EntryPoint, Any], str]) -> Mapping[str, Any]:
    """Return the factories of a group by name: this project's own unloaded, those of plug-ins tried at once."""
    found = {name: EntryPoint(name, value, group) for name, value in _OWN[group].items()}
    for entry_point in entry_points(group=group):
        try:
            name = name_of(entry_point, _load(entry_point))
        except Exception as error:
            raise BrokenPlugin(f"plug-in {entry_point.value}: {type(error).__name__}: {error}") from error
        if name in found:
            raise BrokenPlugin(f"plug-in {entry_point.value}: the {noun} {name!r} is taken")
        found[name] = entry_point
    return _OnDemand(found, lambda name: _load(found[name]))


def _load(entry_point: EntryPoint) -> Any:
    """Import a factory; of a class, make one."""
    loaded = entry_point.load()
    return loaded() if isclass(loaded) else loaded


def _type_of_handler(_entry_point: EntryPoint, factory: HandlerFactory) -> str:
    return factory.description.handler_type


def _name_of_settings(entry_point: EntryPoint, factory: BusFactory | StoreFactory) -> str:
    """Return the name of a store or a bus, which is that of its entry point, once its settings have a model."""
    model: object = factory.settings
    if not (isclass(model) and issubclass(model, BaseModel)):
        raise TypeError(f"its settings are {model!r}; expected a model of pydantic")
    return entry_point.name


class _OnDemand(Mapping[str, T]):
    """Values by name, each made when it is first asked for: a host does not hold the handlers of others."""

    def __init__(self, names: Iterable[str], make: Callable[[str], T]) -> None:
        self._names = dict.fromkeys(names)
        self._made = cache(make)

    def __getitem__(self, name: str) -> T:
        if name not in self._names:
            raise KeyError(name)
        return self._made(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


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
