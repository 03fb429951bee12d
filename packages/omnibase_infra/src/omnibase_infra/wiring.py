"""Which handlers there are: an explicit table, and the entry points of installed plug-ins."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points

from pydantic import BaseModel

from omnibase_core.compute_handler import COMPUTE_DESCRIPTION, ComputeHandler, ComputeSettings
from omnibase_core.errors import OnexError
from omnibase_core.local_handler import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import HandlerDescription, InlineHandler
from omnibase_core.registry import Catalog
from omnibase_infra.budget import alarm_budget
from omnibase_infra.functions import import_function
from omnibase_infra.handlers.db import DbHandlerFactory
from omnibase_infra.handlers.http import HttpHandlerFactory
from omnibase_infra.kafka import KafkaBusFactory
from omnibase_infra.workers.pool import worker_pool
from omnibase_spi import BusFactory, HandlerFactory

ENTRY_POINTS = "omnibase.handlers"


class BrokenPlugin(OnexError):
    """An installed plug-in that cannot be used."""

    code = "broken_plugin"


class LocalHandlerFactory:
    """Makes core's `local` handler."""

    description: HandlerDescription = LOCAL_DESCRIPTION

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[InlineHandler]:  # noqa: ARG002 - it has nothing to set
        """Give the handler."""
        yield LocalHandler()


class ComputeHandlerFactory:
    """Makes core's `compute` handler, which calls functions by name."""

    description: HandlerDescription = COMPUTE_DESCRIPTION

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[InlineHandler]:  # noqa: ARG002 - it has no targets
        """Give the handler. On the loop, a signal interrupts functions; workers are started as they are needed."""
        assert isinstance(settings, ComputeSettings)  # noqa: S101 - narrows the type; the registry validated it
        with (
            alarm_budget() as budget,
            worker_pool(workers=settings.workers, worker_bytes_max=settings.worker_bytes_max) as workers,
        ):
            yield ComputeHandler(import_function, budget=budget, workers=workers)


def bus_factory() -> BusFactory:
    """Give the one bus that there is."""
    return KafkaBusFactory()


def handler_factories() -> Mapping[str, HandlerFactory]:
    """Give every handler by its type. Raises BrokenPlugin for a plug-in that fails to import or takes a name."""
    built_in: tuple[HandlerFactory, ...] = (
        LocalHandlerFactory(),
        ComputeHandlerFactory(),
        DbHandlerFactory(),
        HttpHandlerFactory(),
    )
    factories = {factory.description.handler_type: factory for factory in built_in}
    for entry_point in entry_points(group=ENTRY_POINTS):
        try:
            factory: HandlerFactory = entry_point.load()
            handler_type = factory.description.handler_type
        except Exception as error:
            raise BrokenPlugin(f"plug-in {entry_point.value}: {type(error).__name__}: {error}") from error
        if handler_type in factories:
            raise BrokenPlugin(f"plug-in {entry_point.value}: the handler type {handler_type!r} is taken")
        factories[handler_type] = factory
    return factories


def catalog() -> Catalog:
    """Give what contracts may refer to on this machine."""
    handlers = {name: factory.description for name, factory in handler_factories().items()}
    return Catalog(handlers=handlers, bus=bus_factory().settings, import_function=import_function)
