"""FileRegistry: every contract below a folder, parsed, checked against each other and found by name.

The reading is injected: this module opens no file.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.coherence import faults_of_breakers, faults_of_node, is_of_package, unused_bindings
from omnibase_core.contracts.compiled import CompiledNode, compile_node
from omnibase_core.contracts.document import Document, Path, nearest, parse_document
from omnibase_core.contracts.faults import problems_of, without_faults
from omnibase_core.contracts.host import Guarantee, RuntimeHostContract
from omnibase_core.contracts.node import ContractModel, NodeContract, NodeKind, OnRetry
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.ports import ContractReader, HandlerDescription, PureFunction
from omnibase_core.signatures import NodeFunction

_NAME = re.compile(r"[\"']?name[\"']?:[ ]+[\"']?([a-z0-9-]+)", re.ASCII)
_UNNAMED = "unnamed"
_VERSIONS: Mapping[str, type[ContractModel]] = {"node/v1": NodeContract, "host/v1": RuntimeHostContract}


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What contracts may refer to: the handlers that are there, the model of the bus's settings, and functions.

    `import_function` is asked only for functions of packages that a host contract allows. It raises LookupError, which
    says what is missing.
    """

    handlers: Mapping[str, HandlerDescription]
    bus: type[BaseModel]
    import_function: Callable[[str], PureFunction]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """A host contract's open parts, validated by the models of those that read them."""

    bus: BaseModel
    handlers: Mapping[str, BaseModel]
    targets: Mapping[str, Mapping[str, BaseModel]]


@dataclass(frozen=True, slots=True)
class LoadedHost:
    """A host contract that passed every check, with its settings and its nodes."""

    contract: RuntimeHostContract
    settings: HostSettings
    nodes: Sequence[CompiledNode]
    path: str

    @property
    def topics(self) -> Sequence[str]:
        """Every topic that the host reads or writes."""
        names = self.contract.namespace
        of_nodes = [
            name
            for node in self.nodes
            for name in (
                names.command(node.contract.name, node.contract.major),
                names.event(node.contract.name, node.contract.major),
            )
        ]
        overtaken = any(node.contract.delivery.on_retry is OnRetry.OVERTAKE for node in self.nodes)
        retry = [names.retry(self.contract.pool)] if overtaken else []
        return (*of_nodes, *retry, names.dead_letter(self.contract.pool), names.log(self.contract.name))

    def with_bus(self, **changes: object) -> "LoadedHost":
        """Give the same host with other settings of its bus."""
        bus = self.settings.bus.model_copy(update=changes)
        return replace(self, settings=replace(self.settings, bus=bus))

    def with_target(self, handler_type: str, target: str, **changes: object) -> "LoadedHost":
        """Give the same host with other settings of one target."""
        targets = dict(self.settings.targets[handler_type])
        targets[target] = targets[target].model_copy(update=changes)
        return replace(self, settings=replace(self.settings, targets={**self.settings.targets, handler_type: targets}))


class FileRegistry:
    """Contracts by name. Constructing it reads everything and raises InvalidContracts once, with every problem."""

    def __init__(self, contracts_dir: PurePath, read: ContractReader, catalog: Catalog) -> None:
        """Read every contract document below the folder (or the one document) through `read`."""
        loader = _Loader(catalog)
        for document in read(contracts_dir):
            loader.add(parse_document(str(document.path), document.text))
        loader.resolve()
        if loader.problems:
            raise InvalidContracts(loader.problems)
        self.nodes: Mapping[str, CompiledNode] = {name: node for name, (node, _) in loader.nodes.items()}
        self.hosts: Mapping[str, LoadedHost] = loader.loaded

    def host_at(self, path: PurePath) -> LoadedHost | None:
        """Find the host contract that was read from a file."""
        return next((host for host in self.hosts.values() if PurePath(host.path) == path), None)


