"""`runtime-host` in child processes, and the contracts that it runs."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.commands import ECHO, node
from tests.support.processes import Child, until

COMMAND = str(Path(sys.executable).with_name("runtime-host"))
NAME = "system-test"
POOL = "pool"
GREET = """
contract: node/v1
name: greet
kind: effect
version: 1.0.0
description: Greets.
handler: http
target: greetings
operations:
  greet:
    input: {type: object, required: [name], properties: {name: {type: string}}}
    request: {path: [greetings, "${ payload.name }"], query: {language: fr}, expect: [200]}
    answer: {greeting: "${ result.json.greeting }"}
"""
"""A node that asks the demo's service, which is its target `greetings`."""
_READY_S = 60.0


class Machine:
    """A user's place: a folder for contracts, logs and state files."""

    def __init__(self, folder: Path, *, tenant: str, broker: str, command: str = COMMAND, **environment: str) -> None:
        """Keep the folder, the tenant that keeps this test's topics apart, the broker's address, and more variables."""
        self.folder = folder
        self.tenant = tenant
        self.broker = broker
        self.host_path = folder / "contracts" / "hosts" / "host.yaml"
        self._command = command
        self._environment = {
            "RUNTIME_HOST_STATE_DIR": str(folder / "state"),
            "RUNTIME_HOST_LOG_FORMAT": "json",
            "COLUMNS": "80",
            **environment,
        }
        self._children: list[Child] = []

    def write(self, nodes: Mapping[str, str], **more: Any) -> None:
        """Write a host with these nodes; `more` are keys of its contract."""
        folder = self.folder / "contracts" / "nodes"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in nodes.items():
            (folder / f"{name}.yaml").write_text(text)
        client = {"session.timeout.ms": 6000, **more.pop("client", {})}
        contract = {
            "contract": "host/v1",
            "name": NAME,
            "version": "1.0.0",
            "description": "A host of a system test.",
            "environment": "test",
            "tenant": self.tenant,
            "pool": POOL,
            "nodes": list(nodes),
            "bus": {"bootstrap_servers": self.broker, "client": client},
            **more,
        }
        self.host_path.parent.mkdir(parents=True, exist_ok=True)
        self.host_path.write_text(json.dumps(contract, indent=1))

    def call(self, *arguments: str, stdin: str = "", within_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a verb to its end."""
        return subprocess.run(
            [self._command, *arguments],
            cwd=self.folder,
            env=self._environment | {"PATH": "/usr/bin:/bin"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def start(self, *options: str) -> "RunningHost":
        """Run the host."""
        log = self.folder / f"host-{len(self._children)}.log"
        child = Child([self._command, "run", str(self.host_path), *options], log, environment=self._environment)
        self._children.append(child)
        return RunningHost(child)

    def close(self) -> None:
        """End every host that a failed test left."""
        for child in self._children:
            child.kill()


class RunningHost:
    """A host that runs."""

    def __init__(self, child: Child) -> None:
        """Keep its process."""
        self.child = child

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        found = self.child.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in found if line.startswith("{") and line.endswith("}")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        return [line for line in self.lines() if line["event"] == name]

    def until_started(self) -> None:
        """Wait until it says that it has started."""
        self.child.until_says('"host_started"', within_s=_READY_S)

    def until_ready(self, *, partitions: int = 1) -> None:
        """Wait until it serves this many partitions."""
        self.until_started()

        def serves() -> bool:
            report = self.health()
            return report["broker_connected"] and report["assigned_partitions"] >= partitions

        until(serves, within_s=_READY_S, what=f"{partitions} partitions")

    def health(self) -> dict[str, Any]:
        """Ask its health endpoint."""
        return self._asked("/health")[1]

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Ask whether it is ready; give the status, and what it says."""
        return self._asked("/ready")

    def _asked(self, path: str) -> tuple[int, dict[str, Any]]:
        [started] = self.events("host_started")
        try:
            with urllib.request.urlopen(f"{started['health']}{path}", timeout=10) as reply:  # noqa: S310 - loopback
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def echo_nodes(names: Iterable[str]) -> dict[str, str]:
    """Write nodes that give back what they are sent."""
    return {name: node(name, handler="local", operations=ECHO) for name in names}
