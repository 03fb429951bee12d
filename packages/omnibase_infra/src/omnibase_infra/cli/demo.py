"""`runtime-host demo`: the example nodes on the embedded broker, one command to each."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import click

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.envelope import OnexEnvelope
from omnibase_infra.cli.run import stop_on_signals
from omnibase_infra.client import HostClient, NoAnswer, new_command
from omnibase_infra.demo.server import demo_server
from omnibase_infra.host.loading import load_host
from omnibase_infra.host.settings import process_secrets, process_settings

if TYPE_CHECKING:
    from omnibase_infra.host.process import RuntimeHostProcess

_ANSWER_S = 20.0
_WIDTH = 80


@click.command()
@click.option("--once", is_flag=True, help="Stop after one command to each operation.")
def demo(*, once: bool) -> None:
    """Run the example nodes on a broker inside this process.

    Sends one command to each operation of each node, shows the answers, and stays up until Ctrl-C.

    \b
    Example:
      runtime-host demo --once
    """
    with as_file(files("omnibase_infra.demo") / "contracts") as contracts:
        all_answered = asyncio.run(_demo(contracts, once=once))
    if not all_answered:
        raise SystemExit(1)


async def _demo(contracts: Path, *, once: bool) -> bool:
    from omnibase_infra.host.process import RuntimeHostProcess

    stop = stop_on_signals()
    loaded = load_host(contracts / "hosts" / "demo.yaml", contracts)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(demo_server())
        for target in ("greetings", "site"):
            loaded = loaded.with_target("http", target, base_url=url)
        # What the host logs in the normal course of things would bury what the demo shows.
        settings = replace(process_settings(), log_level="error")
        process = RuntimeHostProcess(
            loaded, settings=settings, secrets=process_secrets(loaded.contract.secrets), contracts_dir=contracts
        )
        host = await stack.enter_async_context(process)
        _introduce(loaded, host)
        await host.until_ready()
        all_answered = await _call_each(loaded, host.bus.address)
        if not once:
            _invite(host)
            await host.until(stop)
    return all_answered


def _introduce(loaded: LoadedHost, host: "RuntimeHostProcess") -> None:
    click.echo(f"host    {loaded.contract.name}: {len(loaded.nodes)} nodes in this process")
    click.echo(f"broker  {host.bus.address} (embedded: for trying out, nothing outlives it)")
    click.echo(f"health  {host.health_url}/health")
    click.echo("\nJoining the consumer group: the embedded broker takes three seconds.\n")


def _invite(host: "RuntimeHostProcess") -> None:
    click.echo("\nThe host stays up until Ctrl-C. In another terminal, try:")
    program = "runtime-host" if which("runtime-host") else sys.argv[0]
    click.echo(f'  {program} send echo --payload \'{{"text": "hello"}}\'')
    click.echo(f'  {program} send price-order \\\n    --payload \'{{"sku": "nut", "quantity": 0, "unit_cents": 5}}\'')
    click.echo(f"  curl -s {host.health_url}/health")


async def _call_each(loaded: LoadedHost, address: str) -> bool:
    """Send each operation the example of its own input schema; return whether all of them gave a result."""
    click.echo(f"{'node':<20} {'operation':<14} {'time':>8}  answer")
    names = loaded.contract.namespace
    answered = []
    async with HostClient(address, environment=names.environment, tenant=names.tenant) as client:
        for node, command in _examples(loaded):
            began_s = time.perf_counter()
            try:
                answer = await client.exchange(command, major=node.contract.major, timeout_s=_ANSWER_S)
            except NoAnswer:
                answer = None
            took_ms = (time.perf_counter() - began_s) * 1000
            click.echo(_row(command, took_ms, answer))
            answered.append(answer is not None and answer.error is None)
    click.echo(f"\n{sum(answered)} of {len(answered)} commands answered.")
    return all(answered)


def _examples(loaded: LoadedHost) -> Iterator[tuple[CompiledNode, OnexEnvelope]]:
    for node in loaded.nodes:
        for name, operation in node.operations.items():
            examples: Any = operation.input_schema.get("examples") or [{}]
            yield node, new_command(node.contract.name, name, examples[0])


def _row(command: OnexEnvelope, took_ms: float, answer: OnexEnvelope | None) -> str:
    if answer is None:
        said = "no answer"
    elif answer.error is not None:
        said = f"error {answer.error.code}: {answer.error.message}"
    else:
        said = json.dumps(answer.payload, ensure_ascii=False)
    row = f"{command.node_slug:<20} {command.operation:<14} {took_ms:>5.1f} ms  {said}"
    return row if len(row) <= _WIDTH else row[: _WIDTH - 3] + "..."
