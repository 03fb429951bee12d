"""`runtime-host export`: contracts in the languages of other tools, and the contracts of handlers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from omnibase_core.contracts.yaml.document import suggestion
from omnibase_core.ports import HandlerDescription
from omnibase_infra.authoring.asyncapi import asyncapi
from omnibase_infra.authoring.handler_contracts import handler_contract_text
from omnibase_infra.cli.inputs import hosts_at, sources_argument
from omnibase_infra.host.plugins import catalog


@click.group()
def export() -> None:
    """Print hosts as AsyncAPI, or the contracts of handlers.

    \b
    Example:
      runtime-host export asyncapi contracts/hosts/demo.yaml > asyncapi.json
    """


@export.command(name="asyncapi")
@sources_argument("host")
def asyncapi_(host: Path | None) -> None:
    """Print an AsyncAPI 3.0 document, in JSON.

    It describes topics, commands, answers and errors with their schemas. HOST is a host contract, or a folder with
    several; by default ./contracts.

    \b
    Example:
      runtime-host export asyncapi contracts/hosts/demo.yaml > asyncapi.json
    """
    click.echo(json.dumps(asyncapi(hosts_at(host)), indent=2, ensure_ascii=False))


@export.command
@click.argument("types", metavar="[TYPE]...", nargs=-1)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write a file for each handler here.")
def handlers(types: tuple[str, ...], out: Path | None) -> None:
    """Print the contract of a handler, or write those of several.

    It describes the operations with their schemas, the codes of errors, settings and targets. Without TYPE, all
    installed handlers are written; printed is one.

    \b
    Examples:
      runtime-host export handlers http
      runtime-host export handlers --out contracts/handlers
    """
    described = _described(types)
    if out is None:
        if len(described) != 1:
            raise click.UsageError("name one handler to print, or a folder with --out, such as contracts/handlers")
        click.echo(handler_contract_text(described[0]), nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for handler in described:
        path = out / f"{handler.handler_type}.yaml"
        path.write_text(handler_contract_text(handler), encoding="utf-8")
    click.echo(f"handlers: {len(described)}, folder: {out}")


def _described(types: Sequence[str]) -> Sequence[HandlerDescription]:
    """Return the descriptions of handlers, of all where none is named. Raises UsageError for an unknown one."""
    known: Mapping[str, HandlerDescription] = catalog().handlers
    for name in types:
        if name not in known:
            hint, _ = suggestion(name, known)
            raise click.UsageError(f"there is no handler {name!r}; {hint}")
    return [known[name] for name in dict.fromkeys(types or known)]
