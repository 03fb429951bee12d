"""Finds and loads the contracts that a verb is about."""

from collections.abc import Iterable
from pathlib import Path, PurePath

from omnibase_core.contracts.document import parse_document
from omnibase_core.errors import OnexError
from omnibase_core.ports import ContractDocument
from omnibase_core.registry import FileRegistry, LoadedHost
from omnibase_infra.files import read_contracts
from omnibase_infra.wiring import catalog


class NotAHost(OnexError):
    """A file that was given as a host contract is none."""

    code = "not_a_host"


def contracts_dir_of(host_path: Path) -> Path:
    """Give the folder with a host's nodes: the one that holds `hosts/`, else the one that holds the file."""
    return contracts_dir_above(host_path.parent)


def contracts_dir_above(folder: Path) -> Path:
    """Give the folder of all contracts for one that may be its `hosts` or its `nodes`."""
    if folder.resolve().name not in ("hosts", "nodes"):
        return folder
    return folder.parent if folder.name else folder / ".."


def load_host(host_path: Path, contracts_dir: Path | None) -> LoadedHost:
    """Load a host and its nodes. Raises InvalidContracts with every problem of every contract in the folder."""
    documents = documents_of_host(host_path, contracts_dir or contracts_dir_of(host_path))
    loaded = registry_of(documents).host_at(host_path)
    if loaded is None:
        raise NotAHost(f"{host_path} is a node contract; expected a host contract (contract: host/v1)")
    return loaded


def documents_of_host(host_path: Path, contracts_dir: Path) -> list[ContractDocument]:
    """Read the host's own file and every node of the folder; other hosts are not this one's affair."""
    own = list(read_contracts(host_path))
    rest = [it for it in read_contracts(contracts_dir) if not is_host(it)]
    return [*own, *(it for it in rest if Path(it.path).resolve() != host_path.resolve())]


def is_host(document: ContractDocument) -> bool:
    """Say whether a document calls itself a host contract."""
    tree = parse_document(str(document.path), document.text).tree
    return str(tree.get("contract", "")).startswith("host/")


def registry_of(documents: Iterable[ContractDocument]) -> FileRegistry:
    """Check documents against each other and against this machine's handlers. Raises InvalidContracts."""
    found = list(documents)
    return FileRegistry(PurePath(), lambda _: found, catalog())
