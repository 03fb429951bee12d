"""What the verbs that show contracts are about: a host with its nodes, or every contract of a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from omnibase_core.contracts.compiled import CompiledNode
from omnibase_core.loaded import LoadedHost
from omnibase_infra.cli.completion import complete_hosts
from omnibase_infra.files import read_contracts
from omnibase_infra.loading import is_host, load_host, registry_of

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_FOLDER = Path("contracts")


@dataclass(frozen=True, slots=True)
class Sources:
    """Contracts that passed every check."""

    nodes: Sequence[CompiledNode]
    hosts: Sequence[LoadedHost]


def sources_at(path: Path | None) -> Sources:
    """Load the host with its nodes, the one node, or all that is below the folder; by default ./contracts.

    Raises InvalidContracts with every problem.
    """
    if path is None and not DEFAULT_FOLDER.is_dir():
        raise click.UsageError("there is no folder ./contracts here; name a host contract or a folder")
    path = path or DEFAULT_FOLDER
    found = list(read_contracts(path))
    if path.is_file() and is_host(found[0]):
        loaded = load_host(path, None)
        return Sources(loaded.nodes, (loaded,))
    registry = registry_of(found)
    return Sources(tuple(registry.nodes.values()), tuple(registry.hosts.values()))


def hosts_at(path: Path | None) -> Sequence[LoadedHost]:
    """Load the hosts that are there. Raises UsageError where there is none."""
    hosts = sources_at(path).hosts
    if not hosts:
        raise click.UsageError("there is no host contract here; make one with: runtime-host new host NAME")
    return hosts


def sources_argument(name: str) -> Callable[[Command], Command]:
    """Add the argument: a host contract or a folder."""
    kind = click.Path(exists=True, path_type=Path)
    return click.argument(name, required=False, type=kind, shell_complete=complete_hosts)
