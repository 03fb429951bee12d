"""The one health endpoint of a host: `/live`, `/ready` and `/health`, JSON, and `/metrics` for Prometheus."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, TypeVar

from omnibase_core.engine.instance import NodeFigures
from omnibase_core.errors import OnexError
from omnibase_core.ports import Observer, Partition
from omnibase_infra.host.health_server import Page, Pages, json_page, page_server
from omnibase_infra.host.partitions import PartitionHealth

_TURN_S = 0.001
_LOOK_EVERY = 16
Item = TypeVar("Item")
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthUnavailable(OnexError):
    """The health endpoint cannot listen at its configured address."""

    code = "health_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """How a node is: `ok`, or `degraded` with the reason, and what it has done since the host started."""

    state: str
    reason: str | None
    commands: int
    answers: int
    error_answers: int
    retries: int
    dead_letters: int
    replays: int
    unprotected: int
    last_error: str | None
    last_error_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsHealth:
    """How the host's secrets are, by their names, and what was opened with them, by the names of handlers and stores.

    `unreadable`: which could not be read just now, and why. `reopened`: how often something was opened anew since they
    changed. `stale`: what still works with the values from before, and why.
    """

    unreadable: Mapping[str, str]
    reopened: Mapping[str, int]
    stale: Mapping[str, str]

    @property
    def well(self) -> bool:
        """Whether everything works with what its secrets are now."""
        return not self.unreadable and not self.stale


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """How a host is. `broker_connected` is what the clients last saw; `breakers` has the state of each target's.

    - `client_failure`: what the Kafka client does not come back from, or what is being recovered; None: nothing.
    - `rebalance_pending`: what the host waits for in its group; None: nothing.
    - `in_flight`, `bytes_in_flight`: commands that are taken and not done, and what they and their answers hold.
    - `partitions`: of each partition what is left to read, and why it is not read.
    - `missing_topics`: topics of the host that are not there any more.
    - `background`: what runs beside the work and failed within the last five minutes, with the reason. It goes on.
    - `store_used`: how much of its room the store in memory of answers has taken: 1 is full. None where there is none.
    - `watches`: the state of each watch: `standby` (another host watches), `watching`, or the error that it meets.
    """

    host: str
    uptime_s: float
    stopping: bool
    broker_connected: bool
    client_failure: str | None
    assigned_partitions: int
    in_flight: int
    bytes_in_flight: int
    stalled_s: float
    stalled_max_s: float
    breakers: Mapping[str, str]
    secrets: SecretsHealth
    watches: Mapping[str, str]
    nodes: Mapping[str, NodeHealth]
    partitions: Mapping[Partition, PartitionHealth]
    missing_topics: frozenset[str]
    background: Mapping[str, str] = field(default_factory=dict)
    store_used: float | None = None
    rebalance_pending: str | None = None

    @property
    def not_ready_reasons(self) -> list[str]:
        """Why the host serves nothing right now; empty when it is ready."""
        reasons = {
            "the host is stopping": self.stopping,
            "the broker cannot be reached": not self.broker_connected,
            f"the Kafka client: {self.client_failure}": self.client_failure is not None,
            _joined("no partition is assigned", self.rebalance_pending): not self.assigned_partitions,
            f"a partition has made no progress for {self.stalled_s:.0f} s": self.stalled_s > self.stalled_max_s,
        }
        return [reason for reason, holds in reasons.items() if holds]

    @property
    def warnings(self) -> list[str]:
        """What else somebody should look at, with numbers; the host serves all the same."""
        warnings = [f"topic {topic} no longer exists" for topic in sorted(self.missing_topics)]
        warnings += [f"{name} failed: {reason}" for name, reason in sorted(self.background.items())]
        if self.rebalance_pending is not None and self.assigned_partitions:
            warnings.append(self.rebalance_pending)
        if self.store_used is not None and self.store_used >= 1:
            warnings.append("the idempotency store in memory is full: nodes with idempotency may wait")
        for (topic, number), it in self.partitions.items():
            if it.expired:
                warnings.append(f"retention deleted {it.expired} messages of {topic}[{number}] before they were read")
            if it.open_transaction:
                waits = f"{it.open_transaction} messages of {topic}[{number}] wait"
                warnings.append(f"{waits} behind an open transaction of another producer")
        return warnings

    @property
    def status(self) -> str:
        """One word for it all: `ok`, `degraded` (some nodes, watches or secrets, or warnings) or `not_ready`."""
        if self.not_ready_reasons:
            return "not_ready"
        nodes = all(node.state == "ok" for node in self.nodes.values())
        well = nodes and self.secrets.well and not self.warnings and not any(map(self.fails, self.watches))
        return "ok" if well else "degraded"

    def fails(self, watch: str) -> bool:
        """Whether a watch cannot do what it is for."""
        return self.watches[watch] not in ("standby", "watching")


def _joined(what: str, why: str | None) -> str:
    return what if why is None else f"{what}: {why}"


@asynccontextmanager
async def health_server(
    *,
    host: str,
    port: int,
    report: Callable[[], Awaitable[HealthReport]],
    metrics: Callable[[], Awaitable[str]],
    observer: Observer,
) -> AsyncIterator[str]:
    """Serve while the context is open; gives the URL. Port 0 is any free port. Raises HealthUnavailable."""
    with _listening(host, port) as listener:
        async with page_server(listener, _pages(report, metrics), address=host, observer=observer):
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{listener.getsockname()[1]}"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By the protocol's number asyncio knows that no answer is to wait for the one before it to be acknowledged.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind((host, port))
            # From here on a client is kept waiting rather than refused, and a second host on this port is told.
            listener.listen()
        except OSError as error:
            why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise HealthUnavailable(f"health cannot listen on {host}:{port}: {why}; change health.port") from error
        yield listener
    finally:
        listener.close()


def _pages(report: Callable[[], Awaitable[HealthReport]], metrics: Callable[[], Awaitable[str]]) -> Pages:
    async def live() -> Page:
        return json_page({"status": "live"})

    async def ready() -> Page:
        current = await report()
        not_ready_reasons = current.not_ready_reasons
        document = {
            "status": "not_ready" if not_ready_reasons else "ready",
            "reasons": not_ready_reasons,
            "warnings": current.warnings,
        }
        return json_page(document, 503 if not_ready_reasons else 200)

    async def health() -> Page:
        said = await report()
        return json_page(await _document(said), 503 if said.not_ready_reasons else 200)

    async def figures() -> Page:
        return Page(200, METRICS_CONTENT_TYPE, await metrics())

    return {"/live": live, "/ready": ready, "/health": health, "/metrics": figures}


async def in_turns(items: Iterable[Item]) -> list[Item]:
    """Collect what an iterator yields, and let others have a turn of the event loop every millisecond."""
    collected: list[Item] = []
    began_s = time.perf_counter()
    for item in items:
        collected.append(item)
        if not len(collected) % _LOOK_EVERY and time.perf_counter() - began_s >= _TURN_S:
            await asyncio.sleep(0)
            began_s = time.perf_counter()
    return collected


def node_health(figures: NodeFigures) -> NodeHealth:
    """Return how a node is, by what it has done."""
    done = {it.name: getattr(figures, it.name) for it in fields(NodeHealth) if it.name not in ("state", "reason")}
    return NodeHealth(state="degraded" if figures.degraded else "ok", reason=figures.degraded, **done)


async def _document(report: HealthReport) -> dict[str, Any]:
    document = asdict(replace(report, partitions={}, nodes={}))
    document["missing_topics"] = sorted(report.missing_topics)
    document["nodes"] = dict(await in_turns((name, _json_of(node)) for name, node in report.nodes.items()))
    # Most partitions of a host with many nodes have nothing to say.
    told = {place: it for place, it in report.partitions.items() if not it.is_quiet}
    document["partitions"] = {f"{topic}[{number}]": asdict(it) for (topic, number), it in told.items()}
    return {"status": report.status, "reasons": report.not_ready_reasons, "warnings": report.warnings, **document}


def _json_of(node: NodeHealth) -> dict[str, Any]:
    document = {it.name: getattr(node, it.name) for it in fields(NodeHealth)}
    return {**document, "last_error_at": node.last_error_at and node.last_error_at.isoformat()}
