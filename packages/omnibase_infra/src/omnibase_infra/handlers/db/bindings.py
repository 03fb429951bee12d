"""Requests with their values bound: everything of a call that can be known before a connection is asked for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omnibase_infra.handlers.db.models import (
    BatchRequest,
    CopyRequest,
    ExecuteRequest,
    QueryRequest,
    RowShape,
    TransactionRequest,
)
from omnibase_infra.handlers.db.statements import Statement, column_of, statement_of
from omnibase_infra.handlers.db.text_values import Form, UnboundValue, text_of

Values = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement with its values, and what is expected of it."""

    statement: Statement
    values: Values
    row: RowShape | None = None
    expect_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Sets:
    """One statement, and the values of each time that it is done."""

    statement: Statement
    values: Sequence[Values]


@dataclass(frozen=True, slots=True)
class Copied:
    """Rows for the columns of a table."""

    table: str
    columns: Sequence[str]
    rows: Sequence[Values]


def bound_step(request: QueryRequest | ExecuteRequest) -> Step:
    """Bind the one statement of a request. Raises UnboundValue, InvalidExpression."""
    return _step(request.statement, request.parameters, request.row)


def bound_steps(request: TransactionRequest) -> Mapping[str, Step]:
    """Bind each statement of a transaction, by its name. Raises UnboundValue, InvalidExpression."""
    return {
        name: _step(part.statement, part.parameters, part.row, part.expect_rows)
        for name, part in request.statements.items()
    }


def bound_sets(request: BatchRequest) -> Sets:
    """Bind every set of a batch. Raises UnboundValue, InvalidExpression."""
    statement = statement_of(request.statement)
    return Sets(statement, [statement.bound(parameters) for parameters in request.parameter_sets])


def bound_rows(request: CopyRequest) -> Copied:
    """Write out every row of a copy. Raises UnboundValue."""
    found = [column_of(written) for written in request.columns]
    columns = [column for column in found if column is not None]
    if len(columns) < len(found):
        raise UnboundValue(f"columns: found {request.columns!r}, expected names, with ::jsonb or ::text[] where needed")
    rows = [_copied(row, columns, index) for index, row in enumerate(request.rows)]
    return Copied(request.table, [name for name, _ in columns], rows)


def _step(written: str, parameters: Mapping[str, Any], row: RowShape | None, expect_rows: int | None = None) -> Step:
    statement = statement_of(written)
    return Step(statement, statement.bound(parameters), row, expect_rows)


def _copied(row: Sequence[Any], columns: Sequence[tuple[str, Form]], index: int) -> Values:
    if len(row) != len(columns):
        raise UnboundValue(f"rows.{index}: found {len(row)} values, expected {len(columns)}, one for each column")
    return [text_of(value, form, name=f"rows.{index}.{name}") for value, (name, form) in zip(row, columns, strict=True)]
