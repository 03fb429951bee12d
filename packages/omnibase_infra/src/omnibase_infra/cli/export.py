"""`runtime-host export`: contracts in the languages of other tools."""

import json
from pathlib import Path

import click

from omnibase_infra.authoring.asyncapi import asyncapi
from omnibase_infra.cli.inputs import hosts_at, sources_argument


@click.group()
def export() -> None:
    """Print hosts in another language: AsyncAPI.

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
