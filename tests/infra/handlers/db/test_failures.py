"""What each of PostgreSQL's codes becomes, and what is repeatable when a COMMIT was lost."""

import psycopg
import pytest
from psycopg import errors

from omnibase_infra.handlers.db.failures import Phase, failure_of
from omnibase_infra.handlers.db.result_errors import ERRORS


@pytest.mark.parametrize(
    ("state", "code", "retryable"),
    [
        ("40001", "serialization_failure", True),
        ("40P01", "deadlock_detected", True),
        ("55P03", "lock_timeout", True),
        ("57014", "timeout", True),
        ("57P01", "connection_lost", True),
        ("57P03", "unreachable", True),
        ("53300", "overloaded", True),
        ("08006", "connection_lost", True),
        ("23505", "unique_violation", False),
        ("23P01", "exclusion_violation", False),
        ("23001", "constraint_violation", False),
        ("22P02", "data_invalid", False),
        ("42P01", "statement_invalid", False),
        ("42501", "access_denied", False),
        ("28P01", "access_denied", False),
        ("25006", "read_only", False),
        ("P0001", "raised", False),
        ("0A000", "database_error", False),
    ],
)
def test_every_code_has_its_meaning(state: str, code: str, retryable: bool) -> None:  # noqa: FBT001 - a case
    """Retryable is what may pass; the server's code is in the details."""
    error = errors.lookup(state)("a message that quotes 4711")
    failure = failure_of(error, where="it", timeout_s=1, broken=False, phase="statement", repeatable=False)
    assert (failure.code, failure.retryable, failure.details["sqlstate"]) == (code, retryable, state)
    assert "4711" not in str(failure)
    assert code in ERRORS


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize(
    ("error", "broken", "phase", "code"),
    [
        (psycopg.OperationalError("lost"), True, "statement", "connection_lost"),
        (psycopg.OperationalError("lost"), True, "commit", "commit_unknown"),
        (psycopg.OperationalError("lost"), False, "commit", "commit_unknown"),
        (errors.AdminShutdown("ended"), True, "commit", "commit_unknown"),
        (errors.SerializationFailure("both"), False, "commit", "serialization_failure"),
        (errors.QueryCanceled("late"), False, "commit", "timeout"),
    ],
)
def test_only_a_lost_commit_asks_whether_it_may_be_repeated(
    error: psycopg.Error,
    broken: bool,  # noqa: FBT001 - a case
    phase: Phase,
    code: str,
    repeatable: bool,  # noqa: FBT001 - a case
) -> None:
    """Before COMMIT, and where the server itself says that it did not commit, nothing was done."""
    failure = failure_of(error, where="it", timeout_s=1, broken=broken, phase=phase, repeatable=repeatable)
    assert (failure.code, failure.retryable) == (code, repeatable if code == "commit_unknown" else True)
