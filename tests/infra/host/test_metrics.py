"""The page `/metrics`, read back by Prometheus's own parser."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from omnibase_infra.call_chain.metrics import CallFigures, CallLabels
from omnibase_infra.host.health import HealthReport
from omnibase_infra.host.metrics import lines_of
from tests.infra.host.test_health import FINE, ILL, REPORT

CALLS = {CallLabels("http", "pay", "request"): CallFigures(), CallLabels("odd", 'a"b\\c\nd', "do"): CallFigures()}
for _figures in CALLS.values():
    _figures.note("ok", seconds=0.02)
    _figures.note("timeout", seconds=7.0)
    _figures.note("ok", seconds=100.0)


def page_of(report: HealthReport, calls: dict[CallLabels, CallFigures]) -> str:
    """Return the page."""
    return "".join(lines_of(report, calls))


def samples(page: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return each value by its name and the values of its labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_the_page_tells_of_the_host_and_its_nodes() -> None:
    """Each figure of `/health` that is a number of use over time."""
    report = replace(REPORT, nodes={"echo": FINE, "pay": ILL}, breakers={"http.pay": "open", "http.other": "half_open"})
    found = samples(page_of(report, {}))
    assert found["onex_ready", ()] == 1
    assert found["onex_in_flight", ()] == 2
    assert found["onex_breaker_open", ("http.pay",)] == 1
    assert found["onex_breaker_open", ("http.other",)] == 0
    assert found["onex_watch_failing", ("fleet",)] == 0
    assert found["onex_secrets_reopened_total", ("http",)] == 2
    assert found["onex_secrets_stale", ("http",)] == 0
    assert found["onex_secrets_unreadable", ()] == 0
    assert found["onex_node_commands_total", ("echo",)] == 3
    assert found["onex_node_degraded", ("pay",)] == 1
    assert samples(page_of(replace(report, stopping=True), {}))["onex_ready", ()] == 0
    assert ("onex_idempotency_store_used", ()) not in found
    assert samples(page_of(replace(report, store_used=0.25), {}))["onex_idempotency_store_used", ()] == 0.25
    assert found["onex_rebalance_pending", ()] == 0
    assert (
        samples(page_of(replace(report, rebalance_pending="it has been joining"), {}))["onex_rebalance_pending", ()]
        == 1
    )
    away = replace(report, watches={"fleet": "unreachable: nobody there"})
    assert samples(page_of(away, {}))["onex_watch_failing", ("fleet",)] == 1


def test_the_page_tells_of_calls() -> None:
    """How many by outcome, and how long they took; whatever a name holds, it is read back."""
    found = samples(page_of(REPORT, CALLS))
    for asked in CALLS:
        assert found["onex_handler_calls_total", (*asked, "ok")] == 2
        assert found["onex_handler_calls_total", (*asked, "timeout")] == 1
        assert found["onex_handler_call_seconds_sum", tuple(asked)] == 107.02
        assert found["onex_handler_call_seconds_count", tuple(asked)] == 3
        for bound, count in {"0.01": 0, "0.025": 1, "10.0": 2, "+Inf": 3}.items():
            assert found["onex_handler_call_seconds_bucket", (*asked, bound)] == count
