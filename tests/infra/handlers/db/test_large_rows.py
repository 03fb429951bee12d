"""A row that is far too large is refused before it is in memory, and the database is asked to stop."""

import json
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.postgres import Postgres

WIDE = "select repeat('x', 300000000) as x"
"""libpq, which reads a row whole, would have all of it in memory."""
WRITING = "insert into notes values (1) returning repeat('x', 300000000) as x"


@pytest.fixture(scope="module")
def dsn(postgres: Postgres) -> str:
    """Return a database with a table."""
    there = postgres.create_database(f"large_{uuid4().hex}")
    with psycopg.connect(there, autocommit=True) as connection:
        connection.execute("create table notes (n int)")
    return there


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("query", {"statement": WIDE}),
        ("query", {"statement": f"select 'small' as x union all {WIDE}"}),
        ("execute", {"statement": WRITING}),
        ("transaction", {"statements": {"small": {"statement": "select 1 as n"}, "wide": {"statement": WIDE}}}),
        ("query", {"statement": "select array_fill(repeat('x', 1000), array[300000]) as x"}),
    ],
)
def test_a_row_that_is_too_large_is_not_read(dsn: str, operation: str, request_: dict[str, Any]) -> None:
    """The memory of the process grows by little, nothing was done, and the next call is served."""
    # In a process of its own: what others of this one have taken before would hide it.
    command = [sys.executable, "-m", "tests.infra.handlers.db.large_rows", dsn, operation, json.dumps(request_)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["code"] == "result_too_large"
    assert outcome["grown_kib"] < 30_000
    assert outcome["after"] == [{"n": 1}]
    with psycopg.connect(dsn, autocommit=True) as watching:
        assert watching.execute("select count(*) from notes").fetchone() == (0,)
