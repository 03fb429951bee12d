"""What psycopg raises, as HandlerErrors: the one place that knows its exceptions and PostgreSQL's codes.

A message of the server's is given only where it cannot quote a value: those about data and constraints quote rows.
"""

from collections.abc import Mapping
from typing import Any, Literal

import psycopg
from psycopg import errors

from omnibase_core.errors import HandlerError
from omnibase_infra.postgres.connections import Absence, NoConnection

Phase = Literal["statement", "commit"]
"""Whether COMMIT had been sent."""

_RETRYABLE: Mapping[str, str] = {
    "40001": "serialization_failure",
    "40P01": "deadlock_detected",
    "55P03": "lock_timeout",
    "57014": "timeout",
    "25P03": "timeout",
    "57P01": "connection_lost",
    "57P02": "connection_lost",
    "57P03": "unreachable",
    "57P05": "connection_lost",
}
_ABSENCES: Mapping[Absence, str] = {
    "unreachable": "unreachable",
    "refused": "credentials_refused",
    "closed": "unreachable",
    "busy": "pool_exhausted",
    "silent": "timeout",
}
_CONSTRAINTS = frozenset(
    {"unique_violation", "foreign_key_violation", "check_violation", "not_null_violation", "exclusion_violation"}
)
_CLASSES: Mapping[str, tuple[str, bool]] = {
    "08": ("connection_lost", True),
    "22": ("data_invalid", False),
    "23": ("constraint_violation", False),
    "28": ("access_denied", False),
    "40": ("serialization_failure", True),
    "42": ("statement_invalid", False),
    "53": ("overloaded", True),
    "P0": ("raised", False),
}
_NO_TIME = ("22007", "22008")
"""A value that is no date or time stands where one is due."""
_QUIET_CLASSES = ("22", "23", "P0", "44")
"""Messages of these quote values of rows, or are of somebody else's making."""


def failure_of(
    error: psycopg.Error, *, where: str, timeout_s: float, broken: bool, phase: Phase, repeatable: bool
) -> HandlerError:
    """Translate what ended a call. What is lost with a COMMIT is retryable only where it is `repeatable`."""
    state = error.sqlstate
    if phase == "commit" and (state is None or (broken and state[:2] in ("08", "57"))):
        message = f"{where}: the connection was lost while COMMIT was under way: it may be done or not"
        return HandlerError("commit_unknown", message, retryable=repeatable, details=_details(error))
    if state is None:
        if isinstance(error, psycopg.OperationalError):
            return HandlerError(
                "connection_lost", f"{where}: the connection was lost; nothing was done", retryable=True
            )
        return HandlerError("database_error", f"{where}: {type(error).__name__}: psycopg rejected the statement")
    code, retryable = _code(error, state)
    if code in ("timeout", "lock_timeout"):
        where = f"{where}: not done within {timeout_s:g} s"
    return HandlerError(code, f"{where}: {_told(error, state)}", retryable=retryable, details=_details(error))


def absent(none: NoConnection, *, where: str) -> HandlerError:
    """Describe why there was no connection."""
    return HandlerError(_ABSENCES[none.absence], f"{where}: {none}", retryable=True)


def commit_timeout(where: str, timeout_s: float, *, repeatable: bool) -> HandlerError:
    """Report that COMMIT was sent, and not answered in time."""
    message = f"{where}: COMMIT was not answered within {timeout_s:g} s: it may be done or not"
    return HandlerError("commit_unknown", message, retryable=repeatable)


def _code(error: psycopg.Error, state: str) -> tuple[str, bool]:
    if state in _RETRYABLE:
        return _RETRYABLE[state], True
    if state in ("25006", "42501"):
        return ("read_only" if state == "25006" else "access_denied"), False
    name = _name(error)
    if name in _CONSTRAINTS:
        return name, False
    return _CLASSES.get(state[:2], ("database_error", False))


def _name(error: psycopg.Error) -> str:
    """Return the server's name of a condition: `UniqueViolation` is `unique_violation`."""
    name = type(error).__name__ if getattr(errors, type(error).__name__, None) else ""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _told(error: psycopg.Error, state: str) -> str:
    name = _name(error).replace("_", " ") or "error"
    if constraint := error.diag.constraint_name:
        return f"{name} of {constraint} ({state})"
    if state == "23502":
        return f"{name} of the column {error.diag.column_name} ({state})"
    if state in _NO_TIME:
        return f"{name} ({state}); for seconds since 1970 write to_timestamp(%(name)s)"
    if state[:2] in _QUIET_CLASSES:
        return f"{name} ({state})"
    return f"{error.diag.message_primary or name} ({state})"


def _details(error: psycopg.Error) -> dict[str, Any]:
    found = {
        "sqlstate": error.sqlstate,
        "constraint": error.diag.constraint_name,
        "table": error.diag.table_name,
        "column": error.diag.column_name,
    }
    return {name: value for name, value in found.items() if value is not None}
