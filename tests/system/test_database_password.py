"""A password of a database that is changed under load, on real servers: Kafka, PostgreSQL, and a host that goes on.

`PASSWORD_COMMANDS` makes it longer than it is in the ordinary suite.
"""

import os
import threading
import time
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from omnibase_core.codec import decode
from omnibase_core.ports import Message
from tests.support.commands import command, node
from tests.support.hosts import POOL, Machine
from tests.support.postgres import Postgres
from tests.support.processes import until
from tests.support.traffic import Reader, create_topics, ends, publish

COMMANDS = int(os.environ.get("PASSWORD_COMMANDS", "3000"))
SLICE = 100
ROTATIONS = 3
USER = "rotated_user"
APART_S = 0.5
"""How long the database has the new password, and the host has not."""
ADD = """
  add:
    input: {type: object, required: [number], properties: {number: {type: integer}}}
    call: execute
    request:
      statement: insert into done (n) values (%(number)s) on conflict (n) do nothing
      parameters: {number: "${ payload.number }"}
      idempotent: true
    answer: {number: "${ payload.number }"}
"""


def write(machine: Machine, server: Postgres, password: Path) -> None:
    """Write a node that adds numbers to a table, and its host, whose password is in a file."""
    text = node("add", handler="db", operations=ADD, delivery="{timeout_s: 5, max_in_flight: 32}")
    target = {
        "dsn": f"postgresql://127.0.0.1:{server.port}/postgres",
        "user": USER,
        "password": "${secret.DB_PASSWORD}",
        "sslmode": "disable",
        "connections_max": 8,
        "connect_timeout_s": 1,
        # Connections are made anew all the time, so that the password counts at every moment.
        "lifetime_max_s": 1,
    }
    machine.write(
        {"add": text.replace("handler: db", "handler: db\ntarget: numbers")},
        handlers={"db": {"targets": {"numbers": target}}},
        secrets={"DB_PASSWORD": {"file": str(password)}},
    )


def put(file: Path, text: str) -> None:
    """Change a file in one step, as whoever mounts secrets does."""
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.replace(file)


def test_a_password_that_is_changed_under_load_loses_no_command(
    machine: Machine, own_postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three times, each time with every session ended: each command is done, and answered once without error."""
    passwords = [f"password-number-{n}-{uuid4().hex}" for n in range(ROTATIONS + 1)]
    file = tmp_path / "password"
    put(file, passwords[0])
    own_postgres.create_user(USER, passwords[0])
    with psycopg.connect(own_postgres.dsn(), autocommit=True) as connection:
        connection.execute("create table done (n int primary key)")
    app = f"onex.app.test.{machine.tenant}"
    commands, answers = f"{app}.cmd.node.add.v1", f"{app}.evt.node.add.v1"
    letters = f"{app}.dlq.runtime.{POOL}.v1"
    create_topics(machine.broker, [commands, answers, letters])
    write(machine, own_postgres, file)
    host = machine.start()
    host.until_ready(partitions=4)
    rotated = threading.Event()
    sent: dict[UUID, int] = {}
    sender = threading.Thread(target=_stream, args=(machine.broker, commands, rotated, sent))
    sender.start()
    for number, password in enumerate(passwords[1:], start=1):
        time.sleep(1)
        own_postgres.change_password(USER, password)
        own_postgres.end_sessions(USER)
        time.sleep(APART_S)
        put(file, password)
        until(lambda number=number: _reopened(host.health()) == number, within_s=30, what="the handler opens anew")
    rotated.set()
    sender.join()
    with Reader(machine.broker, [answers]) as reader:
        reader.until_answered(set(sent), within_s=120)
        errors = [decode(it.value()).error for it in reader.messages]
        found = [(decode(it.value()).causation_id, decode(it.value()).payload.get("number")) for it in reader.messages]
    figures = host.health()["nodes"]["add"]
    assert host.child.stop() == 0
    with capsys.disabled():
        print(
            f"\n{len(sent):,} commands, {ROTATIONS} rotations of the database's password under load:"
            f" {len(sent) - len(set(found)):,} lost, {figures['retries']:,} attempts made again"
        )
    assert [error for error in errors if error is not None] == []
    assert sorted(found) == sorted(sent.items())
    assert ends(machine.broker, [letters]) == {}
    with psycopg.connect(own_postgres.dsn()) as connection:
        assert connection.execute("select count(*) from done").fetchall() == [(len(sent),)]
    log = host.child.log.read_text()
    assert not [password for password in passwords if password in log]


def _reopened(health: dict[str, dict[str, dict[str, int]]]) -> int:
    return health["secrets"]["reopened"]["db"]


def _stream(broker: str, topic: str, rotated: threading.Event, sent: dict[UUID, int]) -> None:
    """Send commands until there are enough of them and the last password is in force."""
    for first in count(0, SLICE):
        if rotated.is_set() and len(sent) >= COMMANDS:
            return
        publish(broker, [_command(topic, number, sent) for number in range(first, first + SLICE)])
        time.sleep(0.05)


def _command(topic: str, number: int, sent: dict[UUID, int]) -> Message:
    identity = uuid4()
    sent[identity] = number
    return command(topic, "add", {"number": number}, key=b"%d" % number, envelope_id=identity)
