"""What `runtime-host check --live` adds: the statements of a host's nodes, held to the databases that they are for."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.yaml.document import Document, parse_document
from omnibase_core.errors import HandlerError, InvalidContracts, InvalidExpression, Problem
from omnibase_infra.handlers.db import DbTarget
from omnibase_infra.handlers.db.checks import WrittenStatement, statements_of
from omnibase_infra.host.loading import contracts_dir_of, documents_of_host
from omnibase_infra.host.settings import process_secrets
from omnibase_infra.secrets.current import resolved

_DB = "db"


def check_live(loaded: LoadedHost) -> int:
    """Prepare each statement at its database, run none, and count them. Raises InvalidContracts, HandlerError."""
    documents = {document.tree.get("name"): document for document in _documents(Path(loaded.path))}
    used = [it for it in loaded.nodes if it.handler_type == _DB]
    found = [statement for node in used for statement in _statements(node, documents[node.contract.name])]
    problems = asyncio.run(_problems(loaded, found))
    if problems:
        raise InvalidContracts(problems)
    return len(found)


@dataclass(frozen=True, slots=True)
class _Found:
    """A statement of a node, and where its request is written."""

    target: str
    document: Document
    operation: str
    written: WrittenStatement

    def problem(self, message: str) -> Problem:
        at = ("operations", self.operation, "request", *self.written.at)
        return self.document.problem_within(
            at, InvalidExpression(message, text=self.written.text), message, code="bad-request"
        )


def _documents(host_path: Path) -> Iterator[Document]:
    for document in documents_of_host(host_path, contracts_dir_of(host_path)).documents:
        yield parse_document(str(document.path), document.text)


def _statements(node: CompiledNode, document: Document) -> Iterator[_Found]:
    for name, operation in node.contract.operations.items():
        for written in statements_of(operation.request):
            yield _Found(node.contract.target or "", document, name, written)


async def _problems(loaded: LoadedHost, found: Iterable[_Found]) -> list[Problem]:
    from omnibase_infra.handlers.db.live_checks import live_faults  # psycopg is for those who ask for it

    problems: list[Problem] = []
    by_target: dict[str, list[_Found]] = {}
    for it in found:
        by_target.setdefault(it.target, []).append(it)
    for name, there in by_target.items():
        target = resolved(loaded.settings.targets[_DB][name], process_secrets(loaded.contract.secrets))
        assert isinstance(target, DbTarget)  # noqa: S101 - narrows the type; the registry validated it
        places = {id(it.written): it for it in there}
        try:
            faults = await live_faults(name, target, [it.written for it in there])
        except HandlerError as error:
            raise HandlerError(error.code, f"check --live cannot ask the database: {error}") from error
        problems += [places[id(written)].problem(message) for written, message in faults]
    return problems