@dataclass
class _Loader:
    """Takes documents one by one, then looks across them."""

    catalog: Catalog
    nodes: dict[str, tuple[CompiledNode, Document]] = field(default_factory=dict)
    hosts: dict[str, tuple[RuntimeHostContract, Document]] = field(default_factory=dict)
    loaded: dict[str, LoadedHost] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    salvaged: list[tuple[RuntimeHostContract, Document]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, document: Document) -> None:
        """Validate one document and file it under its name."""
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
            self.problems.extend(faults_of_breakers(contract, document))
            self._file(contract.name, (contract, document), self.hosts)

    def _compiled(self, contract: NodeContract, document: Document) -> CompiledNode:
        node, faults = compile_node(contract, document, self.catalog.handlers)
        description = self.catalog.handlers.get(node.handler_type)
        inline = description is not None and description.inline
        faults = [*faults, *faults_of_node(contract, document, inline=inline)]
        self.problems.extend(_untold(faults, document))
        return node

    def _salvage(self, document: Document, model: type[ContractModel], error: ValidationError) -> None:
        """Tell what the model refused, and what is wrong in the rest: nobody has to check twice to see it all."""
        told = problems_of(document, error, model=model)
        self.problems.extend(told)
        # A faulty contract still has its name: that a host lists it is no second fault.
        self.broken.add(str(document.tree.get("name")))
        contract = _completed(without_faults(document.tree, error), model)
        known = {(problem.line, problem.column) for problem in told} | {(1, 1)}
        before = len(self.problems)
        if isinstance(contract, NodeContract):
            self._compiled(contract, document)
        elif isinstance(contract, RuntimeHostContract):
            self.problems.extend(faults_of_breakers(contract, document))
            self.salvaged.append((contract, document))
            self.broken.add(_UNNAMED)
        self.problems[before:] = [it for it in self.problems[before:] if (it.line, it.column) not in known]

    def _model(self, document: Document) -> type[ContractModel] | None:
        found = document.tree.get("contract")
        if isinstance(found, str) and found in _VERSIONS:
            return _VERSIONS[found]
        if found is None:
            missing = "missing key 'contract': write contract: node/v1 or host/v1"
            self.problems.append(document.problem((), missing, code="not-a-contract"))
            return None
        near = nearest(str(found), _VERSIONS)
        hint = f"did you mean {near!r}?" if near else "expected 'node/v1' or 'host/v1'"
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
            self.problems.extend(self._faults_of_nodes(contract, document))
            settings = self._settings(contract, document)
            nodes = tuple(self.nodes[node][0] for node in contract.nodes if node in self.nodes)
            if len(nodes) == len(contract.nodes):
                # What a node that is not there, or is faulty, would use is not known.
                self.problems.extend(unused_bindings(contract, document, nodes, self.catalog.handlers))
            if settings is not None:
                self.loaded[name] = LoadedHost(contract, settings, nodes, document.path)
        self.problems.extend(self._faults_of_pools())
        for contract, document in self.salvaged:
            self.problems.extend(self._faults_of_nodes(contract, document))
            self._settings(contract, document)

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

    def _faults_of_nodes(self, contract: RuntimeHostContract, document: Document) -> Iterable[Problem]:
        for index, name in enumerate(contract.nodes):
            at: Path = ("nodes", index)
            if name in contract.nodes[:index]:
                yield document.problem(at, f"node {name!r} is listed twice", code="listed-twice")
            elif name in self.nodes:
                yield from self._faults_of_binding(contract, document, at, self.nodes[name][0])
            elif name not in self.broken:
                near = nearest(name, self.nodes)
                hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self.nodes) or 'none'}"
                yield document.problem(at, f"there is no node {name!r}; {hint}", code="unknown-node", nearest=near)

    def _faults_of_binding(
        self, contract: RuntimeHostContract, document: Document, at: Path, node: CompiledNode
    ) -> Iterable[Problem]:
        """What a node needs has to be here: its target, its functions' packages, and the guarantee that is promised."""
        description = self.catalog.handlers.get(node.handler_type)
        if contract.guarantee is Guarantee.EXACTLY_ONCE and description is not None and not description.transactional:
            covered = ", ".join(name for name, it in self.catalog.handlers.items() if it.transactional)
            yield document.problem(
                at,
                f"node {node.contract.name!r}: no transaction covers what handler {node.handler_type!r} does, so that"
                f" exactly_once cannot hold for it (it can for: {covered}); host it with guarantee: at_least_once",
                code="guarantee-not-covered",
            )
        target = node.contract.target
        binding = contract.handlers.get(node.handler_type)
        if target is not None and (binding is None or target not in binding.targets):
            where = f"handlers.{node.handler_type}.targets.{target}"
            unbound = f"node {node.contract.name!r} needs the target {target!r}; bind it in {where}"
            yield document.problem(at, unbound, code="unbound-target")
        yield from self._faults_of_functions(contract, document, at, node)

    def _faults_of_functions(
        self, contract: RuntimeHostContract, document: Document, at: Path, node: CompiledNode
    ) -> Iterable[Problem]:
        """Functions have to come from packages allowed here. Once they are known, the node is checked against them."""
        written = self.nodes[node.contract.name][1]
        functions: dict[str, NodeFunction] = {}
        for name, operation in node.contract.operations.items():
            if operation.logic is None:
                continue
            if not any(is_of_package(operation.logic, package) for package in contract.logic_packages):
                message = f"node {node.contract.name!r} runs {operation.logic}; add its package to logic_packages"
                yield document.problem(at, message, code="package-not-allowed")
                continue
            try:
                function = self.catalog.import_function(operation.logic)
                functions[operation.logic] = NodeFunction.of(operation.logic, function)
            except (LookupError, ValueError) as error:
                yield written.problem(("operations", name, "logic"), str(error), code="unknown-function")
        if functions:
            node, faults = compile_node(node.contract, written, self.catalog.handlers, functions)
            yield from _untold(faults, written)
            self.nodes[node.contract.name] = (node, written)

    def _settings(self, contract: RuntimeHostContract, document: Document) -> HostSettings | None:
        before = len(self.problems)
        bus = self._validated(document, ("bus",), self.catalog.bus, contract.bus)
        handlers: dict[str, Any] = {}
        targets: dict[str, dict[str, Any]] = {}
        for name, binding in contract.handlers.items():
            description = self.catalog.handlers.get(name)
            at: Path = ("handlers", name)
            if description is None:
                near = nearest(name, self.catalog.handlers)
                hint = f"; did you mean {near!r}?" if near else f"; there are: {', '.join(self.catalog.handlers)}"
                unknown = f"handler {name!r} is not registered{hint}"
                fault = document.problem(at, unknown, code="unknown-handler", key=True, nearest=near)
                self.problems.append(fault)
                continue
            if description.inline and "breaker" in binding.model_fields_set:
                unread = f"handler {name!r} answers at once and has no breaker; remove it"
                self.problems.append(document.problem((*at, "breaker"), unread, code="unused-key", key=True))
            handlers[name] = self._validated(document, (*at, "settings"), description.settings, binding.settings)
            if binding.targets and description.target is None:
                unread = f"handler {name!r} has no targets"
                self.problems.append(document.problem((*at, "targets"), unread, code="unused-key", key=True))
            elif description.target is not None:
                targets[name] = {
                    target: self._validated(document, (*at, "targets", target), description.target, written)
                    for target, written in binding.targets.items()
                }
        return HostSettings(bus=bus, handlers=handlers, targets=targets) if len(self.problems) == before else None

    def _validated(self, document: Document, at: Path, model: type[BaseModel], written: Mapping[str, Any]) -> Any:
        try:
            return model.model_validate(written)
        except ValidationError as error:
            self.problems.extend(problems_of(document, error, model=model, at=at))
            return None


def _untold(faults: Iterable[Problem], document: Document) -> Iterator[Problem]:
    """Leave out what is found at a word that is refused already: what stands there for it says nothing more."""
    told = {(problem.line, problem.column) for problem in document.problems}
    return (fault for fault in faults if (fault.line, fault.column) not in told)


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
