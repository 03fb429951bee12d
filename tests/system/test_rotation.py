"""Secrets that change under load: a host goes on without a restart, and each command gets its answer, none an error."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

from omnibase_core.codec import decode
from tests.gear.commands import command
from tests.gear.hosts import Machine, RunningHost
from tests.gear.openbao import OpenBao
from tests.gear.processes import until
from tests.gear.traffic import Reader, create_topics, publish

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


def ended(machine: Machine, host: RunningHost, *secrets: str) -> None:
    """See that the host is well, has told no secret, and ends in order."""
    report = host.health()
    assert (report["status"], report["secrets"]["stale"], report["secrets"]["unreadable"]) == ("ok", {}, {})
    assert host.child.stop() == 0
    log = host.child.log.read_text()
    assert not [it for it in secrets if it in log]
    assert not host.events("not_reopened")
    del machine


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
            before = host.health()["secrets"]["reopened"]["vault"]
            tokens.append(openbao.token(policies=["rotation", "default"]))
            if not overlaps:
                openbao.revoke(tokens[-2])
            replace(file, tokens[-1])
            until(
                lambda seen=before: host.health()["secrets"]["reopened"]["vault"] > seen,  # type: ignore[misc]
                within_s=10,
                what="the rotation",
            )
            if overlaps:
                openbao.revoke(tokens[-2])

    host = under_load(machine, "reads", rotate)
    assert host.health()["secrets"]["reopened"]["vault"] >= 3
    ended(machine, host, *tokens)


def test_rotating_a_leased_secret_of_the_host_under_load_loses_no_command(machine: Machine, openbao: OpenBao) -> None:
    """What a target is opened with comes out of Vault for three seconds at a time, and is revoked after its end."""
    openbao.policy("rotation", POLICY)
    openbao.write("rotation", value="v")
    mount = f"leases-{uuid4().hex[:8]}"
    openbao.ask("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "1"}})
    openbao.policy(mount, f'path "{mount}/app" {{ capabilities = ["read"] }}')
    keeper = openbao.token(policies=[mount, "default"])
    tokens: list[str] = []

    def lease() -> None:
        """Let Vault give another token from now on."""
        tokens.append(openbao.token(policies=["rotation", "default"]))
        openbao.ask("POST", f"{mount}/app", {"token": tokens[-1], "ttl": "3s"})

    lease()
    targets = {
        "keeper": {"address": openbao.address, "token": keeper},
        "main": {"address": openbao.address, "token": "${secret.LEASED}"},
    }
    machine.write(
        {"leased": READER.format(name="leased", target="main")},
        secrets={"LEASED": {"vault": "keeper", "lease": f"{mount}/app", "field": "token"}},
        handlers={"vault": {"targets": targets}},
    )

    def rotate(host: RunningHost) -> None:
        for _ in range(3):
            before = host.health()["secrets"]["reopened"]["vault"]
            lease()
            until(
                lambda seen=before: host.health()["secrets"]["reopened"]["vault"] > seen,  # type: ignore[misc]
                within_s=10,
                what="the rotation",
            )
            openbao.revoke(tokens[-2])

    host = under_load(machine, "leased", rotate)
    assert host.health()["secrets"]["reopened"]["vault"] >= 3
    ended(machine, host, *tokens, keeper)


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
