"""When a call of the `db` handler is an error, whatever the database says, and what each code of its errors means.

Without psycopg: references of nodes, and tests of contracts, which play the database, ask here too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from omnibase_core.errors import HandlerError, InvalidExpression
from omnibase_core.ports import ErrorDescription
from omnibase_infra.handlers.db.bindings import Step, bound_rows, bound_sets, bound_step, bound_steps
from omnibase_infra.handlers.db.models import (
    BatchRequest,
    CopyRequest,
    ExecuteRequest,
    QueryRequest,
    Rows,
    TransactionRequest,
    TransactionResult,
)
from omnibase_infra.handlers.db.row_shapes import row_fault
from omnibase_infra.handlers.db.text_values import UnboundValue

ERRORS: Mapping[str, ErrorDescription] = {
    "timeout": ErrorDescription("The call was not done in time, and nothing of it was done.", retryable=True),
    "lock_timeout": ErrorDescription("A lock did not come in time; nothing was done.", retryable=True),
    "unreachable": ErrorDescription("There is no connection to the database to be had.", retryable=True),
    "credentials_refused": ErrorDescription(
        "The database does not take the host's user or password: perhaps they are being changed.", retryable=True
    ),
    "pool_exhausted": ErrorDescription("All connections of the target were busy for too long.", retryable=True),
    "connection_lost": ErrorDescription("The connection broke off before COMMIT; nothing was done.", retryable=True),
    "overloaded": ErrorDescription(
        "The server is short of connections, memory or disk; nothing was done.", retryable=True
    ),
    "serialization_failure": ErrorDescription(
        "Another transaction came first; nothing was done, and again it may work.", retryable=True
    ),
    "deadlock_detected": ErrorDescription(
        "Two transactions waited for each other, and this one was undone.", retryable=True
    ),
    "commit_unknown": ErrorDescription(
        "The connection was lost while COMMIT was under way: it may be done or not.",
        retryable="where the call only reads, or says `idempotent: true`",
    ),
    "unique_violation": ErrorDescription("Something with this key is there already."),
    "foreign_key_violation": ErrorDescription("What is referred to is not there, or is still referred to."),
    "check_violation": ErrorDescription("A value breaks a rule of its table."),
    "not_null_violation": ErrorDescription("A value is missing that its column needs."),
    "exclusion_violation": ErrorDescription("A row excludes another that is there."),
    "constraint_violation": ErrorDescription("A row breaks a constraint."),
    "data_invalid": ErrorDescription("A value is none of the type that its place in the statement needs."),
    "statement_invalid": ErrorDescription("The database rejects the statement: it does not match its tables."),
    "read_only": ErrorDescription("A statement that may only read would write."),
    "access_denied": ErrorDescription("The host's user may not do this."),
    "raised": ErrorDescription("A function or a trigger of the database rejects it."),
    "rows_unexpected": ErrorDescription(
        "A statement touched another number of rows than `expect_rows` says; nothing was done."
    ),
    "result_too_large": ErrorDescription(
        "The result is over `rows_max` or `result_bytes_max` of the target; nothing was done."
    ),
    "result_invalid": ErrorDescription(
        "A row is not as `row` says, or holds a number that has no place in JSON; nothing was done."
    ),
    "request_invalid": ErrorDescription("A value cannot be bound: its parameter has no place, or needs a cast."),
    "database_error": ErrorDescription("The database failed in another way."),
}


def bound(bind: Callable[[Any], Any], request: BaseModel) -> Any:
    """Bind the values of a request. Raises HandlerError."""
    try:
        return bind(request)
    except (UnboundValue, InvalidExpression) as error:
        raise HandlerError("request_invalid", str(error)) from None


def unexpected_rows(step: Step, row_count: int) -> HandlerError | None:
    """Return the error for a statement that touched other rows than it was to; None where it did not."""
    expected = step.expect_rows
    if expected is None or row_count == expected:
        return None
    message = f"a statement touched {row_count} rows, expected {expected}; nothing was done"
    return HandlerError("rows_unexpected", message, details={"rows": row_count, "expected": expected})


def unfit_row(step: Step, row: Mapping[str, Any]) -> HandlerError | None:
    """Return the error for a row that is not as its shape says; None where it is, or where nothing is said."""
    fault = None if step.row is None else row_fault(row, step.row)
    return None if fault is None else HandlerError("result_invalid", f"{fault}; nothing was done")


def refusal_of_rows(request: QueryRequest | ExecuteRequest, result: Rows) -> HandlerError | None:
    """Return the error that the handler raises in place of rows; None where it gives them."""
    return _refusal(lambda: _refused(bound(bound_step, request), result))


def refusal_of_batch(request: BatchRequest, _: BaseModel) -> HandlerError | None:
    """Return the error of a batch whose values cannot be bound."""
    return _refusal(lambda: bound(bound_sets, request) and None)


def refusal_of_copy(request: CopyRequest, _: BaseModel) -> HandlerError | None:
    """Return the error of a copy whose values cannot be written out."""
    return _refusal(lambda: bound(bound_rows, request) and None)


def refusal_of_transaction(request: TransactionRequest, result: TransactionResult) -> HandlerError | None:
    """Return the error of the first statement whose rows are not as expected."""

    def judged() -> HandlerError | None:
        steps: Mapping[str, Step] = bound(bound_steps, request)
        refused = (_refused(step, result.results[name]) for name, step in steps.items() if name in result.results)
        return next((it for it in refused if it is not None), None)

    return _refusal(judged)


def late(_: BaseModel, timeout_s: float) -> HandlerError:
    """Return the error that the handler raises when the time is over, and COMMIT was not sent."""
    return HandlerError("timeout", f"not done within {timeout_s:g} s", retryable=True)


def _refusal(judge: Callable[[], HandlerError | None]) -> HandlerError | None:
    try:
        return judge()
    except HandlerError as error:
        return error


def _refused(step: Step, result: Rows) -> HandlerError | None:
    rows: Sequence[Mapping[str, Any]] = result.rows
    unfit = (unfit_row(step, row) for row in rows)
    return next((it for it in unfit if it is not None), None) or unexpected_rows(step, result.row_count)
