"""`runtime-host send`: one command to a node, and its answer."""

import asyncio
import json
from pathlib import Path

import click

from omnibase_core.codec import encode
from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.envelope import OnexEnvelope
from omnibase_infra.cli.completion import complete_nodes
from omnibase_infra.cli.host_lookup import broker_option, bus_of, host_of, host_option, major_of
from omnibase_infra.cli.inputs import check_depth, object_of
from omnibase_infra.client import HostClient, NoAnswer, new_command

NO_ANSWER = 3
_CLIENT_ID = "runtime-host-send"


@click.command()
@click.argument("node", shell_complete=complete_nodes)
@host_option
@click.option("--operation", help="Operation; required if the node has more than one.")
@click.option("--payload", default="{}", metavar="JSON|@FILE|-", help="The payload, an object; - reads it from stdin.")
@click.option("--key", help="Kafka key; commands with the same key are served in order.")
@click.option(
    "--timeout", "timeout_s", default=10.0, type=click.FloatRange(min=0.1), help="Seconds to wait for the answer."
)
@broker_option
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
    """Send a command to NODE, and print the payload of its answer.

    Topics and the broker come from --host, or else from a host that runs on this machine. Exit status 1: the answer is
    an error (on stderr), or the command could not be sent. 3: no answer in time.

    \b
    Example:
      runtime-host send echo --payload '{"text": "hello"}'
    """
    document = object_of("--payload", payload)
    loaded = host_of(node, host, broker)
    check_depth("--payload", document, depth_max=loaded.contract.limits.depth_max)
    command = new_command(node, operation, document)
    _check_text(command)
    try:
        answer = asyncio.run(_exchange(loaded, node, command, key=key, timeout_s=timeout_s))
    except NoAnswer as error:
        click.echo(f"error: {error}; the command expires if no host has started it", err=True)
        raise SystemExit(NO_ANSWER) from error
    if as_json:
        click.echo(encode(answer).decode())
    elif answer.error is None:
        click.echo(_readable(answer))
    if answer.error is not None:
        click.echo(f"error: {answer.error.code}: {answer.error.message}", err=True)
        raise SystemExit(1)


def _check_text(command: OnexEnvelope) -> None:
    try:
        encode(command)
    except ValueError as error:  # Bytes on the command line that are not UTF-8, for instance.
        raise click.UsageError(f"the command cannot be written as JSON: {error}") from error


def _readable(answer: OnexEnvelope) -> str:
    try:
        return json.dumps(answer.payload, indent=2, ensure_ascii=False)
    except RecursionError:  # It is nested so deep that nobody reads it by its indentation.
        return encode(answer).decode()


async def _exchange(
    loaded: LoadedHost, node: str, command: OnexEnvelope, *, key: str | None, timeout_s: float
) -> OnexEnvelope:
    major = major_of(loaded, node)
    names = loaded.contract.namespace
    bus = bus_of(loaded)
    async with HostClient(bus, environment=names.environment, tenant=names.tenant, name=_CLIENT_ID) as client:
        # Bytes that are not UTF-8 are in the text as they came: they are sent as they are.
        raw_key = None if key is None else key.encode(errors="surrogateescape")
        return await client.exchange(command, key=raw_key, major=major, timeout_s=timeout_s)
