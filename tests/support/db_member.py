"""The `db` handler in the conformance suite, against PostgreSQL."""

from typing import Any

from omnibase_infra.handlers.db import DbHandlerFactory
from tests.support.handlers import Ask, Member, Trouble
from tests.support.postgres import Postgres

_PASSWORD = "a-password-of-the-suite"  # noqa: S105 - the server takes any


def db_member(server: Postgres) -> Member:
    """Return the member whose server that is.

    It has no unsafe call: until COMMIT is sent nothing is done, and what is lost with a COMMIT has tests of its own.
    """
    return Member(
        factory=DbHandlerFactory(),
        port=server.port,
        target=lambda there: {
            "dsn": f"postgresql://127.0.0.1:{there}/postgres",
            "user": "postgres",
            "password": _PASSWORD,
            "sslmode": "disable",
            "connect_timeout_s": 1.0,
        },
        ask=lambda number: _ask("query", "select %(n)s::int as n", number),
        slow=Ask(operation="query", request={"statement": "select pg_sleep(10)"}),
        refused=(Ask(operation="query", request={"statement": "select nothing from nowhere"}), "statement_invalid"),
        secrets=(_PASSWORD,),
        rubbish=(b"S", b"R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I", b"E\x00\x00\x00\x05\x00"),
        trouble=Trouble(
            broken=frozenset({"unreachable", "connection_lost", "commit_unknown", "timeout"}),
            silent=frozenset({"timeout", "commit_unknown"}),
        ),
    )


def _ask(operation: str, statement: str, number: int) -> Ask:
    request: dict[str, Any] = {"statement": statement, "parameters": {"n": number}}
    return Ask(operation=operation, request=request, answers=lambda result: result["rows"] == [{"n": number}])
