"""`runtime-host graph`: hosts, nodes, handlers and topics as a picture."""

from pathlib import Path

import click

from omnibase_infra.authoring.mermaid import mermaid
from omnibase_infra.authoring.svg import drawing
from omnibase_infra.authoring.topology import landscape
from omnibase_infra.cli.inputs import hosts_at, sources_argument

_FORMATS = {"svg": drawing, "mermaid": mermaid}


@click.command()
@sources_argument("host")
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), default="svg", show_default=True)
def graph(host: Path | None, form: str) -> None:
    """Draw who talks to whom, as SVG or as Mermaid.

    Topics, nodes, handlers and their targets, a line for each node. HOST is a host contract, or a folder with several;
    by default ./contracts.

    \b
    Example:
      runtime-host graph contracts/hosts/demo.yaml > demo.svg
    """
    click.echo(_FORMATS[form](landscape(hosts_at(host))))
