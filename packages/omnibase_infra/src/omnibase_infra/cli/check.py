"""`runtime-host check`: what is wrong with contracts, without starting anything."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.ports import ContractDocument
from omnibase_infra.cli.contract_tests import documents_at
from omnibase_infra.cli.live_checks import check_live
from omnibase_infra.cli.problems import FORMATS, Format, report, summary, terminal_width
from omnibase_infra.host.contract_files import ContractFiles, find_with_tests, is_test
from omnibase_infra.host.loading import contracts_dir_of, documents_of_host, is_host, registry_of


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--format", "form", default="text", type=click.Choice(FORMATS), help="Output format of the problems.")
@click.option(
    "--live", is_flag=True, help="Also prepare each SQL statement at its database (host contracts only; executes none)."
)
def check(paths: tuple[Path, ...], form: Format, *, live: bool) -> None:
    """Load contracts; tell each problem, and what to write instead.

    A host contract is checked together with the nodes of its folder, tests of contracts with their nodes. `github` are
    workflow commands, shown in pull requests; `sarif` is for code scanning. Exit status: 0 no problem, 1 problems, 2
    wrong usage.

    \b
    Example:
      runtime-host check contracts/
    """
    try:
        with _no_collection():
            registry = _checked(paths)
        hosts = [found for path in paths if path.is_file() and (found := registry.host_at(path)) is not None]
        if live and not hosts:
            raise click.UsageError("--live needs the file of a host contract: a folder's hosts may be for other places")
        looked_at = sum(map(check_live, hosts), Counter[str]()) if live else None
    except InvalidContracts as error:
        click.echo(report(error.problems, form, width=terminal_width()))
        click.echo(f"\n{summary(error.problems)}", err=True)
        raise SystemExit(1) from error
    if form == "text":
        cases = sum(len(tests.cases) for tests, _ in registry.tests)
        tested = f"tests: {cases}, " if cases else ""
        handlers = f"handlers: {len(registry.handlers)}, " if registry.handlers else ""
        click.echo(f"nodes: {len(registry.nodes)}, hosts: {len(registry.hosts)}, {handlers}{tested}problems: 0")
        if unread := _nodes_with_unread_functions(registry):
            shown = ", ".join([*unread[:3], *(["..."] if unread[3:] else [])])
            click.echo(f"functions that were not checked, since no host here lists their nodes: those of {shown}")
        if looked_at is not None:
            click.echo(_looked_at(looked_at))
    elif form != "github":
        click.echo(report((), form, width=terminal_width()))


def _looked_at(counts: Counter[str]) -> str:
    if not counts:
        return "nothing to check live: no handler of these nodes looks at its server"
    return "\n".join(f"{counted}: {count}" for counted, count in counts.items())


def _nodes_with_unread_functions(registry: FileRegistry) -> Sequence[str]:
    """Return the nodes whose functions were not looked at: it is a host that says which packages may be imported."""
    listed = {node.contract.name for host in registry.hosts.values() for node in host.nodes}
    contracts = [it.contract for it in registry.nodes.values()]
    with_functions = {it.name for it in contracts if any(operation.logic for operation in it.operations.values())}
    return sorted(with_functions - listed)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Many contracts make no garbage in circles, and looking for it took a quarter of the time.

    Frozen, they are not looked through afterwards either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _checked(paths: Iterable[Path]) -> FileRegistry:
    """Load what is at the paths, each file once. Raises InvalidContracts."""
    documents: dict[Path, ContractDocument] = {}
    unreadable: list[Problem] = []
    for path in paths:
        found = _found_at(path)
        unreadable.extend(found.problems)
        for document in found.documents:
            documents.setdefault(Path(document.path).resolve(), document)
    return registry_of(documents.values(), unreadable)


def _found_at(path: Path) -> ContractFiles:
    found = find_with_tests(path)
    if path.is_file() and is_test(path):
        beside = find_with_tests(path.parent)
        return ContractFiles(list(documents_at(path, beside.documents)), found.problems)
    if path.is_file() and found.documents and is_host(found.documents[0]):
        return documents_of_host(path, contracts_dir_of(path))
    return found
