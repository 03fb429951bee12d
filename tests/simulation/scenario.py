"""One history: hosts of a pool serve commands while the world behaves badly; then it heals, and all has to be well."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from omnibase_core.errors import BusError, HandlerError, PublishFailed
from omnibase_core.loaded import LoadedHost
from omnibase_core.local_handler import LocalHandler
from omnibase_core.ports import HandlerCall, Message, Outlet
from omnibase_core.runtime import NodeRuntime
from omnibase_core.testing.simulated_bus import SimulatedBus
from omnibase_core.testing.simulated_cluster import Faults, SimulatedCluster
from omnibase_core.testing.virtual_time import Dice, SimulationStuck, VirtualClock, run
from tests.gear.commands import ECHO, loaded_host, node
from tests.simulation.invariants import PUBLISHING, RECORDS, Invariants, Sent
from tests.simulation.store import WatchedStore, order_of

TOPIC = "onex.app.dev.test.cmd.node.{}.v1"
GROUP = "onex.dev.test.pool"
BATCH_SIZE = 6
IN_FLIGHT_MAX = 9
NODES_IN_FLIGHT_MAX = {"keyed": 4, "lined": 3, "loose": 5, "once": 4}
SLUGS = ("echo", "keyed", "keyed", "lined", "loose")
SLUGS_WITH_ONCE = (*SLUGS, "once", "once", "once")
WAYS = ("well", "well", "well", "slow", "slow", "retryable", "for_good", "bug", "hang", "large", "unknown")
POISON = (b"", b"{", b"[1]", b"\xff" * 9, b'{"envelope_version": 9}', b"x" * 2800)
KEYS = (None, b"a", b"b", b"c", b"d", b"e")
DRAIN_S = 50_000.0
ONCE = """
  do:
    input: {type: object}
    request: "${ payload }"
    errors: [{when: "${ has(result.said) && result.said == 'no' }", code: declined}]
"""
ONCE_KEY = 'idempotency: {key: "${ payload.order }", window_s: 1e7}\n'


@cache
def the_host(drain_s: float, bytes_max: int, guarantee: str, *, with_once: bool) -> LoadedHost:
    """Load the contracts: once, for all histories. Some have a node whose effects happen once a key."""
    nodes = {"echo": node("echo", handler="local", operations=ECHO)}
    for name, ordering in (("keyed", "key"), ("lined", "partition"), ("loose", "none")):
        limit = NODES_IN_FLIGHT_MAX[name]
        retry = "{attempts: 3, initial_s: 0.1, max_s: 1}"
        delivery = f"{{timeout_s: 1.5, retry: {retry}, ordering: {ordering}, max_in_flight: {limit}}}"
        nodes[name] = node(name, delivery=delivery)
    if with_once:
        limit = NODES_IN_FLIGHT_MAX["once"]
        delivery = f"{{timeout_s: 1.5, retry: {{attempts: 3, initial_s: 0.1, max_s: 1}}, max_in_flight: {limit}}}"
        nodes["once"] = node("once", delivery=delivery, operations=ONCE) + ONCE_KEY
    return loaded_host(
        nodes,
        limits=f"{{max_in_flight: {IN_FLIGHT_MAX}, drain_s: {drain_s}, bytes_in_flight_max: {bytes_max}}}",
        guarantee=guarantee,
        more="idempotency: {store: memory}\n",
    )


def the_command(slug: str, key: bytes | None, way: str, number: int) -> Message:
    """Make a command, as a sender in any language would; its number is its id."""
    payload = (
        f'{{"node":"{slug}","key":"{(key or b"").decode()}","way":"{way}","n":{number},"order":{order_of(number)}}}'
    )
    operation = ',"operation":"dance"' if way == "unknown" else ""
    value = (
        f'{{"envelope_version":1,"envelope_id":"{UUID(int=number)}","correlation_id":"{UUID(int=number)}"'
        f',"node_slug":"{slug}","timestamp":"2026-01-01T00:00:00Z","payload":{payload}{operation}}}'
    )
    return Message(TOPIC.format(slug), key, value.encode())


class Silent:
    """An observer that listens to nothing."""

    verbose = False

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Forget the event."""


