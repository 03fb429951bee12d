"""Who is measured, and in which environment: our host from its wheels, and each peer from pinned versions."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

from omnibase_core.ports import Headers
from tests.benchmarks.load import Route, create
from tests.support.commands import node
from tests.support.hosts import POOL, Machine, echo_nodes
from tests.support.processes import Child
from tests.support.wheels import ROOT, UV, run

PLUGIN = Path(__file__).with_name("plugin")
PEERS = Path(__file__).with_name("peers")
CACHE = ROOT / ".cache" / "bench"
PARTITIONS = 4
BASE = "bare, msgspec"
"""The fastest that Python has: what a contestant costs is told as a multiple of it."""
TRACED: Headers = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]

_FASTSTREAM = ["faststream[confluent]==0.7.8", "confluent-kafka==2.16.1", "pydantic==2.14.3", "uvloop", "orjson"]
PINS = {
    "bare-pydantic": ["confluent-kafka==2.16.1", "pydantic==2.14.3"],
    "bare-msgspec": ["confluent-kafka==2.16.1", "msgspec==0.22.0"],
    "by-hand": ["confluent-kafka==2.16.1", "msgspec==0.22.0", "psycopg[binary,pool]==3.3.9"],
    "faststream": _FASTSTREAM,
    "quix": ["quixstreams==3.28.1", "confluent-kafka==2.12.2", "pydantic==2.13.5"],
}

WritesNodes = Callable[[Iterable[str]], dict[str, str]]


def awaiting_nodes(names: Iterable[str], *, seconds: float = 0.0) -> dict[str, str]:
    """Write nodes whose handler waits for so long, as others wait for a server, and gives back what it was sent."""
    request = f'{{seconds: {seconds}, message: "${{ payload }}"}}'
    called = f'input: {{type: object}}, call: wait, request: {request}, answer: "${{ result.message }}"'
    return {name: node(name, handler="waiting", operations=f"{{echo: {{{called}}}}}") for name in names}


def querying_nodes(names: Iterable[str]) -> dict[str, str]:
    """Write nodes that ask a database for one row."""
    statement = 'statement: "select %(n)s::bigint as n", parameters: {"n": "${ payload.n }"}, row: {"n": integer}'
    input_schema = '{type: object, required: ["n"], properties: {"n": {type: integer}}}'
    called = f'input: {input_schema}, request: {{{statement}}}, answer: {{"n": "${{ result.rows[0].n }}"}}'
    text = f"{{echo: {{{called}}}}}"
    return {name: node(name, handler="db", operations=text) + "target: numbers\n" for name in names}


def computing_nodes(names: Iterable[str]) -> dict[str, str]:
    """Write nodes that give back what they are sent, as two expressions reckon it."""
    answer = '{"n": "${ payload.n + 0 }", sent_ns: "${ payload.sent_ns }", text: "${ payload.text + \'\' }"}'
    called = f"input: {{type: object}}, request: {{message: 0}}, answer: {answer}"
    return {name: node(name, handler="local", operations=f"{{echo: {{{called}}}}}") for name in names}


@dataclass
class Contestant:
    """Starts the processes that serve some nodes together.

    `share` is how much of the backlog it is given, `headers` what each command carries.
    """

    name: str
    routes: Sequence[Route]
    groups: dict[str, Sequence[Route]]
    start: Callable[[], list[Child]]
    share: float = 1.0
    headers: Headers = ()
    positions: dict[tuple[str, int], int] = field(default_factory=dict)


class Field:
    """Makes contestants on one broker, in one folder."""

    def __init__(self, folder: Path, broker: str, bin_folder: Path, dsn: str) -> None:
        """Keep where everything is; `bin_folder` is that of the host's environment, `dsn` that of a database."""
        self._dsn = dsn
        self._folder = folder
        self._broker = broker
        self._bin = bin_folder
        self.machines: list[Machine] = []

    def all(self) -> list[Contestant]:
        """Everyone, the base first. Who would take minutes otherwise is given less of the backlog."""
        slow = partial(awaiting_nodes, seconds=0.02)
        return [
            self.peer(BASE, "bare_msgspec", "bare-msgspec"),
            self.peer("bare, pydantic", "bare_pydantic", "bare-pydantic"),
            self.host("host, 1 node", 1),
            self.host("host, 100 nodes", 100),
            self.host("host, 500 nodes", 500, partitions=1),
            replace(self.peer("bare, traced", "bare_traced", "bare-msgspec"), headers=TRACED),
            replace(self.host("host, traced", 1), headers=TRACED),
            self.host("expressions", 1, write=computing_nodes, share=0.5),
            self.host("awaits, 1 node", 1, write=awaiting_nodes, share=0.5),
            self.host("awaits, 100 nodes", 100, write=awaiting_nodes, share=0.5),
            self.host("awaits, 500 nodes", 500, partitions=1, write=awaiting_nodes, share=0.5),
            self.host("awaits 20 ms", 1, write=slow, share=0.5),
            self.peer("query, by hand", "db_by_hand", "by-hand", share=0.1, more=[self._dsn]),
            self.host("query, host", 1, write=querying_nodes, share=0.1),
            self.peer("FastStream", "faststream_each", "faststream", share=0.025),
            self.peer("FastStream, batches", "faststream_batch", "faststream"),
            self.peer("FastStream, awaits", "faststream_each", "faststream", share=0.025, more=["0"]),
            self.peer("FastStream, 20 ms", "faststream_each", "faststream", share=0.005, more=["0.02"]),
            self.peer("batches, 20 ms", "faststream_batch", "faststream", share=0.5, more=["0.02"]),
            self.peer("Quix Streams", "quix", "quix"),
            self.peer("Quix, 20 ms", "quix", "quix", share=0.005, more=["0.02"]),
            self.hosts("10 hosts of 1 node", 10),
            self.peer("10 bare, pydantic", "bare_pydantic", "bare-pydantic", count=10),
        ]

    def host(
        self,
        name: str,
        count: int,
        *,
        partitions: int = PARTITIONS,
        write: WritesNodes = echo_nodes,
        share: float = 1.0,
    ) -> Contestant:
        """One host of so many nodes of a kind."""
        nodes = [f"echo-{n}" for n in range(count)]
        machine = self._machine(nodes, partitions, write)
        routes = _routes(machine, nodes)
        create(self._broker, routes, partitions=partitions)
        return Contestant(name, routes, {_group(machine): routes}, lambda: [machine.start().child], share)

    def hosts(self, name: str, count: int) -> Contestant:
        """So many hosts of one node each, every one with a group of its own."""
        machines = [self._machine([f"echo-{n}"], PARTITIONS) for n in range(count)]
        groups = {_group(it): _routes(it, [f"echo-{n}"]) for n, it in enumerate(machines)}
        routes = [route for it in groups.values() for route in it]
        create(self._broker, routes, partitions=PARTITIONS)
        return Contestant(name, routes, groups, lambda: [it.start().child for it in machines])

    def peer(
        self,
        name: str,
        program: str,
        environment: str,
        *,
        count: int = 1,
        share: float = 1.0,
        more: Sequence[str] = (),
    ) -> Contestant:
        """One process of a peer's program, or several with a topic and a group each; `more` are its own arguments."""
        python = _environment(environment)
        groups: dict[str, Sequence[Route]] = {}
        for n in range(count):
            slug = f"{program.replace('_', '-')}-{uuid4().hex[:8]}"
            groups[slug] = [Route(f"echo-{n}", f"{slug}.commands", f"{slug}.answers")]
        routes = [route for it in groups.values() for route in it]
        create(self._broker, routes, partitions=PARTITIONS)

        def start() -> list[Child]:
            command = [str(python), str(PEERS / f"{program}.py"), self._broker]
            return [
                Child([*command, group, route.commands, route.answers, *more], self._folder / f"{group}.log")
                for group, [route] in groups.items()
            ]

        return Contestant(name, routes, groups, start, share)

    def close(self) -> None:
        """End every host that a failure left."""
        for machine in self.machines:
            machine.close()

    def _machine(self, nodes: Sequence[str], partitions: int, write: WritesNodes = echo_nodes) -> Machine:
        tenant = f"b{uuid4().hex[:10]}"
        folder = self._folder / tenant
        folder.mkdir()
        machine = Machine(folder, tenant=tenant, broker=self._broker, command=str(self._bin / "runtime-host"))
        # The tests' support has no word for partitions, and a session time-out of its own.
        targets = {"numbers": {"dsn": self._dsn, "sslmode": "disable"}}
        handlers = {"handlers": {"db": {"targets": targets}}} if write is querying_nodes else {}
        machine.write(write(nodes), **handlers)
        contract = json.loads(machine.host_path.read_text())
        contract["bus"] = {"bootstrap_servers": self._broker, "partitions": partitions}
        machine.host_path.write_text(json.dumps(contract))
        self.machines.append(machine)
        return machine


