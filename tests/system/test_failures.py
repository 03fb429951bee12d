"""What happens when a host or its broker dies: repeats are allowed, gaps are not."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest

from omnibase_core.codec import decode
from omnibase_core.ports import Message
from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command, node
from tests.support.hosts import POOL, Machine, RunningHost, echo_nodes
from tests.support.processes import free_port, until
from tests.support.traffic import Reader, committed, create_topics, ends, publish

LOAD = 20_000


@pytest.fixture
def apache_kafka(kafka: Broker) -> None:
    """Skip on the stand-in, where a group member that was killed is never evicted."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}")


def topics(machine: Machine) -> tuple[str, str]:
    """Name the topics of the echo node."""
    names = f"onex.app.test.{machine.tenant}"
    return f"{names}.cmd.node.echo.v1", f"{names}.evt.node.echo.v1"


def load(topic: str, count: int, slug: str = "echo") -> list[Message]:
    """Return commands of a hundred keys."""
    return [command(topic, slug, {"n": n}, key=b"%d" % (n % 100), envelope_id=uuid4()) for n in range(count)]


def ids_of(messages: list[Message]) -> set[object]:
    """Return the ids of commands."""
    return {decode(it.value).envelope_id for it in messages}


@pytest.mark.usefixtures("apache_kafka")
def test_a_host_that_is_killed_under_load_loses_nothing(machine: Machine) -> None:
    """SIGKILL somewhere in 20,000 echoes, then a restart: each command has its answer; a repeat has its twin's id."""
    machine.write(echo_nodes(["echo"]))
    commands, answers = topics(machine)
    create_topics(machine.broker, [commands, answers])
    messages = load(commands, LOAD)
    first = machine.start()
    first.until_ready(partitions=4)
    publish(machine.broker, messages[: LOAD // 2])
    with Reader(machine.broker, [answers]) as reader:
        reader.until(lambda found: len(found) >= LOAD // 10, within_s=60)
        publish(machine.broker, messages[LOAD // 2 :])
        first.child.kill()
        second = machine.start()
        counts = reader.until_answered(ids_of(messages), within_s=120)
        assert set(counts) == ids_of(messages)
        identities = {it.value()[:200].split(b'"envelope_id":"')[1][:36] for it in reader.messages}
        assert len(identities) == LOAD
    assert second.child.stop() == 0


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_broker_that_comes_late_and_goes_away_is_waited_for(
    own_kafka: Broker, tmp_path_factory: pytest.TempPathFactory, unique_slug: str, guarantee: str
) -> None:
    """The host says so once, keeps trying, and goes on by itself."""
    if guarantee == "exactly_once" and not isinstance(own_kafka, ApacheKafka):
        pytest.skip(f"not on {own_kafka.name}: transactions are tested on Kafka itself")
    machine = Machine(tmp_path_factory.mktemp("machine"), tenant=unique_slug, broker=own_kafka.bootstrap_servers)
    try:
        _outlive_the_broker(own_kafka, machine, guarantee)
    finally:
        machine.close()


def _outlive_the_broker(kafka: Broker, machine: Machine, guarantee: str) -> None:
    machine.write(echo_nodes(["echo"]), guarantee=guarantee)
    commands, answers = topics(machine)
    host = machine.start()
    host.until_started()
    until(lambda: host.events("broker_unreachable"), within_s=30, what="the host notices")
    assert host.health()["status"] == "not_ready"
    kafka.start()
    host.until_ready(partitions=4)
    messages = load(commands, 2000)
    publish(machine.broker, messages[:1000])
    _until_counted(host, 1000)
    # Apache Kafka is given no chance to say good-bye; its stand-in would lose its data.
    kafka.kill() if isinstance(kafka, ApacheKafka) else kafka.stop()
    until(lambda: len(host.events("broker_unreachable")) == 2, within_s=60, what="the host notices again")
    time.sleep(5)
    kafka.start()
    publish(machine.broker, messages[1000:])
    with Reader(machine.broker, [answers]) as reader:
        counts = reader.until_answered(ids_of(messages), within_s=120)
    assert guarantee == "at_least_once" or set(counts.values()) == {1}
    assert len(host.events("broker_unreachable")) == len(host.events("broker_reachable")) == 2
    assert host.child.stop() == 0


def _until_counted(host: RunningHost, count: int) -> None:
    until(lambda: host.health()["nodes"]["echo"]["answers"] >= count, within_s=60, what=f"{count} answers")


def test_a_host_stops_in_bounded_time_without_its_broker(machine: Machine) -> None:
    """SIGTERM is heeded, whether or not the broker was ever there. Why it is not is told."""
    machine.broker = "127.0.0.1:1"
    machine.write(echo_nodes(["echo"]))
    host = machine.start()
    host.until_started()
    until(lambda: host.events("broker_unreachable"), within_s=30, what="the host notices")
    assert "Connection refused" in host.events("broker_unreachable")[0]["reason"]
    assert host.child.stop(within_s=40) == 0


class Service(BaseHTTPRequestHandler):
    """Answers every request with a word."""

    def do_GET(self) -> None:
        """Answer."""
        body = b'{"word": "well"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Describe nothing."""


ASK = '{ask: {input: {type: object}, request: {path: [word]}, answer: {word: "${ result.json.word }"}}}'


def test_the_embedded_broker_refuses_exactly_once(machine: Machine) -> None:
    """It has no transactions; the error says what to do."""
    machine.write(echo_nodes(["echo"]), guarantee="exactly_once")
    done = machine.call("run", str(machine.host_path), "--broker", "embedded")
    assert done.returncode == 1
    assert "the embedded broker has no transactions" in done.stderr
    assert "--broker ADDRESS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_handler_that_sleeps_beyond_its_limits_costs_its_own_commands_alone(machine: Machine) -> None:
    """Each gets its error answer and its dead letter; the host says which node, why, and that it stands."""
    asking = node("ask", handler="http", operations=ASK, delivery="{timeout_s: 3, retry: {attempts: 2}}")
    nodes = {"ask": asking.replace("delivery:", "target: silent\ndelivery:"), **echo_nodes(["echo"])}
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        target = {"base_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        http = {"breaker": {"failures": 1000}, "targets": {"silent": target}}
        machine.write(nodes, handlers={"http": http}, health={"stalled_max_s": 1})
        host = machine.start()
        host.until_ready(partitions=8)
        names = f"onex.app.test.{machine.tenant}"
        commands, answers = ({it: f"{names}.{kind}.node.{it}.v1" for it in nodes} for kind in ("cmd", "evt"))
        messages = {it: load(commands[it], 50, it) for it in nodes}
        publish(machine.broker, [*messages["ask"], *messages["echo"]])
        with Reader(machine.broker, [answers["echo"]]) as reader:
            reader.until_answered(ids_of(messages["echo"]), within_s=30)
            echoed_ms = max(it.timestamp()[1] for it in reader.messages)
        until(lambda: host.health()["status"] == "not_ready", within_s=30, what="a host that stands is not ready")
        assert host.health()["reasons"][0].startswith("a partition has made no progress for")
        with Reader(machine.broker, [answers["ask"], f"{names}.dlq.runtime.{POOL}.v1"]) as reader:
            reader.until(lambda found: len(found) == 100, within_s=60)
            letters = [it for it in reader.messages if it.topic() != answers["ask"]]
            told = [it for it in reader.messages if it.topic() == answers["ask"]]
        errors = [decode(it.value()) for it in told]
        assert echoed_ms < min(it.timestamp()[1] for it in told)
        assert {it.causation_id for it in errors} == ids_of(messages["ask"])
        assert {it.error.code for it in errors if it.error is not None} == {"timeout"}
        assert {decode(it.value()).envelope_id for it in letters} == ids_of(messages["ask"])
        until(lambda: host.health()["status"] == "degraded", within_s=30, what="it is ready, with a node that is ill")
        health = host.health()["nodes"]
        assert (health["ask"]["state"], health["echo"]["state"]) == ("degraded", "ok")
        assert health["ask"]["reason"].startswith("timeout: ")
        assert host.child.stop() == 0


OVERTAKE = "{on_retry: overtake, retry: {attempts: 50, initial_s: 0.5, max_s: 2}}"


def test_what_may_be_overtaken_waits_on_kafka_until_its_service_is_back(machine: Machine) -> None:
    """The commands leave their topic for the retry topic, and are answered once the service is there."""
    port = free_port()
    ask = node("echo", handler="http", operations=ASK, delivery=OVERTAKE).replace(
        "delivery:", "target: words\ndelivery:"
    )
    binding = {"breaker": {"failures": 1000}, "targets": {"words": {"base_url": f"http://127.0.0.1:{port}"}}}
    machine.write({"echo": ask}, handlers={"http": binding})
    commands, answers = topics(machine)
    retries = f"onex.app.test.{machine.tenant}.retry.runtime.{POOL}.v1"
    host = machine.start()
    host.until_ready(partitions=8)
    messages = load(commands, 20)
    publish(machine.broker, messages)
    with Reader(machine.broker, [retries]) as reader:
        reader.until(lambda found: len(found) >= 20, within_s=60)
    group = f"onex.test.{machine.tenant}.{POOL}"
    until(
        lambda: committed(machine.broker, group, [commands]) == ends(machine.broker, [commands]),
        within_s=30,
        what="the commands are put aside and committed",
    )
    assert host.health()["nodes"]["echo"]["answers"] == 0
    with ThreadingHTTPServer(("127.0.0.1", port), Service) as service:
        serving = threading.Thread(target=service.serve_forever)
        serving.start()
        with Reader(machine.broker, [answers]) as reader:
            reader.until_answered(ids_of(messages), within_s=60)
            assert {decode(it.value()).payload["word"] for it in reader.messages} == {"well"}
        service.shutdown()
        serving.join()
    assert host.child.stop() == 0
    assert committed(machine.broker, group, [retries]) == ends(machine.broker, [retries])
