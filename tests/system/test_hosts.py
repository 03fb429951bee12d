"""Hosts on a real broker, driven through the command line: what a user sees of them."""

import json
import signal
import time
from contextlib import suppress
from urllib.request import urlopen
from uuid import uuid4

from confluent_kafka.admin import AdminClient

from omnibase_infra.demo.server import demo_server
from tests.support.commands import command, node
from tests.support.hosts import GREET, NAME, POOL, Machine, echo_nodes
from tests.support.traffic import Reader, committed, ends, publish

PAYLOAD = json.dumps({"text": "grüße"})


def topic(machine: Machine, stream: str, slug: str) -> str:
    """Name a node's topic."""
    return f"onex.app.test.{machine.tenant}.{stream}.node.{slug}.v1"


def test_an_echo_goes_through_kafka_and_back(machine: Machine) -> None:
    """`run` in one terminal, `send` in another: nothing else is said than the node's name."""
    machine.write(echo_nodes(["echo"]))
    host = machine.start()
    host.until_ready()
    done = machine.call("send", "echo", "--payload", PAYLOAD)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"text": "grüße"}, "")
    whole = machine.call("send", "echo", "--payload", "-", "--json", "--key", "k", stdin=PAYLOAD)
    answer = json.loads(whole.stdout)
    assert (answer["node_slug"], answer["handler_type"], answer["payload"]) == ("echo", "local", {"text": "grüße"})
    assert host.child.stop() == 0
    assert [line["event"] for line in host.lines()][-2:] == ["host_stopping", "host_stopped"]
    assert list((machine.folder / "state").iterdir()) == []
    nobody = machine.call("send", "echo", "--host", str(machine.host_path), "--timeout", "1")
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (
        3,
        "",
        "error: no answer from 'echo' within 1 s; the command expires if no host has started it\n",
    )


def test_an_http_node_calls_its_target(machine: Machine) -> None:
    """The node says what, the host contract says where; what the service refuses is an error answer."""
    import asyncio

    async def scenario() -> None:
        async with demo_server() as url:
            machine.write({"greet": GREET}, handlers={"http": {"targets": {"greetings": {"base_url": url}}}})
            host = machine.start()
            await asyncio.to_thread(host.until_ready)
            done = await asyncio.to_thread(machine.call, "send", "greet", "--payload", '{"name": "Ada ? Grace"}')
            assert (done.returncode, json.loads(done.stdout)) == (0, {"greeting": "Bonjour, Ada ? Grace"})
        done = machine.call("send", "greet", "--payload", '{"name": "Ada"}')
        assert done.returncode == 1
        assert done.stderr.startswith("error: unreachable: GET ")
        assert host.health()["nodes"]["greet"]["state"] == "degraded"
        assert host.child.stop() == 0

    asyncio.run(scenario())


def test_a_target_is_asked_no_faster_than_its_limits(machine: Machine) -> None:
    """However many commands come at once: all are answered, none is tried again, and `/metrics` tells of the calls."""
    import asyncio

    ask = """
contract: node/v1
name: ask
kind: effect
version: 1.0.0
description: Asks.
handler: http
target: slow
operations:
  ask:
    input: {type: object}
    request: {path: [numbers, 1], expect: [200]}
    answer: {number: "${ result.json.number }"}
delivery: {ordering: none, timeout_s: 0.5}
"""
    at_once: list[int] = [0]
    began_s: list[float] = []
    writers: list[asyncio.StreamWriter] = []

    async def scenario() -> None:
        under_way = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal under_way
            writers.append(writer)
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n"):
                    began_s.append(time.monotonic())
                    under_way += 1
                    at_once.append(under_way)
                    await asyncio.sleep(0.1)
                    under_way -= 1
                    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n"
                    writer.write(head + b'{"number": 1}')
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            limits = {"slow": {"concurrency": 2, "rate_per_s": 10}}
            machine.write({"ask": ask}, handlers={"http": {"targets": {"slow": {"base_url": url}}, "limits": limits}})
            host = machine.start()
            await asyncio.to_thread(host.until_ready)
            commands = topic(machine, "cmd", "ask")
            sent = [command(commands, "ask", {"n": n}, envelope_id=uuid4()) for n in range(30)]
            publish(machine.broker, sent)
            with Reader(machine.broker, [topic(machine, "evt", "ask")]) as reader:
                answers = await asyncio.to_thread(reader.until, lambda found: len(found) >= 30, within_s=60)
            assert {json.loads(it.value())["payload"]["number"] for it in answers} == {1}
            assert host.health()["nodes"]["ask"]["retries"] == 0
            [started] = host.events("host_started")
            with await asyncio.to_thread(urlopen, f"{started['health']}/metrics", timeout=10) as response:
                page = response.read().decode()
            labels = 'handler="http",target="slow",operation="request"'
            assert f'onex_handler_calls_total{{{labels},outcome="ok"}} 30\n' in page
            assert f'onex_handler_calls_total{{{labels},outcome="target_busy"}}' in page
            assert await asyncio.to_thread(host.child.stop) == 0
            for writer in writers:
                writer.transport.abort()

    asyncio.run(scenario())
    assert max(at_once) <= 2
    assert len(began_s) == 30
    assert began_s[-1] - began_s[0] > 2.5


