"""The health endpoint: a real server, asked over HTTP."""

import asyncio
import http.client
import json
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from omnibase_core.ports import Partition
from omnibase_core.testing import RecordingObserver
from omnibase_infra.host.health import (
    HealthReport,
    HealthUnavailable,
    NodeHealth,
    SecretsHealth,
    health_server,
    in_turns,
)
from omnibase_infra.host.partitions import PartitionHealth

HERE = "127.0.0.1"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FINE = NodeHealth(
    state="ok",
    reason=None,
    commands=3,
    answers=2,
    error_answers=1,
    retries=0,
    dead_letters=0,
    replays=0,
    unprotected=0,
    last_error=None,
    last_error_at=None,
)
ILL = replace(FINE, state="degraded", reason="topic is missing", last_error="handler_failed", last_error_at=NOON)
QUIET = PartitionHealth(
    node="echo",
    lag=0,
    lag_s=0.0,
    position=7,
    committed=7,
    stalled_s=0.0,
    pause_reason=None,
    expired=0,
    open_transaction=0,
)
BEHIND = replace(QUIET, lag=3, lag_s=2.5, position=9, committed=6, stalled_s=0.5, pause_reason="node full")
REPORT = HealthReport(
    host="pool",
    uptime_s=1.5,
    stopping=False,
    broker_connected=True,
    client_failure=None,
    assigned_partitions=4,
    in_flight=2,
    bytes_in_flight=900,
    stalled_s=0.5,
    stalled_max_s=60.0,
    breakers={"http.pay": "closed"},
    secrets=SecretsHealth(unreadable={}, reopened={"http": 2}, stale={}),
    watches={"fleet": "watching"},
    nodes={"echo": FINE},
    partitions={Partition("commands", 0): QUIET, Partition("commands", 1): BEHIND},
    missing_topics=frozenset(),
)
Answer = tuple[int, dict[str, Any]]
T = TypeVar("T")


