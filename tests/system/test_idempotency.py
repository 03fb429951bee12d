"""One effect a key on real servers: Kafka, PostgreSQL, an HTTP service that counts, and hosts that die.

`IDEMPOTENCY_ORDERS` makes it longer than it is in the ordinary suite.
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import psycopg
import pytest

from omnibase_core.codec import decode
from omnibase_core.engine.idempotency import store_key
from omnibase_core.ports import Message
from tests.support.brokers import ApacheKafka, Broker
from tests.support.commands import command, node
from tests.support.hosts import POOL, Machine
from tests.support.postgres import Postgres
from tests.support.processes import until
from tests.support.traffic import Reader, create_topics, ends, publish

ORDERS = int(os.environ.get("IDEMPOTENCY_ORDERS", "1500"))
SLICE = 100
APART = 70
"""How many commands lie between a command and its duplicate."""
CHARGE = """
  charge:
    input: {type: object, required: [order], properties: {order: {type: integer}}}
    request: {method: POST, path: [charges, "${ payload.order }"], expect: [200]}
    answer: {receipt: "${ result.json.receipt }"}
"""


class Service:
    """Charges orders, and counts how often it did."""

    def __init__(self) -> None:
        """Start with nothing charged."""
        self.charged: list[int] = []

    def charge(self, order: int) -> str:
        """Charge an order, and give a receipt that no other charge has."""
        time.sleep(0.002)
        self.charged.append(order)
        return f"{order}-{uuid4()}"


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """Serve on loopback; gives the URL."""

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            """Charge."""
            body = json.dumps({"receipt": service.charge(int(self.path.rpartition("/")[2]))}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Describe nothing."""

        def handle_one_request(self) -> None:
            """Take a client that was killed for one that has left."""
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

    class Threads(ThreadingHTTPServer):
        daemon_threads = True

    with Threads(("127.0.0.1", 0), Requests) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def write(machine: Machine, *, url: str, dsn: str) -> None:
    """Write the node and its host."""
    text = node("pay", handler="http", operations=CHARGE, delivery="{timeout_s: 5, max_in_flight: 32}")
    text = text.replace("handler: http", "handler: http\ntarget: bank")
    store = {"store": "postgres", "settings": {"dsn": dsn, "timeout_s": 2}}
    machine.write(
        {"pay": text + 'idempotency: {key: "${ payload.order }", window_s: 3600}\n'},
        handlers={"http": {"targets": {"bank": {"base_url": url, "connections_max": 32}}}},
        idempotency=store,
    )


def names(machine: Machine) -> tuple[str, str]:
    """Name the topics of the node."""
    app = f"onex.app.test.{machine.tenant}"
    return f"{app}.cmd.node.pay.v1", f"{app}.evt.node.pay.v1"


def orders(topic: str, count: int) -> list[Message]:
    """Return two commands an order: the same command twice, or two commands; in partitions of their own."""
    firsts = [command(topic, "pay", {"order": n}, key=b"%d" % n, envelope_id=uuid4()) for n in range(count)]
    seconds = [
        it._replace(key=b"again-%d" % n)
        if n % 2
        else command(topic, "pay", {"order": n}, key=b"other-%d" % n, envelope_id=uuid4())
        for n, it in enumerate(firsts)
    ]
    mixed: list[Message] = []
    for n in range(count + APART):
        mixed.extend(firsts[n : n + 1])
        mixed.extend(seconds[n - APART : n - APART + 1] if n >= APART else [])
    return mixed


def under_way(dsn: str) -> set[str]:
    """Return the keys that are claimed and not recorded."""
    with psycopg.connect(dsn) as connection:
        return {key for (key,) in connection.execute("select key from onex_idempotency where answer is null")}