def versions(python: Path, packages: Sequence[str]) -> str:
    """Describe which versions an environment has of these packages."""
    script = "import sys, importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    return run(python, "-c", script, *packages, cwd=PEERS).strip()


def peer_versions(environment: str) -> str:
    """Describe which versions a peer's environment has of what is pinned there."""
    names = [pin.partition("==")[0].partition("[")[0] for pin in PINS[environment]]
    return versions(_environment(environment), names)


def _environment(name: str) -> Path:
    """Make the peer's environment unless it is there with these pins already, and give its Python."""
    folder, pins = CACHE / name, "\n".join(PINS[name])
    marker = folder / "pins.txt"
    if not marker.exists() or marker.read_text() != pins:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run(UV, "venv", "--quiet", "--python", "3.11", folder / "venv", cwd=folder)
        run(UV, "pip", "install", "--quiet", *PINS[name], cwd=folder, VIRTUAL_ENV=str(folder / "venv"))
        marker.write_text(pins)
    return folder / "venv" / "bin" / "python"


def _routes(machine: Machine, nodes: Sequence[str]) -> list[Route]:
    prefix = f"onex.app.test.{machine.tenant}"
    return [Route(it, f"{prefix}.cmd.node.{it}.v1", f"{prefix}.evt.node.{it}.v1") for it in nodes]


def _group(machine: Machine) -> str:
    return f"onex.test.{machine.tenant}.{POOL}"
