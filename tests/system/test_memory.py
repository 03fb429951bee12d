"""What a host holds at the most, as the system sees it, while large messages pass through it as fast as they come.

The limit of 32 MB (`limits.bytes_in_flight_max`) is of messages. Around them are the interpreter, the Kafka client's
buffers, and copies: of a message on its way (bytes, text, JSON values), and freed memory that is not yet given back.
"""

import time
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest

from omnibase_core.codec import decode
from omnibase_core.engine.handler_publisher import ADDRESSEE, DEPTH
from omnibase_core.ports import Message
from tests.support.commands import command, node
from tests.support.hosts import POOL, Machine, RunningHost, echo_nodes
from tests.support.http_service import LARGE_BYTES, HttpService, http_service
from tests.support.resident import ResidentMemory, resident_mb
from tests.support.traffic import Reader, create_topics, publish

COUNT = 600
PILES_UP_S = 5.0
GROWTH_MAX_MB = 200
"""Six times the limit of what is in flight. Without a bound, 600 messages of 0.8 MB are 480 MB and their copies."""
ASK = '{{ask: {{input: {{type: object}}, request: {{path: [{path}]}}, answer: {{text: "${{ result.json.text }}"}}}}}}'
DELIVERY = "{timeout_s: 60, ordering: none, max_in_flight: 1000}"


def asking(path: str) -> dict[str, str]:
    """Write a node that asks the service for a path, as often at the same time as it may."""
    text = node("asker", handler="http", operations=ASK.format(path=path), delivery=DELIVERY)
    return {"asker": f"{text}target: service\n"}


@pytest.fixture
def service() -> Iterator[HttpService]:
    """Yield a service that answers nobody until it is told to, so that all that can pile up does."""
    with http_service(slow_s=0.1) as running:
        running.holding = True
        yield running


def http(service: HttpService) -> dict[str, object]:
    """Bind the service, without a limit that would keep what comes of it small."""
    target = {"base_url": f"http://127.0.0.1:{service.port}", "connections_max": 1000}
    return {"http": {"targets": {"service": target}, "limits": {"service": {"concurrency": 1000}}}}


def topics_of(machine: Machine, slug: str) -> tuple[str, str]:
    """Name the command and event topics of a node."""
    names = f"onex.app.test.{machine.tenant}"
    return f"{names}.cmd.node.{slug}.v1", f"{names}.evt.node.{slug}.v1"


def test_a_host_under_large_commands_and_answers_keeps_to_its_memory(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """An echo of 0.8 MB, without a pause."""
    commands, answers = topics_of(machine, "echo")
    machine.write(echo_nodes(["echo"]))
    payload = {"text": "x" * LARGE_BYTES}
    messages = [command(commands, "echo", payload, key=b"%d" % n, envelope_id=uuid4()) for n in range(COUNT)]
    report = _grown(machine, messages, commands, answers)
    _tell(capsys, "echo of large commands", report)


def test_a_host_under_large_answers_keeps_to_its_memory(
    machine: Machine, service: HttpService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Small commands, each of which is answered with 0.8 MB: a thousand calls may be under way."""
    commands, answers = topics_of(machine, "asker")
    machine.write(asking("large"), handlers=http(service))
    messages = [command(commands, "asker", {"n": n}, key=b"%d" % n, envelope_id=uuid4()) for n in range(COUNT)]
    report = _grown(machine, messages, commands, answers, service)
    _tell(capsys, "large answers to small commands", report)


def test_a_host_under_large_headers_and_keys_keeps_to_its_memory(
    machine: Machine, service: HttpService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values are small; keys of 0.2 MB and headers of 0.6 MB are as much to hold."""
    commands, answers = topics_of(machine, "asker")
    machine.write(asking("slow"), handlers=http(service))
    header, padding = [("note", b"h" * 600_000)], b"k" * 200_000
    messages = [
        command(commands, "asker", {"n": n}, key=b"%d" % n + padding, envelope_id=uuid4())._replace(headers=header)
        for n in range(COUNT)
    ]
    report = _grown(machine, messages, commands, answers, service)
    _tell(capsys, "large headers and keys", report)


def test_a_host_under_large_requests_keeps_to_its_memory(
    machine: Machine, service: HttpService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests of other nodes are bounded, too: for which there is no room, the answer says so at once."""
    commands, answers = topics_of(machine, "asker")
    requests = f"onex.app.test.{machine.tenant}.cmd.runtime.{POOL}.v1"
    machine.write(asking("slow"), handlers=http(service), requests=True)
    headers, payload = [(ADDRESSEE, commands.encode()), (DEPTH, b"1")], {"text": "x" * LARGE_BYTES}
    messages = [
        command(requests, "asker", payload, key=b"%d" % n, envelope_id=uuid4())._replace(headers=headers)
        for n in range(COUNT)
    ]
    create_topics(machine.broker, [commands])
    report = _grown(machine, messages, requests, answers, service)
    _tell(capsys, "large requests", report)


def test_a_host_under_large_answers_to_requests_keeps_to_its_memory(
    machine: Machine, service: HttpService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Small requests of other nodes, each of which is answered with 0.8 MB."""
    commands, answers = topics_of(machine, "asker")
    requests = f"onex.app.test.{machine.tenant}.cmd.runtime.{POOL}.v1"
    machine.write(asking("large"), handlers=http(service), requests=True)
    headers = [(ADDRESSEE, commands.encode()), (DEPTH, b"1")]
    messages = [
        command(requests, "asker", {"n": n}, key=b"%d" % n, envelope_id=uuid4())._replace(headers=headers)
        for n in range(COUNT)
    ]
    create_topics(machine.broker, [commands])
    report = _grown(machine, messages, requests, answers, service)
    _tell(capsys, "large answers to requests", report)


def _grown(
    machine: Machine, messages: Sequence[Message], commands: str, answers: str, service: HttpService | None = None
) -> tuple[float, float]:
    """Return what the host holds when it has started and at the most until all is answered, in MB; assert the bound."""
    create_topics(machine.broker, [commands, answers])
    host = machine.start()
    host.until_ready(partitions=4)
    before_mb = resident_mb(host.child.pid)
    memory = ResidentMemory(lambda: [host.child.pid], every_s=0.05)
    try:
        publish(machine.broker, messages)
        if service is not None:
            time.sleep(PILES_UP_S)
            service.holding = False
        _until_answered(machine, host, messages, answers)
    finally:
        memory.close()
    assert host.child.stop() == 0
    assert memory.most_mb - before_mb < GROWTH_MAX_MB, f"{before_mb:.0f} -> {memory.most_mb:.0f} MB"
    return before_mb, memory.most_mb


def _until_answered(machine: Machine, host: RunningHost, messages: Sequence[Message], answers: str) -> None:
    wanted = {decode(it.value).envelope_id for it in messages}
    with Reader(machine.broker, [answers]) as reader:
        counts = reader.until_answered(wanted, within_s=120)
    assert set(counts) == wanted
    health = host.health()
    assert (health["in_flight"], health["bytes_in_flight"]) == (0, 0)


def _tell(capsys: pytest.CaptureFixture[str], what: str, report: tuple[float, float]) -> None:
    with capsys.disabled():
        print(f"\n{what}: {COUNT} messages of 0.8 MB, resident {report[0]:.0f} MB before, {report[1]:.0f} MB at most")
