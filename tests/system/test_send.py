"""`runtime-host send` and a broker that does not answer: it ends in time, and says what may still happen."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omnibase_core.ports import Message
from tests.support.brokers import ApacheKafka
from tests.support.hosts import Machine, echo_nodes
from tests.support.processes import reserved_port
from tests.support.traffic import Reader, create_topics, publish
from tests.system.test_failures import topics

_TIMEOUT_S = 3.0
_SLACK_S = 4.0
"""For the start and the end of the process, on a machine that is busy."""
_PRODUCE, _INIT_PRODUCER_ID = 0, 22
"""Keys of requests in Kafka's protocol."""


@pytest.mark.parametrize(
    ("request_key", "code", "fate", "count"),
    [
        (_INIT_PRODUCER_ID, "command_not_sent", "the command was not sent", 0),
        (_PRODUCE, "command_uncertain", "the command was on its way, and may still be served", 1),
    ],
    ids=["before it is sent", "while it is sent"],
)
def test_a_command_that_a_frozen_broker_does_not_take_is_not_sent_later(
    tmp_path: Path, unique_slug: str, request_key: int, code: str, fate: str, count: int
) -> None:
    """The broker freezes at a request of the sender's; when it is back, it has what the sender said of the command.

    A thawed broker may take its time: a later message shows that it serves again.
    """
    with _machine(tmp_path, unique_slug, freezes_at=request_key) as (machine, kafka):
        done = machine.call("send", "echo", *_options(machine), within_s=_TIMEOUT_S + _SLACK_S)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith(f"error: {code}: Kafka at ")
        assert fate in done.stderr
        os.kill(kafka.pid, signal.SIGCONT)
        publish(kafka.bootstrap_servers, [Message(topics(machine)[0], b"marker", b"marker")])
        with Reader(kafka.bootstrap_servers, [topics(machine)[0]]) as reader:
            reader.until(lambda messages: len(messages) > count, within_s=30)
            reader.until_quiet()
            assert len(reader.messages) == count + 1


def test_a_frozen_broker_keeps_nobody_waiting(tmp_path: Path, unique_slug: str) -> None:
    """One that does not even say which topics there are: the command was never sent."""
    with _machine(tmp_path, unique_slug, freezes_at=None) as (machine, kafka):
        os.kill(kafka.pid, signal.SIGSTOP)
        done = machine.call("send", "echo", *_options(machine), within_s=_TIMEOUT_S + _SLACK_S)
        assert done.returncode == 1
        assert done.stderr.startswith("error: command_not_sent: Kafka at ")
        assert "the command was not sent" in done.stderr


def test_a_broker_that_is_away_keeps_nobody_waiting(tmp_path: Path, unique_slug: str) -> None:
    """The reason is that of the connection."""
    with _machine(tmp_path, unique_slug, freezes_at=None) as (machine, kafka):
        kafka.kill()
        done = machine.call("send", "echo", *_options(machine), within_s=_TIMEOUT_S + _SLACK_S)
        assert done.returncode == 1
        assert done.stderr.startswith("error: command_not_sent: Kafka at ")
        assert "the command was not sent" in done.stderr


def test_a_command_that_nobody_answers_may_still_be_served(tmp_path: Path, unique_slug: str) -> None:
    """The broker has it, and no host is there."""
    with _machine(tmp_path, unique_slug, freezes_at=None) as (machine, _):
        done = machine.call("send", "echo", *_options(machine), within_s=_TIMEOUT_S + _SLACK_S)
        assert done.returncode == 3
        assert done.stderr == "error: no answer from 'echo' within 3 s; the command expires if no host has started it\n"


def _options(machine: Machine) -> list[str]:
    return ["--host", str(machine.host_path), "--timeout", f"{_TIMEOUT_S:g}"]


@contextmanager
def _machine(folder: Path, tenant: str, *, freezes_at: int | None) -> Iterator[tuple[Machine, ApacheKafka]]:
    """Yield a machine whose broker has the topics of a node, and freezes before it gets a request of that kind."""
    (folder / "kafka").mkdir()
    with reserved_port() as port:
        kafka = ApacheKafka(folder / "kafka", relay_port=port)
        kafka.start()
        machine = Machine(folder, tenant=tenant, broker=f"127.0.0.1:{port}")
        machine.write(echo_nodes(["echo"]))
        create_topics(kafka.bootstrap_servers, topics(machine))

        def seen(request_key: int) -> None:
            if request_key == freezes_at:
                os.kill(kafka.pid, signal.SIGSTOP)

        relay = _RequestRelay(port, kafka.relayed_port, seen)
        try:
            yield machine, kafka
        finally:
            relay.close()
            kafka.kill()
            machine.close()


class _RequestRelay:
    """Relays connections, and says which request comes before it is passed on."""

    def __init__(self, port: int, upstream: int, seen: Callable[[int], None]) -> None:
        """Listen."""
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen()
        self._upstream, self._seen = upstream, seen
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close everything."""
        for it in self._open:
            it.close()

    def _accept(self) -> None:
        while True:
            try:
                here = self._listener.accept()[0]
            except OSError:
                return
            self._open.append(here)
            try:
                there = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
            except OSError:
                here.close()
                continue
            there.settimeout(None)
            self._open.append(there)
            threading.Thread(target=self._requests, args=(here, there), daemon=True).start()
            threading.Thread(target=self._responses, args=(there, here), daemon=True).start()

    def _requests(self, here: socket.socket, there: socket.socket) -> None:
        """Pass on one request after the other: size, key, and the rest."""
        stream = here.makefile("rb")
        try:
            while size := stream.read(4):
                request = stream.read(int.from_bytes(size))
                self._seen(int.from_bytes(request[:2]))
                there.sendall(size + request)
        except (OSError, ValueError):
            pass
        there.close()

    def _responses(self, there: socket.socket, here: socket.socket) -> None:
        try:
            while data := there.recv(65_536):
                here.sendall(data)
        except OSError:
            pass
        here.close()
