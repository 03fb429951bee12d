"""Secrets that change under load: a host goes on without a restart, and each command gets its answer, none an error."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from omnibase_core.codec import decode
from tests.support.commands import command
from tests.support.hosts import Machine, RunningHost
from tests.support.openbao import OpenBao
from tests.support.postgres import Postgres
from tests.support.processes import until
from tests.support.traffic import Reader, create_topics, publish

READER = """
contract: node/v1
name: {name}
kind: effect
version: 1.0.0
description: Reads a secret for each command.
handler: vault
target: {target}
operations:
  read:
    input: {{type: object, required: [number], properties: {{number: {{type: integer}}}}}}
    request: {{path: rotation}}
    answer: {{number: "${{ payload.number }}", value: "${{ result.data.value }}"}}
delivery: {{timeout_s: 5, ordering: none, retry: {{attempts: 8, initial_s: 0.2, max_s: 2}}}}
"""
ASKER = """
contract: node/v1
name: {name}
kind: effect
version: 1.0.0
description: Asks a database for each command.
handler: db
target: main
operations:
  ask:
    input: {{type: object, required: [number], properties: {{number: {{type: integer}}}}}}
    request:
      statement: select %(number)s::bigint as number
      parameters: {{number: "${{ payload.number }}"}}
      row: {{number: integer}}
    answer: {{number: "${{ result.rows[0].number }}"}}
delivery: {{timeout_s: 5, ordering: none, retry: {{attempts: 8, initial_s: 0.2, max_s: 2}}}}
"""
USER = "create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"
POLICY = 'path "secret/data/rotation" { capabilities = ["read"] }'
LOAD_S = 8.0
AT_ONCE = 100
LEAST = 500


def replace(file: Path, text: str) -> None:
    """Write a file in one step."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


def under_load(machine: Machine, name: str, rotate: Callable[[RunningHost], None]) -> RunningHost:
    """Send commands all the time, rotate meanwhile, and see that each has one answer, and none is an error."""
    names = f"onex.app.test.{machine.tenant}"
    commands, answers = f"{names}.cmd.node.{name}.v1", f"{names}.evt.node.{name}.v1"
    create_topics(machine.broker, [commands, answers])
    host = machine.start()
    host.until_ready(partitions=4)
    sent: set[UUID] = set()
    over = threading.Event()

    def send() -> None:
        number = 0
        while not over.is_set():
            messages = []
            for _ in range(AT_ONCE):
                number += 1
                envelope_id = uuid4()
                sent.add(envelope_id)
                messages.append(
                    command(commands, name, {"number": number}, key=b"%d" % (number % 50), envelope_id=envelope_id)
                )
            publish(machine.broker, messages)
            time.sleep(0.1)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        began_s = time.monotonic()
        rotate(host)
        time.sleep(max(0.0, LOAD_S - (time.monotonic() - began_s)))
    finally:
        over.set()
        sender.join()
    with Reader(machine.broker, [answers]) as reader:
        counts = reader.until_answered(sent, within_s=60)
        assert set(counts.values()) == {1}
        failed = [error for it in reader.messages if (error := decode(it.value()).error) is not None]
        assert failed == []
    assert len(sent) >= LEAST
    return host


@contextmanager
def reopening(host: RunningHost, name: str, *, within_s: float = 10) -> Iterator[None]:
    """Wait until what is done inside has had something opened anew."""
    before = host.health()["secrets"]["reopened"][name]
    yield
    until(lambda: host.health()["secrets"]["reopened"][name] > before, within_s=within_s, what="the rotation")


def made(server: Postgres) -> set[str]:
    """Return the users that OpenBao has made."""
    with psycopg.connect(server.dsn()) as connection:
        return {name for (name,) in connection.execute("select rolname from pg_roles where rolname like 'v-%'")}


def ended(host: RunningHost, *secrets: str) -> None:
    """See that the host is well, has told no secret, and ends in order."""
    report = host.health()
    assert (report["status"], report["secrets"]["stale"], report["secrets"]["unreadable"]) == ("ok", {}, {})
    assert host.child.stop() == 0
    log = host.child.log.read_text()
    assert not [it for it in secrets if it in log]
    assert not host.events("not_reopened")


def test_rotating_a_vault_token_under_load_loses_no_command(machine: Machine, openbao: OpenBao, tmp_path: Path) -> None:
    """Both tokens are valid for a moment, twice; then one is revoked before the host can have the next."""
    openbao.policy("rotation", POLICY)
    openbao.write("rotation", value="v")
    file = tmp_path / "token"
    tokens = [openbao.token(policies=["rotation", "default"])]
    file.write_text(tokens[0])
    machine.write(
        {"reads": READER.format(name="reads", target="main")},
        secrets={"TOKEN": {"file": str(file)}},
        handlers={"vault": {"targets": {"main": {"address": openbao.address, "token": "${secret.TOKEN}"}}}},
    )

    def rotate(host: RunningHost) -> None:
        for overlaps in (True, True, False):
            time.sleep(1.5)
            tokens.append(openbao.token(policies=["rotation", "default"]))
            with reopening(host, "vault"):
                if not overlaps:
                    openbao.revoke(tokens[-2])
                replace(file, tokens[-1])
            if overlaps:
                openbao.revoke(tokens[-2])

    host = under_load(machine, "reads", rotate)
    assert host.health()["secrets"]["reopened"]["vault"] >= 3
    ended(host, *tokens)


