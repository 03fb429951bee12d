"""A host without a place for its state file serves all the same, and says that `send` will not find it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.hosts import COMMAND, Machine, echo_nodes
from tests.support.processes import until

_PLACES = ("HOME", "XDG_STATE_HOME", "RUNTIME_HOST_STATE_DIR")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "there is no state folder: neither RUNTIME_HOST_STATE_DIR nor HOME is set"),
        ({"HOME": "/dev/null"}, "state folder /dev/null/.local/state/runtime-host: Not a directory"),
    ],
)
def test_a_host_without_a_place_for_its_state_serves(tmp_path: Path, variables: dict[str, str], reason: str) -> None:
    """As in a container without a home and with a file system that nobody may write."""
    machine = Machine(tmp_path, tenant="alone", broker="embedded")
    machine.write(echo_nodes(["echo"]))
    kept = {name: value for name, value in os.environ.items() if name not in _PLACES}
    environment = {**kept, "RUNTIME_HOST_LOG_FORMAT": "json", **variables}
    log = tmp_path / "log"
    with log.open("wb") as said:
        host = subprocess.Popen([COMMAND, "run", str(machine.host_path)], stdout=said, stderr=said, env=environment)
    try:
        until(lambda: "host_started" in log.read_text(), within_s=60, what="the host serves")
        host.send_signal(signal.SIGTERM)
        assert host.wait(30) == 0
    finally:
        host.kill()
        host.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [warned] = [line for line in lines if line["event"] == "state_not_writable"]
    assert warned["level"] == "warning"
    assert warned["reason"].startswith(reason)
    assert "--host" in warned["meaning"]
