"""The `db` handler: statements of contracts on PostgreSQL, with bound values.

Where a database is, is the host contract's affair alone (`DbTarget`); what it is asked is the node's. `models` holds
what contracts may write, `checks` what `check` finds in it, `result_errors` what else is an error and what each code
means; `execution` says what a call does, `connections` on what. psycopg is imported below `connections` alone.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from pydantic import BaseModel

from omnibase_infra.handlers.db import checks, models, result_errors, row_shapes
from omnibase_infra.handlers.db.models import DbSettings, DbTarget
from omnibase_spi import Handler, HandlerDescription, LiveCheck, LiveReport, OperationDescription

__all__ = ["DbHandlerFactory", "DbSettings", "DbTarget"]

_ERRORS = tuple(code for code in result_errors.ERRORS if code != "rows_unexpected")
"""What all but a transaction fail with: it alone has statements with `expect_rows`."""

_ROWS = partial(
    OperationDescription,
    result=models.Rows,
    gives=row_shapes.result_of_rows,
    refusal=result_errors.refusal_of_rows,
    late=result_errors.late,
    errors=_ERRORS,
)
_COUNT = partial(OperationDescription, result=models.Count, late=result_errors.late, errors=_ERRORS)


async def _check_live(name: str, target: DbTarget, requests: Sequence[Any]) -> LiveReport:
    # psycopg is for those who ask for it.
    from omnibase_infra.handlers.db.live_checks import live_report

    return await live_report(name, target, requests)


class DbHandlerFactory:
    """Makes the `db` handler: one pool of connections for each target."""

    description = HandlerDescription(
        handler_type="db",
        operations={
            "query": _ROWS(request=models.QueryRequest, faults=checks.faults_of_query),
            "execute": _ROWS(request=models.ExecuteRequest, faults=checks.faults_of_execute),
            "batch": _COUNT(
                request=models.BatchRequest, faults=checks.faults_of_batch, refusal=result_errors.refusal_of_batch
            ),
            "copy": _COUNT(
                request=models.CopyRequest, faults=checks.faults_of_copy, refusal=result_errors.refusal_of_copy
            ),
            "transaction": OperationDescription(
                request=models.TransactionRequest,
                result=models.TransactionResult,
                faults=checks.faults_of_transaction,
                gives=row_shapes.result_of_transaction,
                refusal=result_errors.refusal_of_transaction,
                late=result_errors.late,
            ),
        },
        settings=DbSettings,
        target=DbTarget,
        errors=result_errors.ERRORS,
        live=LiveCheck("statements prepared at their databases", _check_live),
    )

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:  # noqa: ARG002 - nothing is set for all targets
        """Yield the handler; closing it closes its connections. Raises InvalidDsn."""
        # psycopg takes its time to import: a host without a database does without it.
        from omnibase_infra.handlers.db.connections import db_handler

        async with db_handler({name: it for name, it in targets.items() if isinstance(it, DbTarget)}) as handler:
            yield handler
