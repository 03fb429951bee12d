"""A host under `opentelemetry-instrument`: what its user gets to see."""

import asyncio
import json
from pathlib import Path
from typing import Any

from omnibase_infra.demo.server import demo_server
from tests.support.brokers import Broker
from tests.support.hosts import COMMAND, GREET, Machine

PASSWORD = "hunter2-and-more"  # noqa: S105 - it must not be seen


def spans(text: str) -> list[dict[str, Any]]:
    """Return what the console's exporter wrote between the lines of the log."""
    found, start = [], text.find('{\n    "name"')
    while start >= 0:
        span, end = json.JSONDecoder().raw_decode(text, start)
        found.append(span)
        start = text.find('{\n    "name"', end)
    return found


def test_a_host_under_opentelemetry_instrument_tells_of_its_calls(
    tmp_path: Path, unique_slug: str, kafka: Broker
) -> None:
    """Nothing but the command line says so; the call is below the command, and no secret is in either."""
    script = tmp_path / "runtime-host"
    instrument = Path(COMMAND).with_name("opentelemetry-instrument")
    script.write_text(f'#!/bin/sh\nexec "{instrument}" "{COMMAND}" "$@"\n')
    script.chmod(0o755)
    only = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    machine = Machine(
        tmp_path,
        tenant=unique_slug,
        broker=kafka.bootstrap_servers,
        command=str(script),
        ONEX_SECRET_PASSWORD=PASSWORD,
        **only,
    )

    async def scenario() -> str:
        async with demo_server() as url:
            target = {"base_url": url, "auth": {"type": "basic", "username": "ada", "password": "${secret.PASSWORD}"}}
            machine.write({"greet": GREET}, handlers={"http": {"targets": {"greetings": target}}})
            host = machine.start()
            await asyncio.to_thread(host.until_ready)
            done = await asyncio.to_thread(machine.call, "send", "greet", "--payload", '{"name": "Ada"}')
            assert (done.returncode, done.stderr) == (0, "")
            assert host.child.stop() == 0
            return host.child.log.read_text()

    try:
        text = asyncio.run(scenario())
    finally:
        machine.close()
    call, attempt = spans(text)
    assert attempt["name"] == f"process onex.app.test.{unique_slug}.cmd.node.greet.v1"
    assert call["parent_id"] == attempt["context"]["span_id"]
    asked = {"onex.handler": "http", "onex.operation": "request", "onex.node": "greet", "onex.target": "greetings"}
    assert call["attributes"] == asked
    assert "Ada" not in json.dumps([call, attempt])
    assert PASSWORD not in text
