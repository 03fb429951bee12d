"""Which handlers there are: an explicit table, and the entry points of installed plug-ins. And whose functions."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isasyncgenfunction, iscoroutinefunction

from pydantic import BaseModel

from omnibase_core.compute_handler import COMPUTE_DESCRIPTION, ComputeHandler
from omnibase_core.errors import OnexError
from omnibase_core.local_handler import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import HandlerDescription, InlineHandler, PureFunction
from omnibase_core.registry import Catalog
from omnibase_infra.budget import alarm_budget
from omnibase_infra.handlers.http import HttpHandlerFactory
from omnibase_infra.kafka import KafkaBusFactory
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
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[InlineHandler]:  # noqa: ARG002 - it has nothing to set
        """Give the handler. Functions are interrupted by a signal of the loop's thread."""
        with alarm_budget() as budget:
            yield ComputeHandler(import_function, budget=budget)


def bus_factory() -> BusFactory:
    """Give the one bus that there is."""
    return KafkaBusFactory()


def handler_factories() -> Mapping[str, HandlerFactory]:
    """Give every handler by its type. Raises BrokenPlugin for a plug-in that fails to import or takes a name."""
    built_in: tuple[HandlerFactory, ...] = (LocalHandlerFactory(), ComputeHandlerFactory(), HttpHandlerFactory())
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


def import_function(name: str) -> PureFunction:
    """Import `package.module:function`. Raises LookupError, which says what is missing."""
    module_name, _, function_name = name.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:
        raise LookupError(f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise LookupError(  # noqa: TRY004 - what is missing is a function, whatever else has its name
            f"module {module_name!r} has no function {function_name!r}"
        )
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        raise LookupError(f"{name} is async; a compute node's function is pure and awaits nothing")
    result: PureFunction = function
    return result
