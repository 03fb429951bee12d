"""The footprint: one host of ten nodes beside the old way, ten processes of one node; and what an import takes."""

import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
from confluent_kafka.admin import AdminClient

from omnibase_core.ports import Message
from tests.support.commands import command
from tests.support.hosts import POOL, Machine, RunningHost, echo_nodes
from tests.support.traffic import Reader, publish

NODES = [f"echo-{n}" for n in range(10)]
ECHOES = 1_000
SETTLE_S = 5.0
MIB = 1024 * 1024


@dataclass(frozen=True)
class Footprint:
    """What processes take when idle, in MiB. `pss` shares out the pages that several of them hold.

    `others` are the Kafka clients that are not consumers: a producer, and the client that watches the topics.
    """

    processes: int
    rss: float
    pss: float
    consumers: int
    others: int


def footprints(folder: Path, broker: str, bin_folder: Path) -> list[str]:
    """Weigh both ways, and give a table."""
    with ExitStack() as stack:
        one = _machine(stack, folder / "one", broker, bin_folder)
        one.write(echo_nodes(NODES))
        together = _footprint([(one, NODES)])
        apart = []
        for name in NODES:
            machine = _machine(stack, folder / name, broker, bin_folder)
            machine.write(echo_nodes([name]))
            apart.append((machine, [name]))
        return _table(together, _footprint(apart))


def import_s(bin_folder: Path) -> float:
    """Measure an interpreter that imports the core and ends, at its best of five."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([bin_folder / "python", "-c", "import omnibase_core"], check=True)
        took.append(time.perf_counter() - began)
    return min(took)


def _machine(stack: ExitStack, folder: Path, address: str, bin_folder: Path) -> Machine:
    folder.mkdir()
    machine = Machine(folder, tenant=f"b{uuid4().hex[:10]}", broker=address, command=str(bin_folder / "runtime-host"))
    stack.callback(machine.close)
    return machine


def _footprint(machines: Sequence[tuple[Machine, Sequence[str]]]) -> Footprint:
    """Run a host on each machine, serve a thousand echoes in all, let them settle, and weigh the processes."""
    hosts: list[RunningHost] = []
    for machine, names in machines:
        host = machine.start()
        host.until_ready(partitions=4 * len(names))
        hosts.append(host)
    for machine, names in machines:
        count = ECHOES * len(names) // len(NODES)
        publish(machine.broker, [_echo(machine, names[n % len(names)], n) for n in range(count)])
        with Reader(machine.broker, [_topic(machine, "evt", name) for name in names]) as reader:
            reader.until(lambda found, count=count: len(found) >= count, within_s=60)
    time.sleep(SETTLE_S)
    memory = [psutil.Process(host.child.pid).memory_full_info() for host in hosts]
    clients = [_clients(machine, host) for (machine, _), host in zip(machines, hosts, strict=True)]
    for host in hosts:
        host.child.stop()
    return Footprint(
        processes=len(hosts),
        rss=sum(it.rss for it in memory) / MIB,
        pss=sum(it.pss for it in memory) / MIB,
        consumers=sum(consumers for consumers, _ in clients),
        others=sum(others for _, others in clients),
    )


def _clients(machine: Machine, host: RunningHost) -> tuple[int, int]:
    """Count the members of the group, and the other Kafka clients of the process by their main threads."""
    admin = AdminClient({"bootstrap.servers": machine.broker})
    [described] = admin.describe_consumer_groups([f"onex.test.{machine.tenant}.{POOL}"]).values()
    consumers = len(described.result().members)
    names = [
        Path(f"/proc/{host.child.pid}/task/{thread.id}/comm").read_text().strip()
        for thread in psutil.Process(host.child.pid).threads()
    ]
    return consumers, names.count("rdk:main") - consumers


def _echo(machine: Machine, name: str, n: int) -> Message:
    return command(_topic(machine, "cmd", name), name, {"n": n}, key=b"%d" % (n % 1000), envelope_id=uuid4())


def _topic(machine: Machine, stream: str, name: str) -> str:
    return f"onex.app.test.{machine.tenant}.{stream}.node.{name}.v1"


def _table(one: Footprint, ten: Footprint) -> list[str]:
    columns = f"{'RSS MiB':>8} {'PSS MiB':>9} {'consumers':>10} {'others':>8}"
    return [
        f"{'idle after 1,000 echoes, 10 nodes':<34} {columns}",
        *(
            f"{label:<34} {it.rss:>8.1f} {it.pss:>9.1f} {it.consumers:>10} {it.others:>8}"
            for label, it in (("one host of ten nodes", one), ("ten processes of one node", ten))
        ),
        f"{'the old way takes':<34} {ten.rss / one.rss:>7.1f}x {ten.pss / one.pss:>8.1f}x",
    ]
