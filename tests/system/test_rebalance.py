"""Hosts whose nodes are full while others join and leave: nothing that comes back stands still."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import pytest

from omnibase_core.codec import decode
from omnibase_core.ports import Message
from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command, node
from tests.support.hosts import POOL, Machine
from tests.support.processes import until
from tests.support.traffic import Reader, committed, create_topics, ends, publish

COMMANDS = 800
ASK = '{ask: {input: {type: object}, request: {path: [word]}, answer: {word: "${ result.json.word }"}}}'


class Slow(BaseHTTPRequestHandler):
    """Answers every request after a while."""

    def do_GET(self) -> None:
        """Answer."""
        time.sleep(0.05)
        body = b'{"word": "well"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def slow_service() -> Iterator[str]:
    """Run a service that is slower than its callers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_full_nodes_go_on_after_another_host_came_and_went(
    machine: Machine, kafka: Broker, slow_service: str, protocol: str
) -> None:
    """Partitions that were revoked while they were paused come back and are read: all is answered and committed."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")
    _write(machine, slow_service, protocol)
    commands, answers = (f"onex.app.test.{machine.tenant}.{stream}.node.asker.v1" for stream in ("cmd", "evt"))
    create_topics(machine.broker, [commands, answers])
    messages = [
        command(commands, "asker", {"n": n}, key=b"%d" % (n % 100), envelope_id=uuid4()) for n in range(COMMANDS)
    ]
    first = machine.start()
    first.until_ready(partitions=4)
    publish(machine.broker, messages)
    until(lambda: first.health()["in_flight"] >= 8, within_s=30, what="a full node")
    for _ in range(2):
        second = machine.start()
        second.until_ready()
        time.sleep(1)
        assert second.child.stop() == 0
    with Reader(machine.broker, [answers]) as reader:
        reader.until_answered(_ids_of(messages), within_s=90)
    group = f"onex.test.{machine.tenant}.{POOL}"
    until(
        lambda: committed(machine.broker, group, [commands]) == ends(machine.broker, [commands]),
        within_s=20,
        what="no lag",
    )
    assert first.child.stop() == 0


def _write(machine: Machine, service: str, protocol: str) -> None:
    client = {"session.timeout.ms": 6000} if protocol == "classic" else {}
    machine.write(
        {
            "asker": node("asker", handler="http", operations=ASK).replace(
                "delivery: {}", "target: slow\ndelivery: {max_in_flight: 8}"
            )
        },
        bus={"bootstrap_servers": machine.broker, "group_protocol": protocol, "client": client},
        handlers={"http": {"targets": {"slow": {"base_url": service}}}},
    )


def _ids_of(messages: list[Message]) -> set[UUID]:
    return {decode(it.value).envelope_id for it in messages}
