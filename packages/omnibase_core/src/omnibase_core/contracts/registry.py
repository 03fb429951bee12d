"""FileRegistry: every contract below a folder, parsed, checked against each other and found by name.

The reading is injected: this module opens no file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from omnibase_core.contracts.catalog import Catalog, HostSettings, LoadedHost, core_catalog
from omnibase_core.contracts.checks.consistency import (
    faults_of_node,
    faults_of_secrets,
    faults_of_times,
    unused_bindings,
)
from omnibase_core.contracts.checks.handler import faults_of_handler
from omnibase_core.contracts.checks.host import NodesOfHost, SettingsOfHost, misfits, untold
from omnibase_core.contracts.checks.tests import faults_of_cases
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.compiler.compiler import compile_node
from omnibase_core.contracts.compiler.unevaluated_expressions import unread
from omnibase_core.contracts.compiler.watches import Watches
from omnibase_core.contracts.handler import HandlerContract
from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.contracts.node import ContractModel, NodeContract, NodeKind
from omnibase_core.contracts.tests import NodeTests
from omnibase_core.contracts.validation import as_meant, problems_of, without_faults
from omnibase_core.contracts.yaml.document import Document, parse_document, suggestion
from omnibase_core.errors import InvalidContracts, Problem, UnknownNode
from omnibase_core.ports import ContractReader

_NAME = re.compile(r"[\"']?name[\"']?:[ ]+[\"']?([a-z0-9-]+)", re.ASCII)
_UNNAMED = "unnamed"
_VERSIONS: Mapping[str, type[ContractModel]] = {
    "node/v1": NodeContract,
    "host/v1": RuntimeHostContract,
    "handler/v1": HandlerContract,
    "test/v1": NodeTests,
}

_SALVAGES_MAX = 3
"""What was refused may leave a gap that is refused in its turn."""


class FileRegistry:
    """Contracts by name. Constructing it reads everything and raises InvalidContracts once, with every problem."""

    def __init__(self, contracts_dir: PurePath, read: ContractReader, catalog: Catalog | None = None) -> None:
        """Read every contract document below the folder (or the one document) through `read`.

        `catalog` is what contracts may refer to; by default core's own handlers.
        """
        loader = _Loader(catalog or core_catalog())
        for document in read(contracts_dir):
            loader.add(parse_document(str(document.path), document.text))
        loader.resolve()
        if loader.problems:
            raise InvalidContracts(loader.problems)
        self.nodes: Mapping[str, CompiledNode] = {name: node for name, (node, _) in loader.nodes.items()}
        self.documents: Mapping[str, Document] = {name: document for name, (_, document) in loader.nodes.items()}
        """What each node was read from."""
        self.hosts: Mapping[str, LoadedHost] = loader.loaded
        self.handlers: Mapping[str, Document] = {name: document for name, (_, document) in loader.handlers.items()}
        """What each handler contract was read from."""
        self.tests: Sequence[tuple[NodeTests, Document]] = loader.tests

    def load_all(self) -> Mapping[str, CompiledNode]:
        """Return every node by its name."""
        return self.nodes

    def get(self, slug: str) -> CompiledNode:
        """Return a node by its name. Raises UnknownNode, which names the nearest."""
        if slug not in self.nodes:
            hint, _ = suggestion(slug, self.nodes)
            raise UnknownNode(f"there is no node {slug!r}; {hint}")
        return self.nodes[slug]

    def host_at(self, path: PurePath) -> LoadedHost | None:
        """Find the host contract that was read from a file."""
        return next((host for host in self.hosts.values() if PurePath(host.path) == path), None)


@dataclass
class _Loader:
    """Takes documents one by one, then looks across them."""

    catalog: Catalog
    nodes: dict[str, tuple[CompiledNode, Document]] = field(default_factory=dict)
    hosts: dict[str, tuple[RuntimeHostContract, Document]] = field(default_factory=dict)
    handlers: dict[str, tuple[HandlerContract, Document]] = field(default_factory=dict)
    loaded: dict[str, LoadedHost] = field(default_factory=dict)
    tests: list[tuple[NodeTests, Document]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    salvaged: list[tuple[RuntimeHostContract, Document]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, document: Document) -> None:
        """Validate one document and file it under its name."""
        document = _with_unread(document)
        self.problems.extend(document.problems)
        if not document.tree and document.problems:
            # Its name is guessed: that a host lists what cannot be read is no second fault.
            names = [match[1] for match in map(_NAME.match, document.lines) if match]
            self.broken.update([PurePath(document.path).stem, *names[:1]])
            return
        model = self._model(document)
        if model is None:
            self.broken.add(str(document.tree.get("name")))
            return
        try:
            contract = model.model_validate(document.tree)
        except ValidationError as error:
            self._salvage(document, model, error)
            return
        if isinstance(contract, NodeContract):
            node = self._compiled(contract, document)
            self._file(contract.name, (node, document), self.nodes)
        elif isinstance(contract, RuntimeHostContract):
            self.problems.extend(faults_of_times(contract, document))
            self._file(contract.name, (contract, document), self.hosts)
        elif isinstance(contract, HandlerContract):
            self.problems.extend(faults_of_handler(contract, document, self.catalog))
            self._file(contract.name, (contract, document), self.handlers)
        elif isinstance(contract, NodeTests):
            self.tests.append((contract, document))

    def _compiled(self, contract: NodeContract, document: Document) -> CompiledNode:
        node, faults = compile_node(contract, document, self.catalog.handlers)
        description = self.catalog.handlers.get(node.handler_type)
        inline = description is not None and description.inline
        faults = [*faults, *faults_of_node(contract, document, inline=inline)]
        self.problems.extend(untold(faults, document))
        return node

    def _salvage(self, document: Document, model: type[ContractModel], error: ValidationError) -> None:
        """Report what the model refused, and what is wrong in the rest: nobody has to check twice to see it all."""
        told = problems_of(document, error, model=model)
        while (meant := as_meant(document, error, model=model)) is not document:
            document = meant
            if (again := _refused(document.tree, model)) is None:
                break
            error = again
            told += [it for it in problems_of(document, error, model=model) if it not in told]
        self.problems.extend(told)
        # A faulty contract still has its name: that a host lists it is no second fault.
        self.broken.add(str(document.tree.get("name")))
        if model is NodeTests:
            if (tests := _remaining(document.tree, error)) is not None:
                self.tests.append((tests, document))
            return
        if model is HandlerContract:
            return
        contract = _completed(without_faults(document.tree, error), model)
        known = {(problem.line, problem.column) for problem in told} | {(1, 1)}
        before = len(self.problems)
        if isinstance(contract, NodeContract):
            self._compiled(contract, document)
        elif isinstance(contract, RuntimeHostContract):
            self.problems.extend(faults_of_times(contract, document))
            self.salvaged.append((contract, document))
            self.broken.add(_UNNAMED)
        self.problems[before:] = [it for it in self.problems[before:] if (it.line, it.column) not in known]

    def _model(self, document: Document) -> type[ContractModel] | None:
        found = document.tree.get("contract")
        if isinstance(found, str) and found in _VERSIONS:
            return _VERSIONS[found]
        is_test = PurePath(document.path).stem.endswith(".test")
        if found is None:
            missing = f"missing key 'contract': write contract: {'test/v1' if is_test else 'node/v1 or host/v1'}"
            self.problems.append(document.problem((), missing, code="not-a-contract"))
            return None
        versions = "'test/v1'" if is_test else "'node/v1' or 'host/v1'"
        hint, near = suggestion(str(found), _VERSIONS, otherwise=f"expected {versions}")
        unknown = f"contract {found!r} is not known; {hint}"
        self.problems.append(document.problem(("contract",), unknown, code="not-a-contract", nearest=near))
        return None

    def _file(self, name: str, entry: Any, shelf: dict[str, Any]) -> None:
        document: Document = entry[1]
        if name in shelf:
            other: Document = shelf[name][1]
            first = f"{other.path}:{other.place(('name',)).line}"
            taken = f"the name {name!r} is taken by {first}"
            self.problems.append(document.problem(("name",), taken, code="name-taken"))
            return
        shelf[name] = entry

    def resolve(self) -> None:
        """Look across the documents: what each host refers to has to be there and be bound."""
        for name, (contract, document) in self.hosts.items():
            settings = self._settings_of(contract, document)
            self.problems.extend(self._watches_of(contract, document).problems())
            self.problems.extend(faults_of_secrets(contract, document))
            nodes = tuple(self.nodes[node][0] for node in contract.nodes if node in self.nodes)
            if len(nodes) == len(contract.nodes):
                # What a node that is not there, or is faulty, would use is not known.
                self.problems.extend(unused_bindings(contract, document, nodes, self.catalog.handlers))
            if settings is not None:
                watches = self._watches_of(contract, document).compiled()
                self.loaded[name] = LoadedHost(contract, settings, nodes, document.path, watches)
        self.problems.extend(self._faults_of_pools())
        for contract, document in self.salvaged:
            self._settings_of(contract, document)
        for tests, document in self.tests:
            told = {(problem.line, problem.column) for problem in self.problems if problem.path == document.path}
            faults = self._faults_of_tests(tests, document)
            self.problems.extend(fault for fault in faults if (fault.line, fault.column) not in told)

    def _settings_of(self, contract: RuntimeHostContract, document: Document) -> HostSettings | None:
        """Report what a host lacks, and give its settings where these are sound."""
        nodes = NodesOfHost(contract, document, self.catalog, self.nodes, frozenset(self.broken))
        self.problems.extend(nodes.faults())
        check = SettingsOfHost(contract, document, self.catalog)
        settings = check.read()
        self.problems.extend(check.problems)
        if settings is not None:
            self.problems.extend(misfits(contract, document, settings, self.catalog, self.nodes))
        return settings

    def _watches_of(self, contract: RuntimeHostContract, document: Document) -> Watches:
        nodes = {name: node for name, (node, _) in self.nodes.items()}
        return Watches(contract, document, nodes, self.catalog.handlers)

    def _faults_of_pools(self) -> Iterator[Problem]:
        """Every host of a pool hosts the same nodes: each may be given any of the partitions."""
        first: dict[tuple[str, str, str], RuntimeHostContract] = {}
        for contract, document in self.hosts.values():
            other = first.setdefault((contract.environment, contract.tenant, contract.pool), contract)
            if differing := set(contract.nodes) ^ set(other.nodes):
                names = ", ".join(sorted(differing))
                yield document.problem(
                    ("nodes",),
                    f"host {other.name!r} of the pool {contract.pool!r} has other nodes (the difference: {names}); "
                    "list the same, or name another pool",
                    code="pool-differs",
                    key=True,
                )

    def _faults_of_tests(self, tests: NodeTests, document: Document) -> Iterable[Problem]:
        if tests.node in self.nodes:
            yield from faults_of_cases(tests, document, self.nodes[tests.node][0], self.catalog.handlers)
        elif tests.node not in self.broken:
            hint, near = suggestion(tests.node, self.nodes)
            unknown = f"there is no node {tests.node!r}; {hint}"
            yield document.problem(("node",), unknown, code="unknown-node", nearest=near)


def _with_unread(document: Document) -> Document:
    """Record what a host contract would read from the environment, so that nothing else is told of these values."""
    if not isinstance(document.tree, Mapping) or not str(document.tree.get("contract")).startswith("host/"):
        return document
    found = [document.problem(it.at, it.message, code=it.code) for it in unread(document.tree)]
    return replace(document, problems=tuple(sorted([*document.problems, *found])))


def _refused(tree: Mapping[str, Any], model: type[ContractModel]) -> ValidationError | None:
    try:
        model.model_validate(tree)
    except ValidationError as error:
        return error
    return None


def _completed(rest: Mapping[str, Any], model: type[ContractModel]) -> ContractModel | None:
    """Fill in what a contract lacks so far as to look at what it has; None where too little is left."""
    lacking: dict[str, Any] = {"name": _UNNAMED, "version": "0.0.0", "description": "-"}
    if model is RuntimeHostContract:
        lacking |= dict.fromkeys(("environment", "tenant", "pool"), _UNNAMED)
        rest = {**rest, "nodes": rest.get("nodes") or [_UNNAMED]}
    else:
        lacking["kind"] = NodeKind.EFFECT if "handler" in rest else NodeKind.COMPUTE
        operations = rest.get("operations", {}).items()
        filled = {name: dict(written) for name, written in operations if isinstance(written, Mapping)}
        rest = {**rest, "operations": filled}
    try:
        return model.model_validate({**lacking, **rest})
    except ValidationError:
        return None


def _remaining(tree: Mapping[str, Any], error: ValidationError) -> NodeTests | None:
    """Return what is left of tests without what was refused, to look at it too; None where too little is left."""
    for _ in range(_SALVAGES_MAX):
        tree = without_faults(tree, error)
        try:
            return NodeTests.model_validate(tree)
        except ValidationError as again:
            error = again
    return None