def test_rotating_the_database_password_under_load_loses_no_command(
    machine: Machine, own_postgres: Postgres, tmp_path: Path
) -> None:
    """It is changed and every session ended before the host can have the new one: what is refused is tried again."""
    passwords = ["the-first-password", "the-second-password", "the-third-password"]
    own_postgres.create_user("app", passwords[0])
    file = tmp_path / "password"
    file.write_text(passwords[0])
    target = {"dsn": own_postgres.dsn(user="app"), "password": "${secret.PASSWORD}", "sslmode": "disable"}
    machine.write(
        {"asks": ASKER.format(name="asks")},
        secrets={"PASSWORD": {"file": str(file)}},
        handlers={"db": {"targets": {"main": target}}},
    )

    def rotate(host: RunningHost) -> None:
        for password in passwords[1:]:
            time.sleep(1.5)
            with reopening(host, "db"):
                own_postgres.change_password("app", password)
                own_postgres.end_sessions("app")
                replace(file, password)

    host = under_load(machine, "asks", rotate)
    ended(host, *passwords)


def test_leased_database_credentials_are_replaced_under_load_and_no_command_is_lost(
    machine: Machine, openbao: OpenBao, own_postgres: Postgres
) -> None:
    """OpenBao makes a user of the database for six seconds, renews it once, and drops it: the host has the next."""
    mount = f"database-{uuid4().hex[:8]}"
    openbao.ask("POST", f"sys/mounts/{mount}", {"type": "database"})
    connection = (
        f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{own_postgres.port}/postgres?sslmode=disable"
    )
    own_postgres.create_user("keeper", "the-keepers-password")
    openbao.ask(
        "POST",
        f"{mount}/config/main",
        {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": connection,
            "username": "keeper",
            "password": "the-keepers-password",
            "allowed_roles": "app",
        },
    )
    openbao.ask(
        "POST",
        f"{mount}/roles/app",
        {
            "db_name": "main",
            "creation_statements": [
                "create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"
            ],
            "default_ttl": "6s",
            "max_ttl": "10s",
        },
    )
    openbao.policy(mount, f'path "{mount}/creds/app" {{ capabilities = ["read"] }}')
    keeper = openbao.token(policies=[mount, "default"])
    database = {"dsn": own_postgres.dsn(user="nobody"), "sslmode": "disable"}
    machine.write(
        {"leases": ASKER.format(name="leases")},
        secrets={
            "USER": {"vault": "keeper", "lease": f"{mount}/creds/app", "field": "username"},
            "PASSWORD": {"vault": "keeper", "lease": f"{mount}/creds/app", "field": "password"},
        },
        handlers={
            "db": {"targets": {"main": {**database, "user": "${secret.USER}", "password": "${secret.PASSWORD}"}}},
            "vault": {"targets": {"keeper": {"address": openbao.address, "token": keeper}}},
        },
    )

    def rotate(host: RunningHost) -> None:
        [first] = made(own_postgres)
        with reopening(host, "db", within_s=15):
            pass
        # Its calls have ended on it by then; all others go on as another user.
        until(lambda: first not in made(own_postgres), within_s=20, what="the end of the first lease")

    host = under_load(machine, "leases", rotate)
    ended(host, keeper, "the-keepers-password")


def test_a_host_does_not_start_without_its_secrets(machine: Machine, openbao: OpenBao, tmp_path: Path) -> None:
    """It says which are missing and why, all at once, and tells none of the others."""
    targets = {
        "keeper": {"address": openbao.address, "token": "${secret.TOKEN}"},
        "main": {"address": openbao.address, "token": "${secret.LOST}"},
    }
    (tmp_path / "token").write_text("a-token-that-opens-nothing")
    machine.write(
        {"reads": READER.format(name="reads", target="main")},
        secrets={
            "LOST": {"vault": "keeper", "kv": "nowhere", "field": "token"},
            "TOKEN": {"file": str(tmp_path / "token")},
        },
        handlers={"vault": {"targets": targets}},
    )
    ended = machine.call("run", str(machine.host_path))
    assert ended.returncode == 1
    assert "secret LOST: vault keeper: " in ended.stderr
    assert "the token itself is not in force" in " ".join(ended.stderr.split())
    assert "a-token-that-opens-nothing" not in ended.stderr + ended.stdout