def test_ten_nodes_share_one_consumer_and_one_producer(machine: Machine) -> None:
    """A thousand commands spread over ten nodes, and the group has a single member."""
    names = [f"echo-{n}" for n in range(10)]
    machine.write(echo_nodes(names))
    host = machine.start()
    host.until_ready(partitions=40)
    commands = [
        command(topic(machine, "cmd", name), name, {"n": n}, envelope_id=uuid4()) for n in range(100) for name in names
    ]
    publish(machine.broker, commands)
    ids = {json.loads(it.value or b"")["envelope_id"] for it in commands}
    events = [topic(machine, "evt", name) for name in names]
    with Reader(machine.broker, events) as reader:
        messages = reader.until(lambda found: len(found) >= 1000, within_s=60)
    assert {json.loads(it.value())["causation_id"] for it in messages} == ids
    admin = AdminClient({"bootstrap.servers": machine.broker})
    [described] = admin.describe_consumer_groups([f"onex.test.{machine.tenant}.{POOL}"]).values()
    assert [member.client_id for member in described.result().members] == [NAME]
    report = host.health()
    assert {name: it["answers"] for name, it in report["nodes"].items()} == dict.fromkeys(names, 100)
    assert host.child.stop() == 0


def test_what_is_answered_is_committed_at_the_end(machine: Machine) -> None:
    """After SIGINT, the group's offsets are those of the ends of the topics: nothing is served again."""
    machine.write(echo_nodes(["echo"]))
    host = machine.start()
    host.until_ready()
    commands = topic(machine, "cmd", "echo")
    publish(machine.broker, [command(commands, "echo", {"n": n}, key=b"%d" % (n % 7)) for n in range(500)])
    with Reader(machine.broker, [topic(machine, "evt", "echo")]) as reader:
        reader.until(lambda found: len(found) == 500, within_s=60)
    assert host.child.stop(signal.SIGINT) == 0
    assert committed(machine.broker, f"onex.test.{machine.tenant}.{POOL}", [commands]) == ends(
        machine.broker, [commands]
    )


def test_the_log_goes_to_its_topic_too(machine: Machine) -> None:
    """What the terminal shows can be read from Kafka, in order, the last line included."""
    machine.write(echo_nodes(["echo"]))
    host = machine.start()
    host.until_ready()
    assert host.child.stop() == 0
    written = [line["event"] for line in host.lines()]
    with Reader(machine.broker, [f"onex.sys.test.{machine.tenant}.log.runtime.{NAME}.v1"]) as reader:
        shipped = reader.until(lambda found: len(found) >= len(written), within_s=30)
    assert [json.loads(it.value())["event"] for it in shipped] == written


def test_topics_are_created_as_the_contract_says(machine: Machine) -> None:
    """Count of partitions from the host contract; `topics` prints what there is."""
    machine.write(echo_nodes(["echo"]), bus={"bootstrap_servers": machine.broker, "partitions": 3})
    done = machine.call("topics", str(machine.host_path))
    assert done.returncode == 0
    host = machine.start()
    host.until_ready(partitions=3)
    there = AdminClient({"bootstrap.servers": machine.broker}).list_topics(timeout=10).topics
    assert {name: len(there[name].partitions) for name in done.stdout.split()} == dict.fromkeys(done.stdout.split(), 3)
    assert host.child.stop() == 0


def test_a_faulty_contract_stops_the_host_before_it_touches_the_bus(machine: Machine) -> None:
    """Every problem is listed with its place, and no topic appears."""
    machine.write({**echo_nodes(["echo"]), "odd": node("odd", handler="locall").replace("kind: effect", "kind: efect")})
    done = machine.call("run", str(machine.host_path))
    assert done.returncode == 1
    # A long path has a line of its own.
    assert "odd.yaml:4:7: found 'efect', expected" in " ".join(done.stderr.split())
    there = AdminClient({"bootstrap.servers": machine.broker}).list_topics(timeout=10).topics
    assert not any(machine.tenant in name for name in there)