class Scripted:
    """A handler that does as the command says, and looks at what runs beside it."""

    def __init__(self, dice: Dice, invariants: Invariants, store: WatchedStore) -> None:
        """Start with nothing running."""
        self._dice = dice
        self._store = store
        self._invariants = invariants
        self._running: Counter[str] = Counter()
        self.look: Callable[[], None] = lambda: None

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Behave as scripted, within the bounds that the contract sets."""
        request = call.request.model_dump()
        lane = f"{request['node']}/{request['key']}" if request["node"] == "keyed" and request["key"] else ""
        self._enter(request["node"], NODES_IN_FLIGHT_MAX[request["node"]])
        self._enter(lane, 1)
        try:
            self.look()
            await asyncio.sleep(self._dice.between(0, 0.05))
            if request["node"] == "once":
                return await self._store.effect(request["order"], request["n"], self._behave(request))
            result = await self._behave(request)
            if self._invariants.publishing and request["node"] in PUBLISHING:
                await self._publish(call.outlet, request)
            return result
        finally:
            self._running[request["node"]] -= 1
            self._running[lane] -= 1

    async def _publish(self, outlet: Outlet | None, request: Mapping[str, Any]) -> None:
        assert outlet is not None
        try:
            await outlet.publish(Message(RECORDS, request["key"].encode(), b"%d" % request["n"]))
        except PublishFailed as error:
            raise HandlerError(error.code, str(error), retryable=True) from error

    def _enter(self, what: str, limit: int) -> None:
        self._running[what] += 1
        if what and self._running[what] > limit:
            self._invariants.violated(f"too many at once: {self._running[what]} of {what}, at most {limit}")

    async def _behave(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        match request["way"]:
            case "slow":
                await asyncio.sleep(self._dice.between(0, 1.2))
            case "hang":
                await asyncio.sleep(self._dice.between(0, 5))
            case "retryable":
                if self._dice.chance(0.7):
                    raise HandlerError("busy", "try again", retryable=True)
            case "for_good":
                raise HandlerError("no_such_thing", "do not try again")
            case "bug" if request["n"] % 3 == 0:
                raise SystemExit
            case "bug":
                raise ZeroDivisionError
            case "large":
                return {"blob": "x" * 2900}
            case "declined":
                return {"said": "no"}
        return {"n": request["n"]}


class Host:
    """One host of the pool: its engine, its link, its handlers."""

    def __init__(self, history: "History") -> None:
        """Load it; nothing starts yet."""
        loaded = history.loaded
        self.bus = SimulatedBus(history.cluster, group=GROUP, batch_size=BATCH_SIZE)
        self.runtime = history.engine(loaded.contract, bus=self.bus, clock=VirtualClock(), observer=Silent())
        handler = Scripted(history.dice.fork(), history.invariants, history.store)
        handler.look = self.look
        self.runtime.register_handler("local", LocalHandler())
        self.runtime.register_handler("scripted", handler)
        self.runtime.register_store(history.store)
        self.runtime.load_nodes(loaded.nodes)
        self._invariants = history.invariants

    def look(self) -> None:
        """What is taken is bounded: by the limit, and one batch that was under way."""
        if self.runtime.in_flight > IN_FLIGHT_MAX + BATCH_SIZE:
            self._invariants.violated(f"in flight: {self.runtime.in_flight}, at most {IN_FLIGHT_MAX} and a batch")

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

    def __init__(self, seed: int, engine: type[NodeRuntime]) -> None:
        """Let the dice say how bad the world is."""
        self.dice = dice = Dice(seed)
        self.engine = engine
        guarantee = dice.choice(("at_least_once", "exactly_once"))
        exactly_once = guarantee == "exactly_once"
        drain_s, bytes_max = dice.choice((0.3, 2.0)), dice.choice((2000, 100_000))
        self.with_once = seed % 3 == 0 and not exactly_once
        self.loaded = the_host(drain_s, bytes_max, guarantee, with_once=self.with_once)
        self.invariants = Invariants(once=exactly_once, publishing=seed % 2 == 0)
        self.store = WatchedStore(Dice(~seed), self.invariants)
        self.faults = Faults(
            latency_s=dice.choice((0.005, 0.05, 0.4)),
            refused=dice.choice((0.0, 0.0, 0.05)),
            aborted=dice.choice((0.0, 0.1, 0.3)),
            release_s=dice.choice((1.0, 3.0, 6.0)),
        )
        self.cluster = SimulatedCluster(dice=dice.fork(), faults=self.faults, witness=self.invariants)
        self.hosts: list[Host] = []
        self.ending: list[asyncio.Task[None]] = []
        self.events: Counter[str] = Counter()
        self._number = 0

    async def play(self) -> None:
        """Send commands and do harm, heal, drain, end."""
        asyncio.get_running_loop().set_exception_handler(self._raised)
        for _ in range(1 + self.dice.below(3)):
            await self._start()
        for _ in range(6 + self.dice.below(12)):
            for _ in range(self.dice.below(9)):
                self._send()
            await asyncio.sleep(self.dice.between(0, 1.5))
            await self._harm()
            for host in self.hosts:
                host.look()
        self.faults.heal()
        self.store.heal()
        if not self.hosts:
            await self._start()
        await self._drain()
        await self._end()
        self.invariants.check_end(self.cluster.group(GROUP).committed)

    # --- What happens ---------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counter[str]:
        """What there was in this history."""
        late = Counter({"late commits": self.cluster.group(GROUP).refused_commits})
        return Counter({"commands": self._number}) + self.invariants.counts + self.events + late

    @property
    def digest(self) -> str:
        """What the broker kept, in short: the same for each run of the same seed with the same engine."""
        kept = sorted((place, [message.value for message in log]) for place, log in self.cluster.records.items())
        return sha256(repr(kept).encode()).hexdigest()[:16]

    def _send(self) -> None:
        self._number += 1
        slug = self.dice.choice(SLUGS_WITH_ONCE if self.with_once else SLUGS)
        key = self.dice.choice(KEYS)
        if self.dice.chance(0.06):
            number, message = None, Message(TOPIC.format(slug), key, self.dice.choice(POISON))
        else:
            way = "well" if slug == "echo" else self.dice.choice((*WAYS, "declined") if slug == "once" else WAYS)
            number, message = self._number, the_command(slug, key, way, self._number)
        place = self.cluster.place_of(message)
        is_ordered = number is not None and key is not None and slug != "loose"
        sent = Sent(place, len(self.cluster.records.get(place, ())), key, number, key if is_ordered else None)
        self.invariants.send(sent)
        self.cluster.force(place, message)

    async def _harm(self) -> None:
        harm = self.dice.choice((None, None, "start", "stop", "crash", "fail", "turn", "cut off", "go away"))
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
            case _:
                return
        self.events[str(harm)] += 1

    def _raised(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.invariants.violated(f"raised: {context['message']}: {context.get('exception')!r}")

    async def _start(self) -> None:
        host = Host(self)
        self.hosts.append(host)
        await host.start()

    async def _drain(self) -> None:
        """Wait until everything is committed, for long enough; the end will say what is not."""
        group = self.cluster.group(GROUP)
        until_s = asyncio.get_running_loop().time() + DRAIN_S
        while any(group.committed.get(it, 0) < len(sent) for it, sent in self.invariants.sent.items()):
            await asyncio.sleep(5)
            if asyncio.get_running_loop().time() > until_s:
                return
        await asyncio.sleep(30)
        for host in self.hosts:
            if host.runtime.in_flight:
                self.invariants.violated(f"all is done, and {host.runtime.in_flight} are still in flight")

    async def _end(self) -> None:
        await asyncio.gather(*self.ending, *(host.stop() for host in self.hosts))
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            self.invariants.violated(f"left running: {sorted(map(repr, left))}")


def play(seed: int, engine: type[NodeRuntime] = NodeRuntime) -> History:
    """Play the history of a seed; its `invariants.violations` say what the engine broke."""
    history = History(seed, engine)
    try:
        run(history.play(), seed=seed)
    except SimulationStuck as stuck:
        history.invariants.violated(f"stuck: {stuck}")
    return history
