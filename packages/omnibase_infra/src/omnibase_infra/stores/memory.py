"""The store `memory`: answers of this process, forgotten when it ends, and unknown to every other host."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from omnibase_core.memory_store import MemoryStore
from omnibase_spi import IdempotencyStore, Observer


class MemoryStoreSettings(BaseModel):
    """How many keys it holds at most; with more, commands wait until some are over."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    entries_max: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000


class MemoryStoreFactory:
    """Makes the store. A StoreFactory."""

    settings: type[BaseModel] = MemoryStoreSettings

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, observer: Observer) -> AsyncIterator[IdempotencyStore]:
        """Give the store, and say what it cannot do."""
        assert isinstance(settings, MemoryStoreSettings)  # noqa: S101 - narrows the type; the registry validated it
        meaning = "answers are forgotten when this process ends, and other hosts of the pool do not know them"
        observer.event("warning", "idempotency_in_memory", meaning=meaning)
        yield MemoryStore(time.monotonic, entries_max=settings.entries_max)