def fetch(url: str, path: str, method: str) -> Answer:
    """Ask once, and give the status and the body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        assert response.headers["content-type"] == "application/json"
        return response.status, json.loads(response.read())
    finally:
        connection.close()


async def asked(url: str, path: str, method: str = "GET") -> Answer:
    """Ask beside the loop: the server listens as soon as its URL is known."""
    return await asyncio.to_thread(fetch, url, path, method)


def at_hand(it: T) -> Callable[[], Awaitable[T]]:
    """Return what gives this at once, whenever it is asked."""

    async def give() -> T:
        return it

    return give


def answers(report: HealthReport, *paths: str, method: str = "GET") -> list[Answer]:
    """Serve a report, and ask for each path."""

    async def scenario() -> list[Answer]:
        async with health_server(
            host=HERE, port=0, report=at_hand(report), metrics=at_hand(""), observer=RecordingObserver()
        ) as url:
            return [await asked(url, path, method) for path in paths]

    return asyncio.run(scenario())


def test_a_host_that_is_well_is_live_ready_and_ok() -> None:
    """`/health` tells all there is to know about the host and its nodes."""
    live, ready, health = answers(REPORT, "/live", "/ready", "/health")
    assert live == (200, {"status": "live"})
    assert ready == (200, {"status": "ready", "reasons": [], "warnings": []})
    assert health == (
        200,
        {
            "status": "ok",
            "reasons": [],
            "warnings": [],
            "host": "pool",
            "uptime_s": 1.5,
            "stopping": False,
            "broker_connected": True,
            "client_failure": None,
            "assigned_partitions": 4,
            "in_flight": 2,
            "bytes_in_flight": 900,
            "stalled_s": 0.5,
            "stalled_max_s": 60.0,
            "breakers": {"http.pay": "closed"},
            "secrets": {"unreadable": {}, "reopened": {"http": 2}, "stale": {}},
            "watches": {"fleet": "watching"},
            "nodes": {
                "echo": {
                    "state": "ok",
                    "reason": None,
                    "commands": 3,
                    "answers": 2,
                    "error_answers": 1,
                    "retries": 0,
                    "dead_letters": 0,
                    "replays": 0,
                    "unprotected": 0,
                    "last_error": None,
                    "last_error_at": None,
                }
            },
            "partitions": {
                "commands[1]": {
                    "node": "echo",
                    "lag": 3,
                    "lag_s": 2.5,
                    "position": 9,
                    "committed": 6,
                    "stalled_s": 0.5,
                    "pause_reason": "node full",
                    "expired": 0,
                    "open_transaction": 0,
                }
            },
            "missing_topics": [],
            "background": {},
            "store_used": None,
            "rebalance_pending": None,
        },
    )


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"missing_topics": frozenset({"commands"})}, "topic commands no longer exists"),
        (
            {"partitions": {Partition("commands", 1): replace(QUIET, expired=12)}},
            "retention deleted 12 messages of commands[1] before they were read",
        ),
        (
            {"partitions": {Partition("commands", 1): replace(QUIET, open_transaction=5)}},
            "5 messages of commands[1] wait behind an open transaction of another producer",
        ),
        (
            {"rebalance_pending": "the group pool has been rebalancing for 9 s"},
            "the group pool has been rebalancing for 9 s",
        ),
        ({"store_used": 1.0}, "the idempotency store in memory is full: nodes with idempotency may wait"),
    ],
)
def test_what_somebody_should_look_at_is_said_beside_ready(change: dict[str, Any], warning: str) -> None:
    """The host serves all the same: it is degraded, and `/ready` says so with numbers."""
    report = replace(REPORT, **change)
    ready, (status, body) = answers(report, "/ready", "/health")
    assert ready == (200, {"status": "ready", "reasons": [], "warnings": [warning]})
    assert (status, body["status"], body["warnings"]) == (200, "degraded", [warning])


@pytest.mark.parametrize(
    ("state", "status"), [("watching", "ok"), ("standby", "ok"), ("unreachable: nobody there", "degraded")]
)
def test_a_watch_that_cannot_read_degrades_its_host(state: str, status: str) -> None:
    """One that another host of the pool runs is well here."""
    assert replace(REPORT, watches={"fleet": state}).status == status


def test_a_host_with_an_ill_node_is_degraded_and_still_ready() -> None:
    """The other nodes are served, so nobody should take the host away; the reason stands at the node."""
    live, ready, (status, body) = answers(replace(REPORT, nodes={"echo": FINE, "b": ILL}), "/live", "/ready", "/health")
    assert (live[0], ready, status) == (200, (200, {"status": "ready", "reasons": [], "warnings": []}), 200)
    assert (body["status"], body["reasons"]) == ("degraded", [])
    assert (body["nodes"]["echo"]["state"], body["nodes"]["b"]["state"]) == ("ok", "degraded")
    assert (body["nodes"]["b"]["reason"], body["nodes"]["b"]["last_error"]) == ("topic is missing", "handler_failed")
    assert datetime.fromisoformat(body["nodes"]["b"]["last_error_at"]) == NOON


@pytest.mark.parametrize(
    "secrets",
    [
        SecretsHealth(unreadable={"KEY": "its file is empty"}, reopened={}, stale={}),
        SecretsHealth(unreadable={}, reopened={"http": 0}, stale={"http": "it cannot be opened"}),
    ],
)
def test_a_host_whose_secrets_are_not_well_is_degraded_and_still_ready(secrets: SecretsHealth) -> None:
    """It serves with the values from before, for as long as they work."""
    ready, (status, body) = answers(replace(REPORT, secrets=secrets), "/ready", "/health")
    assert (ready[0], status, body["status"]) == (200, 200, "degraded")


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (
            {"client_failure": "the consumer waits for commit for 9 s"},
            ["the Kafka client: the consumer waits for commit for 9 s"],
        ),
        ({"stopping": True}, ["the host is stopping"]),
        ({"broker_connected": False}, ["the broker cannot be reached"]),
        ({"assigned_partitions": 0}, ["no partition is assigned"]),
        (
            {"assigned_partitions": 0, "rebalance_pending": "it has been joining the group pool for 7 s"},
            ["no partition is assigned: it has been joining the group pool for 7 s"],
        ),
        ({"stalled_s": 61.4}, ["a partition has made no progress for 61 s"]),
        (
            {"broker_connected": False, "assigned_partitions": 0, "nodes": {"echo": ILL}},
            ["the broker cannot be reached", "no partition is assigned"],
        ),
    ],
)
def test_a_host_that_serves_nothing_is_live_and_not_ready(change: dict[str, Any], reasons: list[str]) -> None:
    """It says every reason, and a new start would not help."""
    live, ready, (status, body) = answers(replace(REPORT, **change), "/live", "/ready", "/health")
    assert live == (200, {"status": "live"})
    assert ready == (503, {"status": "not_ready", "reasons": reasons, "warnings": []})
    assert (status, body["status"], body["reasons"]) == (503, "not_ready", reasons)


def test_each_answer_tells_of_its_own_moment() -> None:
    """The report is made anew for each question."""

    async def scenario() -> None:
        now = REPORT

        async def report() -> HealthReport:
            return now

        async with health_server(
            host=HERE, port=0, report=report, metrics=at_hand(""), observer=RecordingObserver()
        ) as url:
            assert (await asked(url, "/ready"))[0] == 200
            now = replace(REPORT, stopping=True)
            assert (await asked(url, "/ready"))[0] == 503

    asyncio.run(scenario())


def test_the_figures_are_served_as_prometheus_asks_for_them() -> None:
    """As text, in the version that its scrapers know, made anew for each question."""

    def ask(url: str) -> tuple[str, str]:
        with urlopen(f"{url}/metrics", timeout=10) as response:  # noqa: S310 - our own server
            return response.headers["content-type"], response.read().decode()

    async def scenario() -> list[tuple[str, str]]:
        pages = ["a 1\n", "a 2\n"]

        async def metrics() -> str:
            return pages.pop(0)

        async with health_server(
            host=HERE, port=0, report=at_hand(REPORT), metrics=metrics, observer=RecordingObserver()
        ) as url:
            return [await asyncio.to_thread(ask, url) for _ in range(2)]

    kind = "text/plain; version=0.0.4; charset=utf-8"
    assert asyncio.run(scenario()) == [(kind, "a 1\n"), (kind, "a 2\n")]


def test_an_unknown_path_is_told_what_there_is() -> None:
    """Who guesses need not guess twice."""
    there_are = ["/live", "/ready", "/health", "/metrics"]
    assert answers(REPORT, "/", "/healthz") == [(404, {"error": "Not Found", "there_are": there_are})] * 2
    assert answers(REPORT, "/live", method="POST") == [(405, {"error": "Method Not Allowed", "there_are": there_are})]


def test_an_error_with_half_a_character_is_told_all_the_same() -> None:
    """What a function raises may hold half a surrogate pair, which has no form in UTF-8."""
    ill = replace(ILL, reason="topic \ud800", last_error="topic \ud800")
    [(status, body)] = answers(replace(REPORT, nodes={"echo": ill}), "/health")
    assert (status, body["nodes"]["echo"]["reason"]) == (200, "topic \ud800")


def test_others_have_their_turns_while_a_long_page_is_made() -> None:
    """A scrape of a thousand nodes holds up no command for more than a few milliseconds."""

    async def scenario() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        def slow() -> Iterator[int]:
            for n in range(320):
                if not n % 16:
                    time.sleep(0.002)
                yield n

        beside = asyncio.create_task(others())
        assert await in_turns(slow()) == list(range(320))
        beside.cancel()
        return turns

    assert asyncio.run(scenario()) >= 19


def test_a_port_in_use_is_refused_by_its_number() -> None:
    """The message says where to write another."""

    async def scenario(port: int) -> None:
        async with health_server(
            host=HERE, port=port, report=at_hand(REPORT), metrics=at_hand(""), observer=RecordingObserver()
        ):
            pytest.fail("it listens where another does")

    with socket.create_server((HERE, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(HealthUnavailable) as caught:
            asyncio.run(scenario(port))
    assert str(caught.value) == f"health cannot listen on {HERE}:{port}: it is in use; change health.port"


def test_two_hosts_cannot_share_a_port() -> None:
    """The second one is told, however close together they start."""

    async def scenario() -> None:
        async with health_server(
            host=HERE, port=0, report=at_hand(REPORT), metrics=at_hand(""), observer=RecordingObserver()
        ) as url:
            port = urlsplit(url).port
            assert port is not None
            with pytest.raises(HealthUnavailable, match=f"{port}: it is in use"):
                async with health_server(
                    host=HERE, port=port, report=at_hand(REPORT), metrics=at_hand(""), observer=RecordingObserver()
                ):
                    pytest.fail("it listens where another does")

    asyncio.run(scenario())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_an_address_of_ipv6_makes_a_url() -> None:
    """The brackets belong to the URL, not to the contract."""

    async def scenario() -> None:
        async with health_server(
            host="::1", port=0, report=at_hand(REPORT), metrics=at_hand(""), observer=RecordingObserver()
        ) as url:
            assert url.startswith("http://[::1]:")
            assert (await asked(url, "/live"))[0] == 200

    asyncio.run(scenario())


def test_the_port_is_free_again_at_the_end() -> None:
    """A host may start where one has just stopped."""

    async def scenario() -> None:
        async with health_server(
            host=HERE, port=0, report=at_hand(REPORT), metrics=at_hand(""), observer=RecordingObserver()
        ) as url:
            assert (await asked(url, "/live"))[0] == 200
        port = urlsplit(url).port
        assert port is not None
        async with health_server(
            host=HERE, port=port, report=at_hand(REPORT), metrics=at_hand(""), observer=RecordingObserver()
        ) as again:
            assert again == url
            assert (await asked(again, "/live"))[0] == 200

    asyncio.run(scenario())


def test_signals_are_left_to_the_host() -> None:
    """The server ends with its context and not by itself."""

    async def scenario() -> None:
        before = [signal.getsignal(it) for it in (signal.SIGINT, signal.SIGTERM)]
        async with health_server(
            host=HERE, port=0, report=at_hand(REPORT), metrics=at_hand(""), observer=RecordingObserver()
        ) as url:
            await asked(url, "/live")
            assert [signal.getsignal(it) for it in (signal.SIGINT, signal.SIGTERM)] == before

    asyncio.run(scenario())
