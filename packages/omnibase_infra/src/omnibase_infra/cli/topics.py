"""`runtime-host topics`: the topics and the group of a host, without starting anything."""

from pathlib import Path

import click

from omnibase_infra.host.loading import load_host


@click.command()
@click.argument("host", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--contracts", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the nodes.")
def topics(host: Path, contracts: Path | None) -> None:
    """Print the names of a host's topics, and of its group.

    \b
    Example:
      runtime-host topics contracts/hosts/demo.yaml
    """
    loaded = load_host(host, contracts)
    for name in loaded.topics:
        click.echo(name)
    click.echo(f"consumer group: {loaded.contract.namespace.group(loaded.contract.pool)}", err=True)