def test_a_key_has_one_effect_though_commands_come_twice_and_a_host_is_killed(
    machine: Machine, kafka: Broker, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for commands whose host died between the effect and the record: they are counted, and are no others."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}: a group member that was killed is never evicted there")
    dsn = postgres.create_database(machine.tenant)
    commands, answers = names(machine)
    create_topics(machine.broker, [commands, answers])
    messages = orders(commands, ORDERS)
    service = Service()
    with serving(service) as url:
        write(machine, url=url, dsn=dsn)
        hosts = [machine.start(), machine.start()]
        for host in hosts:
            host.until_ready(partitions=2)
        sender = threading.Thread(target=_stream, args=(machine.broker, messages))
        sender.start()
        until(lambda: len(service.charged) > ORDERS // 3, within_s=60, what="a third of the orders")
        hosts[0].child.kill()
        doubtful = under_way(dsn)
        hosts[0] = machine.start()
        sender.join()
        wanted = {decode(it.value).envelope_id for it in messages}
        with Reader(machine.broker, [answers]) as reader:
            reader.until_answered(wanted, within_s=120)
            receipts = _receipts(reader, messages)
        figures = [host.health()["nodes"]["pay"] for host in hosts]
        for host in hosts:
            assert host.child.stop() == 0
    charged = Counter(service.charged)
    twice = {order for order, times in charged.items() if times > 1}
    with capsys.disabled():
        print(
            f"\n{len(messages):,} commands of {ORDERS:,} orders, one host killed: {len(service.charged):,} effects,"
            f" {len(twice)} of them second ones, of {len(doubtful)} keys under way at the kill;"
            f" {sum(it['replays'] for it in figures):,} replays"
        )
    assert set(charged) == set(range(ORDERS))
    scope = f"test/{machine.tenant}/pay/v1"
    assert {store_key(scope, "charge", order) for order in twice} <= doubtful
    assert all(times <= 2 for times in charged.values())
    assert all(len(found) == 1 for order, found in receipts.items() if order not in twice)
    assert sum(it["unprotected"] for it in figures) == 0
    assert under_way(dsn) == set()


def _stream(broker: str, messages: list[Message]) -> None:
    for begin in range(0, len(messages), SLICE):
        publish(broker, messages[begin : begin + SLICE])
        time.sleep(0.05)


def _receipts(reader: Reader, messages: list[Message]) -> dict[int, set[str]]:
    """Return what was said of each order; no answer is an error."""
    orders_by_id = {(sent := decode(it.value)).envelope_id: sent.payload["order"] for it in messages}
    found: dict[int, set[str]] = {}
    for message in reader.messages:
        answer = decode(message.value())
        assert answer.error is None, answer.error
        assert answer.causation_id is not None
        found.setdefault(orders_by_id[answer.causation_id], set()).add(answer.payload["receipt"])
    return found


def test_commands_wait_while_postgresql_is_away(machine: Machine, own_postgres: Postgres) -> None:
    """No effect, no answer and no dead letter; when it is back, each order is charged once."""
    commands, answers = names(machine)
    letters = f"onex.app.test.{machine.tenant}.dlq.runtime.{POOL}.v1"
    create_topics(machine.broker, [commands, answers, letters])
    messages = orders(commands, 40)
    service = Service()
    with serving(service) as url:
        write(machine, url=url, dsn=own_postgres.dsn())
        host = machine.start()
        host.until_ready(partitions=4)
        publish(machine.broker, messages[:20])
        until(lambda: len(service.charged) == 20, within_s=60, what="the first orders")
        own_postgres.kill()
        publish(machine.broker, messages[20:])
        until(
            lambda: host.health()["breakers"]["idempotency.postgres"] == "open", within_s=60, what="the breaker opens"
        )
        assert host.health()["nodes"]["pay"]["state"] == "degraded"
        until(lambda: bool(host.events("idempotency_waits")), within_s=10, what="the log line that says so")
        assert len(service.charged) == 20
        own_postgres.start()
        with Reader(machine.broker, [answers]) as reader:
            reader.until_answered({decode(it.value).envelope_id for it in messages}, within_s=60)
        assert ends(machine.broker, [letters]) == {}
        assert Counter(service.charged) == Counter(range(40))
        assert host.child.stop() == 0
