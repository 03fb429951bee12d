"""One history: hosts of a pool serve commands while the world behaves badly; then it heals, and all has to be well."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from math import inf
from typing import Any

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import BusError
from omnibase_core.handlers.compute import ComputeHandler
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import HandlerDescription, OperationDescription, Partition
from omnibase_core.testing.simulated_bus import SimulatedBus
from omnibase_core.testing.simulated_cluster import Faults, SimulatedCluster
from omnibase_core.testing.virtual_time import Dice, SimulationStuck, VirtualClock, run
from tests.simulation.commands import EVENTS, REQUESTS, TOPIC, Sender
from tests.simulation.handlers import IN_FLIGHT_MAX as NODES_IN_FLIGHT_MAX
from tests.simulation.handlers import Budget, NoWorkers, Pure, Scripted, called
from tests.simulation.invariants import Invariants, Sent
from tests.simulation.store import WatchedStore
from tests.support.commands import ECHO, AnyModel, loaded_host, node
from tests.support.strangers import strange_node

GROUP = "onex.dev.test.pool"
BATCH_SIZE = 6
IN_FLIGHT_MAX = 9
DRAIN_S = 50_000.0
LEFT_TO_OTHERS_S = 40.0
COMMITS_FAIL_FOR_S = 60.0
"""For so long commits of offsets go on to fail in a world that is well again otherwise."""
NEIGHBOURS_WAIT_MOST_S = 400.0
"""In a world that is well again, commands of a node that awaits nothing wait for nobody else for longer."""
ONCE = """
  do:
    input: {type: object}
    request: "${ payload }"
    errors: [{when: "${ has(result.said) && result.said == 'no' }", code: declined}]
"""
ONCE_KEY = 'idempotency: {key: "${ payload.order }", window_s: 1e7}\n'
CALLED = """
contract: node/v1
name: called
kind: compute
version: 1.0.0
description: Calls a function.
operations: {do: {input: {type: object}, logic: "package:called"}}
"""
ALWAYS = "requests: true\nlogic_packages: [package]\n"
ORDERED = frozenset({"echo", "keyed", "lined", "pure", "called", "strange", "odd"})
"""The nodes of which the commands of a key are answered in their order."""
RETRY = "{attempts: 3, initial_s: 0.1, max_s: 1}"
PURE_DESCRIPTION = HandlerDescription(
    handler_type="pure",
    operations={"do": OperationDescription(request=AnyModel, result=AnyModel)},
    settings=AnyModel,
    transactional=True,
    inline=True,
)
"""A handler that is pure, but for what it raises."""


@cache
def the_host(drain_s: float, bytes_max: int, guarantee: str, *, with_once: bool, lacks: str = "") -> LoadedHost:
    """Load the contracts: once, for all histories. Some have a node whose effects happen once a key, some lack one."""
    nodes = {
        "echo": node("echo", handler="local", operations=ECHO),
        "pure": node("pure", handler="pure"),
        "called": CALLED,
        "strange": strange_node("strange", handler="local"),
        "odd": strange_node("odd", handler="scripted"),
    }
    for name, more in (
        ("keyed", "ordering: key"),
        ("lined", "ordering: partition"),
        ("loose", "ordering: none"),
        ("over", "ordering: none, on_retry: overtake"),
        ("also", "ordering: none, on_retry: overtake"),
    ):
        limit = NODES_IN_FLIGHT_MAX[name]
        retry = "{attempts: 4, initial_s: 0.8, max_s: 20, multiplier: 4}" if "overtake" in more else RETRY
        nodes[name] = node(name, delivery=f"{{timeout_s: 1.5, retry: {retry}, {more}, max_in_flight: {limit}}}")
    if with_once:
        limit = NODES_IN_FLIGHT_MAX["once"]
        delivery = f"{{timeout_s: 1.5, retry: {RETRY}, max_in_flight: {limit}}}"
        nodes["once"] = node("once", delivery=delivery, operations=ONCE) + ONCE_KEY
    nodes.pop(lacks, None)
    limits = f"max_in_flight: {IN_FLIGHT_MAX}, drain_s: {drain_s}, revoke_s: {drain_s / 2}"
    return loaded_host(
        nodes,
        PURE_DESCRIPTION,
        limits=f"{{{limits}, bytes_in_flight_max: {bytes_max}, unknown_node_s: {LEFT_TO_OTHERS_S}}}",
        guarantee=guarantee,
        more=ALWAYS + ("idempotency: {store: memory}\n" if with_once else ""),
        import_function=lambda _: called,
    )


class Silent:
    """An observer that listens to nothing."""

    verbose = False

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Forget the event."""


