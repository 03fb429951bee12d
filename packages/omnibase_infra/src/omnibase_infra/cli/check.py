"""`runtime-host check` and `runtime-host topics`: what contracts say, without starting anything."""

from pathlib import Path

import click

from omnibase_core.errors import InvalidContracts
from omnibase_core.ports import ContractDocument
from omnibase_infra.cli.contracts import contracts_dir_of, documents_of_host, is_host, load_host, registry_of
from omnibase_infra.cli.live import check_live
from omnibase_infra.cli.rehearsals import documents_at
from omnibase_infra.files import is_test, read_with_tests


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--live", is_flag=True, help="Prepare each statement at its database too (host contracts; runs none).")
def check(paths: tuple[Path, ...], *, live: bool) -> None:
    """Load contracts and print every problem as file:line:column.

    A host contract is checked together with the nodes of its folder, tests of contracts with their nodes.

    \b
    Example:
      runtime-host check contracts/
    """
    documents: dict[Path, ContractDocument] = {}
    try:
        for path in paths:
            for document in _documents_at(path):
                documents.setdefault(Path(document.path).resolve(), document)
        registry = registry_of(documents.values())
        # Only the hosts that are named: a folder's others may be for other places.
        prepared = (
            sum(check_live(path) for path in paths if path.is_file() and is_host(documents[path.resolve()]))
            if live
            else None
        )
    except InvalidContracts as error:
        for problem in error.problems:
            click.echo(str(problem))
        click.echo(f"\nproblems: {len(error.problems)}", err=True)
        raise SystemExit(1) from error
    cases = sum(len(tests.cases) for tests, _ in registry.tests)
    tested = f"tests: {cases}, " if cases else ""
    click.echo(f"nodes: {len(registry.nodes)}, hosts: {len(registry.hosts)}, {tested}problems: 0")
    if live:
        click.echo(f"statements prepared at their databases: {prepared}")


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


def _documents_at(path: Path) -> list[ContractDocument]:
    if is_test(path) and path.is_file():
        return list(documents_at(path, list(read_with_tests(path.parent))))
    found = list(read_with_tests(path))
    if path.is_file() and is_host(found[0]):
        return documents_of_host(path, contracts_dir_of(path))
    return found
