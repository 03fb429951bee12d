"""The page `/metrics`: a host's figures in the text format that Prometheus reads (version 0.0.4). Pure."""

from collections.abc import Iterator, Mapping
from itertools import accumulate

from omnibase_infra.call_chain.metrics import BOUNDS_S, CallFigures, CallLabels
from omnibase_infra.host.health import HealthReport, SecretsHealth

_OF_NODES = {
    "commands": "Commands that a node received.",
    "answers": "Results that a node returned.",
    "error_answers": "Errors that a node returned.",
    "retries": "Attempts of a node that failed and were scheduled again.",
    "dead_letters": "Dead letters of a node.",
    "replays": "Commands of a node that received a recorded answer.",
}


_OF_PARTITIONS = {
    "partition_lag": ("lag", "gauge", "Messages of a partition that are not processed yet."),
    "partition_lag_seconds": ("lag_s", "gauge", "The age of the first of these messages, at least."),
    "partition_position": ("position", "gauge", "The offset up to which the host has read."),
    "partition_committed": ("committed", "gauge", "The committed offset."),
    "partition_paused": ("pause_reason", "gauge", "Partitions that are paused; /health has the reason."),
    "partition_open_transaction": (
        "open_transaction",
        "gauge",
        "Messages behind another producer's open transaction.",
    ),
    "partition_expired_total": ("expired", "counter", "Messages that retention deleted before they were read."),
}
_ALWAYS = frozenset({"lag", "committed"})


def lines_of(report: HealthReport, calls: Mapping[CallLabels, CallFigures]) -> Iterator[str]:
    """Yield the lines of the page. Whoever takes his time may let calls go on meanwhile."""
    of_calls = list(_of_calls(calls))
    parts = (_of_host(report), _of_secrets(report.secrets), _of_nodes(report), _of_partitions(report), of_calls)
    for part in parts:
        for line in part:
            yield f"{line}\n"


def _of_host(report: HealthReport) -> Iterator[str]:
    yield from _family("ready", "gauge", "Whether the host is ready.")
    yield _sample("ready", {}, int(not report.not_ready_reasons))
    yield from _family("in_flight", "gauge", "Commands in flight.")
    yield _sample("in_flight", {}, report.in_flight)
    yield from _family("in_flight_bytes", "gauge", "Bytes of the commands in flight and of their answers.")
    yield _sample("in_flight_bytes", {}, report.bytes_in_flight)
    yield from _family(
        "client_failure", "gauge", "Whether a call of the Kafka client hangs, or the client is being replaced."
    )
    yield _sample("client_failure", {}, int(report.client_failure is not None))
    yield from _family(
        "rebalance_pending", "gauge", "Whether the host waits to join its consumer group, or for a long rebalance."
    )
    yield _sample("rebalance_pending", {}, int(report.rebalance_pending is not None))
    yield from _family("topic_missing", "gauge", "Topics of the host that no longer exist.")
    for topic in sorted(report.missing_topics):
        yield _sample("topic_missing", {"topic": topic}, 1)
    yield from _family("breaker_open", "gauge", "Whether a circuit breaker is open.")
    for name, state in report.breakers.items():
        yield _sample("breaker_open", {"breaker": name}, int(state == "open"))
    if report.store_used is not None:
        yield from _family(
            "idempotency_store_used", "gauge", "Used share of the capacity of the store in memory: 1 is full."
        )
        yield _sample("idempotency_store_used", {}, report.store_used)
    yield from _family("watch_failing", "gauge", "Whether a watch of this host cannot read what it watches.")
    for name in report.watches:
        yield _sample("watch_failing", {"watch": name}, int(report.fails(name)))


def _of_secrets(secrets: SecretsHealth) -> Iterator[str]:
    yield from _family("secrets_unreadable", "gauge", "Secrets that cannot be read.")
    yield _sample("secrets_unreadable", {}, len(secrets.unreadable))
    yield from _family("secrets_reopened_total", "counter", "How often something was reopened with new secrets.")
    for name, count in secrets.reopened.items():
        yield _sample("secrets_reopened_total", {"what": name}, count)
    yield from _family("secrets_stale", "gauge", "Whether something still uses secrets that have changed.")
    for name in secrets.reopened:
        yield _sample("secrets_stale", {"what": name}, int(name in secrets.stale))


def _of_nodes(report: HealthReport) -> Iterator[str]:
    yield from _family("node_degraded", "gauge", "Whether a node is degraded.")
    for name, node in report.nodes.items():
        yield _sample("node_degraded", {"node": name}, int(node.state != "ok"))
    for figure, meaning in _OF_NODES.items():
        yield from _family(f"node_{figure}_total", "counter", meaning)
        for name, node in report.nodes.items():
            yield _sample(f"node_{figure}_total", {"node": name}, getattr(node, figure))


def _of_partitions(report: HealthReport) -> Iterator[str]:
    for name, (attribute, kind, meaning) in _OF_PARTITIONS.items():
        yield from _family(name, kind, meaning)
        for (topic, number), partition in report.partitions.items():
            value = getattr(partition, attribute)
            # Most partitions of a host of many nodes are quiet: of them nothing is said but what is always there.
            if value is not None and (value or attribute in _ALWAYS):
                labels = {"node": partition.node or "", "topic": topic, "partition": str(number)}
                yield _sample(name, labels, 1 if attribute == "pause_reason" else value)


def _of_calls(calls: Mapping[CallLabels, CallFigures]) -> Iterator[str]:
    yield from _family("handler_calls_total", "counter", "Calls of a handler by outcome: ok, or the code of the error.")
    for asked, figures in calls.items():
        for outcome, count in figures.outcomes.items():
            yield _sample("handler_calls_total", {**asked._asdict(), "outcome": outcome}, count)
    yield from _family("handler_call_seconds", "histogram", "How long calls took, including the wait for a slot.")
    for asked, figures in calls.items():
        counts = list(accumulate(figures.within))
        for bound, count in zip((*map(repr, BOUNDS_S), "+Inf"), counts, strict=True):
            yield _sample("handler_call_seconds_bucket", {**asked._asdict(), "le": bound}, count)
        yield _sample("handler_call_seconds_sum", asked._asdict(), figures.seconds)
        yield _sample("handler_call_seconds_count", asked._asdict(), counts[-1])


def _family(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP onex_{name} {meaning}"
    yield f"# TYPE onex_{name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"onex_{name}{{{written}}} {value!r}" if written else f"onex_{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
