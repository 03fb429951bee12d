"""Loads contracts from files: a host with its nodes, or any documents, checked against this machine's handlers."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.errors import InvalidContracts, OnexError, Problem
from omnibase_core.ports import ContractDocument
from omnibase_infra.host.contract_files import ContractFiles, find_contracts
from omnibase_infra.host.plugins import catalog


class NotAHost(OnexError):
    """A file that was given as a host contract is none."""

    code = "not_a_host"


def contracts_dir_of(host_path: Path) -> Path:
    """Return the folder with a host's nodes: the one that holds `hosts/`, else the one that holds the file."""
    return contracts_dir_above(host_path.parent)


def contracts_dir_above(folder: Path) -> Path:
    """Return the folder of all contracts for one that may be its `hosts` or its `nodes`."""
    if folder.resolve().name not in ("hosts", "nodes"):
        return folder
    return folder.parent if folder.name else folder / ".."


def load_host(host_path: Path | str, contracts_dir: Path | None = None) -> LoadedHost:
    """Load a host and its nodes, by default those of the folder that the host contract is in, or is in `hosts` of.

    Raises InvalidContracts with every problem of every contract in the folder, and NotAHost.
    """
    host_path = Path(host_path)
    found = documents_of_host(host_path, contracts_dir or contracts_dir_of(host_path))
    loaded = registry_of(found.documents, found.problems).host_at(host_path)
    if loaded is None:
        raise NotAHost(f"{host_path} is a node contract; expected a host contract (contract: host/v1)")
    return loaded


def documents_of_host(host_path: Path, contracts_dir: Path) -> ContractFiles:
    """Read the host's own file and every node of the folder; other hosts and handler contracts do not concern it."""
    own, rest = find_contracts(host_path), find_contracts(contracts_dir)
    nodes = (
        it
        for it in rest.documents
        if _language(it) not in ("host", "handler") and Path(it.path).resolve() != host_path.resolve()
    )
    return ContractFiles([*own.documents, *nodes], [*own.problems, *rest.problems])


_CONTRACT = re.compile(r"^contract:[ ]+[\"']?(\w+)", re.MULTILINE)


def is_host(document: ContractDocument) -> bool:
    """Return whether a document calls itself a host contract."""
    return _language(document) == "host"


def _language(document: ContractDocument) -> str:
    """Return what a document calls itself: `host` for `contract: host/v1`."""
    # What stands at the start of a line can be nothing else. To parse each file twice would take as long again.
    if match := _CONTRACT.search(document.text):
        return match[1]
    tree = parse_document(str(document.path), document.text).tree
    return str(tree.get("contract", "")).partition("/")[0]


def registry_of(documents: Iterable[ContractDocument], unreadable: Sequence[Problem] = ()) -> FileRegistry:
    """Check documents against each other and against this machine's handlers.

    Raises InvalidContracts, which tells of what could not be read too: that hides no other problem.
    """
    found = list(documents)
    try:
        registry = FileRegistry(PurePath(), lambda _: found, catalog())
    except InvalidContracts as error:
        raise InvalidContracts([*unreadable, *error.problems]) from error
    if unreadable:
        raise InvalidContracts(unreadable)
    return registry
