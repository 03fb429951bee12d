"""The one health endpoint of a host: `/live`, `/ready` and `/health`, JSON, and `/metrics` for Prometheus."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omnibase_core.errors import OnexError
from omnibase_core.ports import Partition
from omnibase_infra.console.partitions import PartitionHealth

_CLOSE_S = 1
_PAGES = ["/live", "/ready", "/health", "/metrics"]
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthUnavailable(OnexError):
    """The health endpoint cannot listen where it is told to."""

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

    - `client_trouble`: what the Kafka client does not come back from, or what is being recovered; None: nothing.
    - `in_flight`, `bytes_in_flight`: commands that are taken and not done, and what they and their answers hold.
    - `partitions`: of each partition what is left to read, and why it is not read.
    - `topics_gone`: topics of the host that are not there any more.
    - `store_used`: how much of its room the store in memory of answers has taken: 1 is full. None where there is none.
    - `watches`: the state of each watch: `elsewhere` (another host watches), `watching`, or the error that it meets.
    """

    host: str
    uptime_s: float
    stopping: bool
    broker_connected: bool
    client_trouble: str | None
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
    topics_gone: frozenset[str]
    store_used: float | None = None

    @property
    def hindrances(self) -> list[str]:
        """Why the host serves nothing right now; empty when it is ready."""
        reasons = {
            "the host is stopping": self.stopping,
            "the broker cannot be reached": not self.broker_connected,
            f"the Kafka client: {self.client_trouble}": self.client_trouble is not None,
            "no partition is assigned": not self.assigned_partitions,
            f"a partition has not moved on for {self.stalled_s:.0f} s": self.stalled_s > self.stalled_max_s,
        }
        return [reason for reason, holds in reasons.items() if holds]

    @property
    def warnings(self) -> list[str]:
        """What else somebody should look at, with numbers; the host serves all the same."""
        warnings = [f"topic {topic} is gone" for topic in sorted(self.topics_gone)]
        if self.store_used is not None and self.store_used >= 1:
            warnings.append("the idempotency store in memory is full: nodes with idempotency may wait")
        for (topic, number), it in self.partitions.items():
            if it.expired:
                warnings.append(f"retention took {it.expired} messages of {topic}[{number}] before they were read")
            if it.open_transaction:
                waits = f"{it.open_transaction} messages of {topic}[{number}] wait"
                warnings.append(f"{waits} behind an open transaction of another producer")
        return warnings

    @property
    def status(self) -> str:
        """One word for it all: `ok`, `degraded` (some nodes, watches or secrets, or warnings) or `not_ready`."""
        if self.hindrances:
            return "not_ready"
        nodes = all(node.state == "ok" for node in self.nodes.values())
        well = nodes and self.secrets.well and not self.warnings and not any(map(self.fails, self.watches))
        return "ok" if well else "degraded"

    def fails(self, watch: str) -> bool:
        """Whether a watch cannot do what it is for."""
        return self.watches[watch] not in ("elsewhere", "watching")


@asynccontextmanager
async def health_server(
    *, host: str, port: int, report: Callable[[], HealthReport], metrics: Callable[[], str]
) -> AsyncIterator[str]:
    """Serve while the context is open; gives the URL. Port 0 is any free port. Raises HealthUnavailable."""
    config = uvicorn.Config(
        _application(report, metrics),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_CLOSE_S,
    )
    with _listening(host, port) as listener:
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the host."""
        yield


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
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


def _application(report: Callable[[], HealthReport], metrics: Callable[[], str]) -> Starlette:
    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> JSONResponse:
        current = report()
        hindrances = current.hindrances
        document = {
            "status": "not_ready" if hindrances else "ready",
            "reasons": hindrances,
            "warnings": current.warnings,
        }
        return JSONResponse(document, 503 if hindrances else 200)

    async def health(_: Request) -> JSONResponse:
        said = report()
        return JSONResponse(_json(said), 503 if said.hindrances else 200)

    async def figures(_: Request) -> Response:
        return Response(metrics(), headers={"content-type": METRICS_CONTENT_TYPE})

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these alone
        return JSONResponse({"error": error.detail, "there_are": _PAGES}, error.status_code)

    routes = [Route("/live", live), Route("/ready", ready), Route("/health", health), Route("/metrics", figures)]
    return Starlette(routes=routes, exception_handlers={HTTPException: refuse})


def _json(report: HealthReport) -> dict[str, Any]:
    document = asdict(replace(report, partitions={}))
    document["topics_gone"] = sorted(report.topics_gone)
    # Most partitions of a host with many nodes have nothing to say.
    told = {place: it for place, it in report.partitions.items() if not it.is_quiet}
    document["partitions"] = {f"{topic}[{number}]": asdict(it) for (topic, number), it in told.items()}
    for node in document["nodes"].values():
        node["last_error_at"] = node["last_error_at"] and node["last_error_at"].isoformat()
    return {"status": report.status, "reasons": report.hindrances, "warnings": report.warnings, **document}
