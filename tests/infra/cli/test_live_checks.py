"""`runtime-host check --live`: statements held to a real database, and none of them run."""

import json
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result

from omnibase_infra.cli import main
from tests.support.postgres import Postgres

HOST = Path("contracts/hosts/users.yaml")
NODE = Path("contracts/nodes/user-query.yaml")
PASSWORD = "a-password-of-a-test"  # noqa: S105 - the server takes any


def _check(folder: Path, address: str, *, node: str, monkeypatch: pytest.MonkeyPatch, form: str = "text") -> Result:
    """Check the example with its database at another address, and another node."""
    (folder / "hosts").mkdir()
    host = folder / "hosts" / "users.yaml"
    host.write_text(HOST.read_text().replace("localhost:5432/users", address))
    (folder / "user-query.yaml").write_text(node)
    monkeypatch.setenv("ONEX_SECRET_USERS_DB_USER", "postgres")
    monkeypatch.setenv("ONEX_SECRET_USERS_DB_PASSWORD", PASSWORD)
    return CliRunner().invoke(main, ["check", "--live", "--format", form, str(host)])


def _database(server: Postgres, table: str) -> str:
    """Create a database with a table, and give its address."""
    dsn = server.create_database(f"live_{uuid4().hex}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(table.encode())
    return dsn.partition("@")[2]


def _told(done: Result) -> list[tuple[str, str]]:
    """Return where each problem is, and what is said of it."""
    assert done.exit_code == 1
    problems = json.loads(done.stdout)["problems"]
    assert {(Path(it["path"]).name, it["code"]) for it in problems} == {("user-query.yaml", "bad-request")}
    return [(f"{it['line']}:{it['column']}", it["message"]) for it in problems]


def test_the_example_fits_its_database(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement is prepared, by the user and the password of the secrets; nothing is done."""
    address = _database(postgres, "create table users (id bigint primary key, name text)")
    done = _check(tmp_path, address, node=NODE.read_text(), monkeypatch=monkeypatch)
    assert done.output == "nodes: 1, hosts: 1, problems: 0\nstatements prepared at their databases: 3\n"
    with psycopg.connect(f"postgresql://postgres@{address}") as connection:
        assert connection.execute("select count(*) from users").fetchall() == [(0,)]


def test_what_the_database_refuses_is_told_at_its_place(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that is not there, and a parameter that is JSON to the database and not to the contract."""
    address = _database(postgres, "create table users (id bigint primary key, label text, name jsonb)")
    node = NODE.read_text().replace("select id, name from", "select id, nome as name from")
    assert _told(_check(tmp_path, address, node=node, monkeypatch=monkeypatch, form="json")) == [
        ("18:18", 'the database refuses it: column "nome" does not exist (42703)'),
        ("38:18", "%(name)s is jsonb to the database; write %(name)s::jsonb"),
        ("53:18", "%(name)s is jsonb to the database; write %(name)s::jsonb"),
    ]


def test_types_of_rows_are_held_to_the_database(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a row says of its columns has to be what the database has."""
    address = _database(postgres, "create table users (id text primary key, name text)")
    node = NODE.read_text().replace("user_id: {type: integer, minimum: 1}", "user_id: {type: string}")
    node = node.replace("user_id: 1", "user_id: '1'")
    assert _told(_check(tmp_path, address, node=node, monkeypatch=monkeypatch, form="json")) == [
        ("18:18", "the column 'id' is text to the database, which is string; row says integer"),
    ]


def test_a_database_that_is_away_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was proved, and that is said; the password is not."""
    done = _check(tmp_path, "127.0.0.1:1/users", node=NODE.read_text(), monkeypatch=monkeypatch)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: unreachable: check --live cannot ask the database: target 'users-db':")
    assert PASSWORD not in done.output


def test_a_folder_is_not_asked_of_all_its_databases() -> None:
    """Which host is meant has to be said."""
    done = CliRunner().invoke(main, ["check", "--live", "contracts"])
    assert done.exit_code == 2
    assert "--live needs the file of a host contract" in done.output
