"""The store `memory`: answers of this process, forgotten when it ends, and unknown to every other host."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from omnibase_core.engine.memory_store import MemoryStore
from omnibase_spi import IdempotencyStore, Observer


class MemoryStoreSettings(BaseModel):
    """How much it holds at the most, in bytes; where that is reached, commands wait until some keys are over."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes_max: Annotated[int, Field(ge=1_000_000, le=64 * 1024**3)] = 256 * 1024 * 1024


class MemoryStoreFactory:
    """Makes the store. A StoreFactory."""

    settings: type[BaseModel] = MemoryStoreSettings

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, observer: Observer) -> AsyncIterator[IdempotencyStore]:
        """Yield the store, and say what it cannot do."""
        assert isinstance(settings, MemoryStoreSettings)  # noqa: S101 - narrows the type; the registry validated it
        meaning = "answers are forgotten when this process ends, and other hosts of the pool do not know them"
        observer.event("warning", "idempotency_in_memory", meaning=meaning)

        def full(reason: str) -> None:
            observer.event("error", "idempotency_store_full", reason=reason)

        yield MemoryStore(time.monotonic, bytes_max=settings.bytes_max, full=full)