class Host:
    """One host of the pool: its engine, its link, its handlers, and a clock that is right or not."""

    def __init__(self, history: "History", *, lacks: str) -> None:
        """Load it; nothing starts yet."""
        loaded = history.load(lacks)
        revoke_s = loaded.contract.limits.revoke_s
        self.bus = history.bus(history.cluster, group=GROUP, batch_size=BATCH_SIZE, revoke_s=revoke_s)
        skew = timedelta(seconds=history.dice.choice((0.0, 0.0, -3600.0, 3600.0)))
        clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC) + skew)
        self.runtime = history.engine(loaded.contract, bus=self.bus, clock=clock, observer=Silent())
        handler = Scripted(history.dice.fork(), history.invariants, history.store)
        handler.look = self.look
        self.runtime.register_handler("local", LocalHandler())
        self.runtime.register_handler("pure", Pure())
        compute = ComputeHandler(lambda _: called, budget=Budget(), workers=NoWorkers())
        self.runtime.register_handler("compute", compute)
        self.runtime.register_handler("scripted", handler)
        self.runtime.register_store(history.store)
        self.runtime.load_nodes(loaded.nodes)
        self._invariants = history.invariants

    def look(self) -> None:
        """What is taken is bounded; what the client does not fetch, the runtime says to be held, and why."""
        in_flight = self.runtime.in_flight - self.runtime.in_flight_apart
        if in_flight > IN_FLIGHT_MAX + BATCH_SIZE:
            self._invariants.violated(f"in flight: {in_flight}, at most {IN_FLIGHT_MAX} and a batch")
        if self.runtime.in_flight_apart > 4 * IN_FLIGHT_MAX + BATCH_SIZE:
            self._invariants.violated(f"in flight apart: {self.runtime.in_flight_apart}, at most 4 * {IN_FLIGHT_MAX}")
        if self.bus.crashed or not self.bus.consumer.is_settled:
            return
        for partition in self.bus.consumer.paused & self.bus.held.keys():
            if not self.runtime.held.get(partition):
                self._invariants.violated(f"not fetched, and nobody says why: {partition}")

    async def start(self) -> None:
        """Begin."""
        await self.runtime.start()
        self._ended = asyncio.create_task(self.runtime.wait())

    async def stop(self) -> None:
        """End in order."""
        await self.runtime.stop()
        if self.bus.receiving:
            self._invariants.violated("stopped, and has not left the group")
        await self.bus.close()
        await self._check_end(None)

    async def crash(self) -> None:
        """Be gone for the world at once; what is left of the host here ends without anybody noticing."""
        self.bus.crash()
        await self.runtime.stop()
        await self._check_end(None)

    async def fail(self) -> None:
        """Lose the bus for good, hear so, and end because of that."""
        self.bus.fail()
        await self._check_end(BusError)
        await self.runtime.stop()
        await self.bus.close()

    async def _check_end(self, expected: type[Exception] | None) -> None:
        [error] = await asyncio.gather(self._ended, return_exceptions=True)
        if type(error) is not (expected or type(None)):
            self._invariants.violated(f"the engine ended by {error!r}")


