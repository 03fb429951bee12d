"""What verbs are given: a host with its nodes, every contract of a folder, or a JSON object."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from omnibase_core.codec import is_json
from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_infra.cli.completion import complete_hosts
from omnibase_infra.host.contract_files import read_contracts
from omnibase_infra.host.loading import is_host, load_host, registry_of

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_FOLDER = Path("contracts")


def object_of(option: str, written: str) -> dict[str, Any]:
    """Read an object from where it is (`{...}`, `@FILE` or `-`). Raises UsageError for anything else."""
    try:
        if written.startswith("@"):
            written = Path(written[1:]).read_text(encoding="utf-8")
        elif written == "-":
            written = sys.stdin.buffer.read().decode()
        document = json.loads(written)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{option}: {error}") from error
    except RecursionError as error:
        raise click.UsageError(f"{option}: objects and lists are nested too deeply") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"{option}: found {type(document).__name__}, expected an object such as '{{\"a\": 1}}'")
    if not is_json(document):
        found = "found a number that is infinite or none (NaN), or half of a character"
        raise click.UsageError(f"{option}: {found}; expected a JSON value, such as null")
    return document


def check_depth(option: str, document: dict[str, Any], *, depth_max: int) -> None:
    """Check how deep objects and lists are nested. Raises UsageError for what no host would serve."""
    depth = 0
    level: list[Any] = [document]
    while level:
        depth += 1
        if depth > depth_max:
            found = f"found objects and lists that are nested more than {depth_max} deep"
            raise click.UsageError(f"{option}: {found}; a host rejects deeper ones (limits.depth_max)")
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]


def _children(parent: Any) -> Iterable[Any]:
    return parent.values() if isinstance(parent, dict) else parent


@dataclass(frozen=True, slots=True)
class ContractSources:
    """Contracts that passed every check."""

    nodes: Sequence[CompiledNode]
    hosts: Sequence[LoadedHost]
    handlers: Mapping[str, Path] = field(default_factory=dict)
    """The files of handler contracts, by the type of handler."""


def sources_at(path: Path | None) -> ContractSources:
    """Load the host with its nodes, the one node, or all that is below the folder; by default ./contracts.

    Raises InvalidContracts with every problem.
    """
    if path is None and not DEFAULT_FOLDER.is_dir():
        raise click.UsageError("there is no folder ./contracts here; name a host contract or a folder")
    path = path or DEFAULT_FOLDER
    found = list(read_contracts(path))
    if path.is_file() and is_host(found[0]):
        loaded = load_host(path, None)
        return ContractSources(loaded.nodes, (loaded,))
    registry = registry_of(found)
    handlers = {name: Path(document.path) for name, document in registry.handlers.items()}
    return ContractSources(tuple(registry.nodes.values()), tuple(registry.hosts.values()), handlers)


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
