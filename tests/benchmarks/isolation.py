"""What three bad nodes cost their 47 neighbours: one waits for ever, one spins, one is flooded with rubbish.

`python -m tests.benchmarks.isolation` runs the neighbours alone and beside them by turns, on one real Kafka, and prints
the ratio of their throughputs.
"""

import argparse
import platform
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from uuid import uuid4

from omnibase_core.ports import Message
from tests.support.brokers import broker
from tests.support.commands import ECHO, command, node
from tests.support.hosts import Machine, echo_nodes
from tests.support.traffic import Reader, create_topics, publish

NEIGHBOURS = [f"echo-{n}" for n in range(47)]
FLOOD = 10
"""How many times a neighbour's commands the flooded node gets."""

SPIN_MODULE = "def spin(_argument):\n    while True:\n        pass\n"
HANG = '{ask: {input: {type: object}, request: {path: [hang]}, answer: {status: "${ result.status }"}}}'


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure by turns, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.isolation", description=__doc__)
    parser.add_argument("--commands", type=int, default=10_000, help="how many wait for each node")
    parser.add_argument("--rounds", type=int, default=5, help="how often each of the two is measured")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        (folder / "broker").mkdir()
        server = broker(folder / "broker")
        server.start()
        stack.callback(server.stop)
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1000))
        (folder / "spinning.py").write_text(SPIN_MODULE)
        rates: dict[bool, list[float]] = {False: [], True: []}
        # The first one counts for nothing: the broker warms up.
        turns = [False, *(beside for n in range(asked.rounds) for beside in ((False, True), (True, False))[n % 2])]
        for number, beside in enumerate(turns):
            place = folder / f"{number}-{beside}"
            place.mkdir()
            machine = Machine(
                place, tenant=f"i{uuid4().hex[:10]}", broker=server.bootstrap_servers, PYTHONPATH=str(folder)
            )
            stack.callback(machine.close)
            rate = _rate(machine, asked.commands, silent.getsockname()[1] if beside else None)
            if number:
                rates[beside].append(rate)
        alone, beside_them = median(rates[False]), median(rates[True])
        print(f"{server.name}; Python {platform.python_version()}")
        print(f"47 nodes alone:                 {_figures(rates[False])}")
        print(f"47 nodes beside three bad ones: {_figures(rates[True])}")
        print(f"they keep {beside_them / alone:.0%} (medians of {asked.rounds})")


def _figures(rates: Sequence[float]) -> str:
    return f"{median(rates):>7,.0f} answers a second ({min(rates):,.0f} to {max(rates):,.0f})"


def _rate(machine: Machine, count: int, silent_port: int | None) -> float:
    """Return the neighbours' answers a second, from their first to their last; with a port, beside the bad nodes."""
    nodes = echo_nodes(NEIGHBOURS)
    more = {}
    if silent_port is not None:
        operations = "{spin: {input: {type: object}, logic: 'spinning:spin'}}"
        nodes["spin"] = (
            node("spin", operations=operations).replace("handler: scripted\n", "").replace("effect", "compute")
        )
        nodes["hang"] = node("hang", handler="http", operations=HANG).replace("delivery:", "target: silent\ndelivery:")
        nodes["flood"] = node("flood", handler="local", operations=ECHO)
        more = {
            "handlers": {"http": {"targets": {"silent": {"base_url": f"http://127.0.0.1:{silent_port}"}}}},
            "logic_packages": ["spinning"],
        }
    machine.write(nodes, bus={"bootstrap_servers": machine.broker, "partitions": 1}, **more)
    create_topics(
        machine.broker, [_topic(machine, stream, name) for name in nodes for stream in ("cmd", "evt")], partitions=1
    )
    publish(
        machine.broker, [message for n in range(count) for name in nodes for message in _messages(machine, name, n)]
    )
    host = machine.start()
    with Reader(machine.broker, [_topic(machine, "evt", name) for name in NEIGHBOURS]) as reader:
        answers = reader.until(lambda found: len(found) >= count * len(NEIGHBOURS), within_s=300)
    moments_ms = [it.timestamp()[1] for it in answers]
    host.child.kill()
    return len(answers) / ((max(moments_ms) - min(moments_ms)) / 1000)


def _messages(machine: Machine, name: str, n: int) -> list[Message]:
    topic = _topic(machine, "cmd", name)
    if name == "flood":
        return [Message(topic, b"%d" % n, b"rubbish")] * FLOOD
    return [command(topic, name, {"n": n, "text": "x" * 100}, key=b"%d" % n, envelope_id=uuid4())]


def _topic(machine: Machine, stream: str, name: str) -> str:
    return f"onex.app.test.{machine.tenant}.{stream}.node.{name}.v1"


if __name__ == "__main__":
    main()
