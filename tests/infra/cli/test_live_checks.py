"""`runtime-host check --live`: statements held to a real database, and none of them run."""

import json
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result

from omnibase_infra.cli import main
from tests.support.plugins import install
from tests.support.postgres import Postgres

HOST = Path("contracts/hosts/users.yaml")
NODE = Path("contracts/nodes/user-query.yaml")
PLUGIN = """
from dataclasses import replace
from omnibase_infra.host.core_handlers import LocalHandlerFactory
from omnibase_spi import HandlerError, InvalidExpression, LiveCheck, LiveFault, LiveReport
from pydantic import BaseModel

class Shelf(BaseModel):
    words: list[str]

async def look(name, shelf, requests):
    if not shelf.words:
        raise HandlerError("empty", f"cannot ask the shelf {name!r}")
    asked = [request["message"] for request in requests]
    faults = [
        LiveFault(number, ("message",), InvalidExpression(f"the shelf has no {it!r}"))
        for number, it in enumerate(asked) if it not in shelf.words
    ]
    return LiveReport(len(asked), faults)

class factory(LocalHandlerFactory):
    description = replace(
        LocalHandlerFactory.description, handler_type="shelf", target=Shelf, live=LiveCheck("words looked up", look)
    )
"""
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


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("[a, b]", 0, "nodes: 1, hosts: 1, problems: 0\nwords looked up: 2\n"),
        ("[a]", 1, "reader.yaml:10:37: the shelf has no 'b' [bad-request]"),
        ("[]", 1, "error: empty: check --live cannot ask the shelf 'main'\n"),
    ],
)
def test_a_handler_of_a_plug_in_says_how_its_requests_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, status: int, told: str
) -> None:
    """The command knows no handler: what it does is in the handler's description."""
    install(tmp_path, monkeypatch, "plugin_that_looks", PLUGIN)
    operations = "".join(f"  {it}: {{input: {{}}, request: {{message: {it}}}, answer: {{}}}}\n" for it in "ab")
    (tmp_path / "hosts").mkdir()
    (tmp_path / "reader.yaml").write_text(
        "contract: node/v1\nname: reader\nkind: effect\nversion: 1.0.0\ndescription: Reads.\n"
        f"handler: shelf\ntarget: main\noperations:\n{operations}"
    )
    host = tmp_path / "hosts" / "readers.yaml"
    host.write_text(
        "contract: host/v1\nname: readers\nversion: 1.0.0\ndescription: Reads.\nenvironment: dev\ntenant: t\n"
        f"pool: p\nnodes: [reader]\nhandlers: {{shelf: {{targets: {{main: {{words: {words}}}}}}}}}\n"
    )
    done = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["check", "--live", str(host)])
    assert done.exit_code == status
    assert told in done.output


def test_where_nothing_can_be_looked_at_that_is_said() -> None:
    """No handler of the nodes looks at its server."""
    done = CliRunner().invoke(main, ["check", "--live", "contracts/hosts/demo.yaml"])
    assert done.exit_code == 0
    assert done.output.endswith("nothing to check live: no handler of these nodes looks at its server\n")
