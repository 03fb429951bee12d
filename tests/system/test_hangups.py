"""SIGHUP: what asks other services to reload ends no host, and a terminal that is closed ends its own."""

import fcntl
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hosts import COMMAND, Machine, echo_nodes
from tests.support.processes import until


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Machine]:
    """Yield a machine whose hosts have their broker inside."""
    machine = Machine(tmp_path, tenant="alone", broker="embedded")
    machine.write(echo_nodes(["echo"]))
    yield machine
    machine.close()


def test_sighup_is_said_in_the_log_and_ends_no_host(alone: Machine) -> None:
    """However often it comes; the host serves on, and SIGTERM ends it as ever."""
    host = alone.start()
    host.until_ready()
    for count in (1, 2):
        os.kill(host.child.pid, signal.SIGHUP)
        until(lambda count=count: len(host.events("signal_ignored")) == count, within_s=10, what="it is said")
    assert host.events("signal_ignored")[0]["signal"] == "SIGHUP"
    assert host.health()["status"] == "ok"
    assert host.child.stop() == 0


def test_a_host_stops_in_order_when_its_terminal_is_closed(alone: Machine, tmp_path: Path) -> None:
    """Nobody would be there to end it; a signal alone, while the terminal is there, does not."""
    keyboard, terminal = pty.openpty()
    log = tmp_path / "log"
    with log.open("wb") as said:
        host = subprocess.Popen(
            [COMMAND, "run", str(alone.host_path)],
            stdin=terminal,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={**os.environ, "RUNTIME_HOST_STATE_DIR": str(tmp_path / "state"), "RUNTIME_HOST_LOG_FORMAT": "json"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(terminal)
    try:
        until(lambda: "host_started" in log.read_text(), within_s=60, what="the host serves")
        host.send_signal(signal.SIGHUP)
        until(lambda: "signal_ignored" in log.read_text(), within_s=10, what="it is said")
        os.close(keyboard)
        assert host.wait(30) == 0
        assert "terminal_closed" in log.read_text()
        assert "host_stopped" in log.read_text()
    finally:
        host.kill()
        host.wait()
