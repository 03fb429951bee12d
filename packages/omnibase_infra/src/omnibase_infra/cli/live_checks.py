"""What `runtime-host check --live` adds: what a host's nodes ask is held to the servers that they ask it of.

Which handlers look there, and how, is said by their descriptions.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.yaml.document import Document, parse_document
from omnibase_core.errors import HandlerError, InvalidContracts, Problem
from omnibase_core.ports import HandlerDescription, LiveCheck, LiveFault
from omnibase_infra.host.loading import contracts_dir_of, documents_of_host
from omnibase_infra.host.plugins import catalog
from omnibase_infra.host.settings import process_secrets
from omnibase_infra.secrets.current import resolved


@dataclass(frozen=True, slots=True)
class _Request:
    """A request of a node, and where it is written."""

    document: Document
    operation: str
    written: object

    def problem(self, fault: LiveFault) -> Problem:
        at = ("operations", self.operation, "request", *fault.at)
        return self.document.problem_within(at, fault.error, str(fault.error), code="bad-request")


def check_live(loaded: LoadedHost) -> Counter[str]:
    """Keep requests to their servers, do none, and count what was looked at, by what it is called.

    Raises InvalidContracts, HandlerError.
    """
    requests = _requests(loaded, catalog().handlers)
    return asyncio.run(_checked(loaded, requests))


async def _checked(loaded: LoadedHost, requests: Mapping["_Place", Sequence[_Request]]) -> Counter[str]:
    problems: list[Problem] = []
    counts: Counter[str] = Counter()
    secrets = process_secrets(loaded.contract.secrets)
    for place, there in requests.items():
        target = resolved(loaded.settings.targets[place.handler_type][place.target], secrets)
        try:
            report = await place.live.check(place.target, target, [it.written for it in there])
        except HandlerError as error:
            raise HandlerError(error.code, f"check --live {error}") from error
        counts[place.live.counted] += report.count
        problems += [there[fault.request].problem(fault) for fault in report.faults]
    if problems:
        raise InvalidContracts(problems)
    return counts


@dataclass(frozen=True, slots=True)
class _Place:
    """A target, and the handler's way to look there."""

    handler_type: str
    target: str
    live: LiveCheck


def _requests(loaded: LoadedHost, handlers: Mapping[str, HandlerDescription]) -> Mapping[_Place, Sequence[_Request]]:
    """Collect what the host's nodes ask of each target that can be looked at."""
    documents = {document.tree.get("name"): document for document in _documents(Path(loaded.path))}
    requests: dict[_Place, list[_Request]] = {}
    for node in loaded.nodes:
        description, target = handlers.get(node.handler_type), node.contract.target
        if description is None or description.live is None or target is None:
            continue
        there = requests.setdefault(_Place(node.handler_type, target, description.live), [])
        document = documents[node.contract.name]
        there += [_Request(document, name, it.request) for name, it in node.contract.operations.items()]
    return requests


def _documents(host_path: Path) -> Iterator[Document]:
    for document in documents_of_host(host_path, contracts_dir_of(host_path)).documents:
        yield parse_document(str(document.path), document.text)
