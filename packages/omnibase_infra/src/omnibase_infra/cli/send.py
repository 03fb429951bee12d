"""`runtime-host send`: one command to a node, and its answer."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from omnibase_core.codec import encode
from omnibase_core.contracts.document import nearest
from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.errors import OnexError
from omnibase_core.registry import LoadedHost
from omnibase_infra.cli.contracts import load_host
from omnibase_infra.cli.run import with_broker
from omnibase_infra.kafka import KafkaCaller, KafkaSettings
from omnibase_infra.settings import process_secrets, process_settings, resolved
from omnibase_infra.state import find_host, running_hosts

NO_ANSWER = 3


class NodeNotServed(OnexError):
    """The host has no such node."""

    code = "node_not_served"


@click.command()
@click.argument("node")
@click.option("--host", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Host contract to go by.")
@click.option("--operation", help="Needed where the node has more than one.")
@click.option("--payload", default="{}", metavar="JSON|@FILE|-", help="The payload, an object; - reads it from stdin.")
@click.option("--key", help="Kafka key: commands of one key are served in order.")
@click.option("--timeout", "timeout_s", default=10.0, type=click.FloatRange(min=0.1), help="Seconds to wait for.")
@click.option("--broker", metavar="ADDRESS", help="Address of Kafka; else that of the host contract.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as one line of JSON.")
def send(
    node: str,
    *,
    host: Path | None,
    operation: str | None,
    payload: str,
    key: str | None,
    timeout_s: float,
    broker: str | None,
    as_json: bool,
) -> None:
    """Send a command to NODE, wait for its answer and print its payload.

    Topics and the broker come from --host, or else from a host that runs on this machine. Exit status 1: the answer is
    an error (on stderr). 3: no answer in time.

    \b
    Example:
      runtime-host send echo --payload '{"text": "hello"}'
    """
    document = _parsed(payload)
    loaded = _host(node, host, broker)
    answer = _call(loaded, node, _command(node, operation, document), key=key, timeout_s=timeout_s)
    if answer is None:
        click.echo(f"error: no answer from {node!r} within {timeout_s:g} s", err=True)
        raise SystemExit(NO_ANSWER)
    if as_json:
        click.echo(encode(answer).decode())
    elif answer.error is None:
        click.echo(json.dumps(answer.payload, indent=2, ensure_ascii=False))
    if answer.error is not None:
        click.echo(f"error: {answer.error.code}: {answer.error.message}", err=True)
        raise SystemExit(1)


def _parsed(payload: str) -> dict[str, Any]:
    """Read the payload from where it is. Raises UsageError for anything but an object."""
    try:
        if payload.startswith("@"):
            payload = Path(payload[1:]).read_text(encoding="utf-8")
        elif payload == "-":
            payload = sys.stdin.buffer.read().decode()
        document = json.loads(payload)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--payload: {error}") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"--payload: found {type(document).__name__}, expected an object such as '{{\"a\": 1}}'")
    return document


def _host(node: str, host: Path | None, broker: str | None) -> LoadedHost:
    """Load the host contract that was named, or that of a host which runs here and serves the node."""
    running = running_hosts(process_settings().state_dir)
    if host is None:
        state = find_host(running, node)
        loaded = load_host(Path(state.contract_path), Path(state.contracts_dir))
        return with_broker(loaded, broker or state.bootstrap_servers)
    loaded = with_broker(load_host(host, None), broker)
    if _bus(loaded).embedded:
        # The contract does not know where the embedded broker is; the running host does.
        state = find_host([it for it in running if it.host == loaded.contract.name], node)
        return with_broker(loaded, state.bootstrap_servers)
    return loaded


def _bus(loaded: LoadedHost) -> KafkaSettings:
    settings = resolved(loaded.settings.bus, process_secrets())
    assert isinstance(settings, KafkaSettings)  # noqa: S101 - narrows the type; the registry validated it
    return settings


def _command(node: str, operation: str | None, payload: dict[str, Any]) -> OnexEnvelope:
    identity = uuid4()
    return OnexEnvelope(
        envelope_version=ENVELOPE_VERSION,
        envelope_id=identity,
        correlation_id=identity,
        node_slug=node,
        operation=operation,
        payload=payload,
        timestamp=datetime.now(UTC),
    )


def _call(
    loaded: LoadedHost, node: str, command: OnexEnvelope, *, key: str | None, timeout_s: float
) -> OnexEnvelope | None:
    majors = {it.contract.name: it.contract.major for it in loaded.nodes}
    if node not in majors:
        near = nearest(node, majors)
        hint = f"did you mean {near!r}?" if near else f"it has: {', '.join(majors)}"
        raise NodeNotServed(f"host {loaded.contract.name!r} has no node {node!r}; {hint}")
    settings = _bus(loaded)
    names = loaded.contract.namespace
    with KafkaCaller(settings, address=settings.bootstrap_servers) as caller:
        return caller.call(
            command,
            command_topic=names.command(node, majors[node]),
            event_topic=names.event(node, majors[node]),
            key=None if key is None else key.encode(),
            timeout_s=timeout_s,
        )
