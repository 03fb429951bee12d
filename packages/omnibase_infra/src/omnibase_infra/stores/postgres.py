"""The store `postgres`: recorded answers in one table of a PostgreSQL database, which every host of a pool can share.

What a host contract may say stands here; `postgres.store` does the I/O.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from omnibase_spi import IdempotencyStore, Observer


class PostgresStoreSettings(BaseModel):
    """Where the database is, and how long it is waited for.

    - `dsn`: a connection string of libpq, `postgresql://user:password@host:port/database`; best a secret.
    - `timeout_s`: how long one question may take, the wait for a connection included.
    - `connections_max`: how many connections the host holds at most; further questions wait for a free one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    dsn: Annotated[str, Field(min_length=1, repr=False)]
    timeout_s: Annotated[float, Field(ge=0.1, le=60)] = 3.0
    connections_max: Annotated[int, Field(ge=1, le=1000)] = 4


class PostgresStoreFactory:
    """Makes the store. A StoreFactory."""

    settings: type[BaseModel] = PostgresStoreSettings

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, observer: Observer) -> AsyncIterator[IdempotencyStore]:  # noqa: ARG002 - what goes wrong is raised, and told by the runtime
        """Yield the store; closing it closes its connections. Raises InvalidDsn."""
        # psycopg takes its time to import: a host without this store does without it.
        from omnibase_infra.postgres.store import postgres_store

        assert isinstance(settings, PostgresStoreSettings)  # noqa: S101 - narrows the type; the registry validated it
        async with postgres_store(
            settings.dsn, timeout_s=settings.timeout_s, connections_max=settings.connections_max
        ) as store:
            yield store