class History:
    """A seed, played out."""

    def __init__(self, seed: int, engine: type[NodeRuntime], bus: type[SimulatedBus]) -> None:
        """Let the dice say how bad the world is."""
        self.dice = dice = Dice(seed)
        self.engine = engine
        self.bus = bus
        guarantee = dice.choice(("at_least_once", "exactly_once"))
        exactly_once = guarantee == "exactly_once"
        drain_s, bytes_max = dice.choice((0.3, 2.0)), dice.choice((6000, 100_000))
        with_once = seed % 3 == 0 and not exactly_once
        self.load: Callable[[str], LoadedHost] = lambda lacks: the_host(
            drain_s, bytes_max, guarantee, with_once=with_once, lacks=lacks
        )
        self.invariants = Invariants(once=exactly_once, publishing=seed % 2 == 0)
        self.invariants.left_to_others_s = LEFT_TO_OTHERS_S
        self.store = WatchedStore(Dice(~seed), self.invariants)
        self.faults = Faults(
            latency_s=dice.choice((0.005, 0.05, 0.4)),
            refused=dice.choice((0.0, 0.0, 0.05)),
            bytes_max=dice.choice((inf, inf, 1800.0)),
            aborted=dice.choice((0.0, 0.1, 0.3)),
            hung=dice.choice((0.0, 0.0, 0.05)),
            commit_failed=dice.choice((0.0, 0.0, 0.2, 0.6)),
            gap=dice.choice((0.0, 0.1, 0.4)),
            transaction_bytes_max=dice.choice((inf, inf, 9000.0)),
            release_s=dice.choice((1.0, 3.0, 6.0)),
        )
        self.cluster = SimulatedCluster(dice=dice.fork(), faults=self.faults, witness=self.invariants)
        self.hosts: list[Host] = []
        self.ending: list[asyncio.Task[None]] = []
        self.events: Counter[str] = Counter()
        self._sender = Sender(dice, with_once=with_once)
        self._exactly_once = exactly_once
        self._away: list[asyncio.Task[None]] = []
        self._has_news = dice.chance(0.4)
        """Whether topics come and go, and hosts of another version are in the pool."""

    async def play(self) -> None:
        """Send commands and do harm, heal, drain, end."""
        asyncio.get_running_loop().set_exception_handler(self._raised)
        for _ in range(1 + self.dice.below(3)):
            await self._start()
        for _ in range(6 + self.dice.below(12)):
            for _ in range(self.dice.below(10)):
                self._send()
            await asyncio.sleep(self.dice.between(0, 1.5))
            await self._harm()
            for host in self.hosts:
                host.look()
        await asyncio.gather(*self._away)
        self.faults.heal()
        self.store.heal()
        await self._start(lacks="")
        await self._drain()
        await self._end()
        self.invariants.check_end(self.cluster.group(GROUP).committed, self._ends())

    # --- What happens ---------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counter[str]:
        """What there was in this history."""
        late = Counter({"late commits": self.cluster.group(GROUP).refused_commits})
        return Counter({"commands": self._sender.number}) + self.invariants.counts + self.events + late

    @property
    def digest(self) -> str:
        """What the broker kept, in short: the same for each run of the same seed with the same engine."""
        kept = sorted((place, [message.value for message in log]) for place, log in self.cluster.logs.items())
        return sha256(repr(kept).encode()).hexdigest()[:16]

    def _send(self) -> None:
        message, slug, is_answered, ends, kind = self._sender.next()
        place = self.cluster.place_of(message)
        log = self.cluster.log(place)
        if log is None:
            return  # The topic is deleted: the sender hears so.
        is_ordered = bool(is_answered) and message.key is not None and slug in ORDERED
        is_ordered = is_ordered and message.topic != REQUESTS
        number = self._sender.number if is_answered else None
        ordered_by = message.key if is_ordered else None
        sent = Sent(place, log.end, message, number, ordered_by, ends=ends, either=is_answered is None)
        self.events[kind] += bool(kind)
        sent.sent_s = asyncio.get_running_loop().time()
        self.invariants.send(sent, identity=self._sender.number)
        self.cluster.force(place, message)

    async def _harm(self) -> None:
        harms = [None, None, "start", "stop", "crash", "fail", "turn", "cut off", "go away"]
        if self._has_news:
            harms += ["extend", "recreate", "expire", "truncate"]
        harm = self.dice.choice(harms)
        host = self.dice.choice(self.hosts) if self.hosts else None
        match harm:
            case "start" if len(self.hosts) < 3:
                await self._start()
            case "stop" | "crash" | "fail" if host is not None:
                self.hosts.remove(host)
                ends = {"stop": host.stop, "crash": host.crash, "fail": host.fail}[harm]
                self.ending.append(asyncio.create_task(ends()))
                if self.dice.chance(0.7):
                    await self._start()
            case "turn":
                self.cluster.group(GROUP).turn()
            case "cut off" if host is not None:
                host.bus.cut_off(self.dice.between(0, 9))
            case "go away":
                self.cluster.go_away(self.dice.between(0, 6))
            case "extend" | "recreate" | "expire" | "truncate":
                if not self._change_a_topic(harm):
                    return
            case _:
                return
        self.events[str(harm)] += 1

    def _change_a_topic(self, change: str) -> bool:
        """Let an operator, or an accident, change a topic of commands; return whether it could be done."""
        slug = self.dice.choice(("echo", "keyed", "loose"))
        topic = TOPIC.format(slug)
        place = self.dice.choice(self.cluster.partitions_of(topic))
        log = self.cluster.log(place)
        if log is None:
            return False
        match change:
            case "extend" if slug != "keyed" and len(self.cluster.partitions_of(topic)) < 4:
                # A key that moves to another partition has commands in two lanes for a while.
                self.cluster.extend(topic)
            case "recreate":
                self._away.append(asyncio.create_task(self._recreate(self.dice.choice((topic, EVENTS.format(slug))))))
            case "expire":
                self.cluster.expire(place, log.begin + self.dice.below(1 + log.end - log.begin))
            case "truncate" if not self._exactly_once and log.end:
                self.invariants.truncated.add(place)
                self.cluster.truncate(place, log.begin + self.dice.below(1 + log.end - log.begin))
            case _:
                return False
        return True

    async def _recreate(self, topic: str) -> None:
        """Delete a topic, and create it again when clients have had time to hear that their commits are for nothing."""
        self.invariants.recreated.add(topic)
        self.cluster.delete(topic)
        await asyncio.sleep(self.dice.between(2, 6))
        self.cluster.create(topic)

    def _raised(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.invariants.violated(f"raised: {context['message']}: {context.get('exception')!r}")

    async def _start(self, lacks: str | None = None) -> None:
        if lacks is None:
            lacks = self.dice.choice(("", "", "over")) if self._has_news else ""
        host = Host(self, lacks=lacks)
        self.hosts.append(host)
        await host.start()

    async def _drain(self) -> None:
        """Wait until everything is committed, for long enough; the end will say what is not."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        loop.call_later(COMMITS_FAIL_FOR_S, setattr, self.faults, "commit_failed", 0.0)
        waited = False
        while not self._is_done():
            await asyncio.sleep(5)
            spent_s = loop.time() - began_s
            for host in self.hosts:
                host.look()
            if not waited and spent_s > NEIGHBOURS_WAIT_MOST_S:
                waited = True
                for sent in self.invariants.owed():
                    if sent.slug in ("echo", "pure", "strange"):
                        self.invariants.violated(f"waits for others: {sent}")
            if spent_s > DRAIN_S:
                return
        await asyncio.sleep(60)
        for host in self.hosts:
            if host.runtime.in_flight or host.runtime.bytes_in_flight:
                left = f"{host.runtime.in_flight} commands, {host.runtime.bytes_in_flight} bytes"
                self.invariants.violated(f"all is done, and still in flight: {left}")
            if host.runtime.held:
                self.invariants.violated(f"all is done, and still held: {host.runtime.held}")

    def _is_done(self) -> bool:
        committed = self.cluster.group(GROUP).committed
        return not self.invariants.owed() and all(committed.get(place, 0) >= end for place, end in self._ends().items())

    def _ends(self) -> Mapping[Partition, int]:
        """Return where each partition ends that hosts consume."""
        logs = self.cluster.logs.items()
        return {place: log.end for place, log in logs if ".cmd." in place.topic or ".retry." in place.topic}

    async def _end(self) -> None:
        await asyncio.gather(*self.ending, *(host.stop() for host in self.hosts))
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            self.invariants.violated(f"left running: {sorted(map(repr, left))}")


def play(seed: int, engine: type[NodeRuntime] = NodeRuntime, bus: type[SimulatedBus] = SimulatedBus) -> History:
    """Play the history of a seed; its `invariants.violations` say what the engine broke."""
    history = History(seed, engine, bus)
    try:
        run(history.play(), seed=seed)
    except SimulationStuck as stuck:
        history.invariants.violated(f"stuck: {stuck}")
    return history
