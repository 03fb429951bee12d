"""The factories of core's own handlers, `local` and `compute`: core has no I/O, so a host makes what they run on."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from pydantic import BaseModel

from omnibase_core.handlers.compute import COMPUTE_DESCRIPTION, ComputeHandler, ComputeSettings
from omnibase_core.handlers.local import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import HandlerDescription, InlineHandler, PureFunction
from omnibase_infra.functions.budget import alarm_budget
from omnibase_infra.functions.importing import import_function
from omnibase_infra.functions.workers.pool import worker_pool
from omnibase_infra.host.settings import worker_environment


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
