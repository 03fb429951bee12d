"""FileRegistry: every contract below a folder, parsed, checked against each other and found by name.

The reading is injected: this module opens no file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.case_faults import faults_of_cases
from omnibase_core.contracts.cases import NodeTests
from omnibase_core.contracts.compiled import CompiledNode, compile_node
from omnibase_core.contracts.document import Document, Path, nearest, parse_document
from omnibase_core.contracts.faults import problems_of, without_faults
from omnibase_core.contracts.host import Guarantee, HandlerBinding, RuntimeHostContract
from omnibase_core.contracts.node import ContractModel, NodeContract, NodeKind, OnRetry
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.ports import ContractReader, HandlerDescription, PureFunction

_VERSIONS: Mapping[str, type[ContractModel]] = {
    "node/v1": NodeContract,
    "host/v1": RuntimeHostContract,
    "test/v1": NodeTests,
}

_SALVAGES_MAX = 3
"""What was refused may leave a gap that is refused in its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What contracts may refer to: handlers, the models of the settings of the bus and of each store, and functions.

    `import_function` is asked only for functions of packages that a host contract allows. It raises LookupError, which
    says what is missing. `impurities` is asked after it, with those packages: it reads the function's code, and tells
    what of it is not pure by its place there; where nobody reads, nothing is found.
    """

    handlers: Mapping[str, HandlerDescription]
    bus: type[BaseModel]
    import_function: Callable[[str], PureFunction]
    stores: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    impurities: Callable[[str, Sequence[str]], Iterable[Problem]] = lambda _name, _packages: ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """A host contract's open parts, validated by the models of those that read them."""

    bus: BaseModel
    handlers: Mapping[str, BaseModel]
    targets: Mapping[str, Mapping[str, BaseModel]]
    store: BaseModel | None = None


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
        self.tests: Sequence[tuple[NodeTests, Document]] = loader.tests

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
    tests: list[tuple[NodeTests, Document]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def add(self, document: Document) -> None:
        """Validate one document and file it under its name."""
        self.problems.extend(document.problems)
        if not document.tree and document.problems:
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
            node, faults = compile_node(contract, document, self.catalog.handlers)
            self.problems.extend(faults)
            self._file(contract.name, (node, document), self.nodes)
        elif isinstance(contract, RuntimeHostContract):
            self._file(contract.name, (contract, document), self.hosts)
        elif isinstance(contract, NodeTests):
            self.tests.append((contract, document))

    def _salvage(self, document: Document, model: type[ContractModel], error: ValidationError) -> None:
        """Tell what the model refused, and what is wrong in the rest: nobody has to check twice to see it all."""
        told = problems_of(document, error, model=model)
        self.problems.extend(told)
        # A faulty contract still has its name: that a host lists it is no second fault.
        self.broken.add(str(document.tree.get("name")))
        if model is NodeTests and (tests := _remaining(document.tree, error)) is not None:
            self.tests.append((tests, document))
        contract = _completed(without_faults(document.tree, error)) if model is NodeContract else None
        if contract is not None:
            known = {(problem.line, problem.column) for problem in told} | {(1, 1)}
            faults = compile_node(contract, document, self.catalog.handlers)[1]
            self.problems.extend(fault for fault in faults if (fault.line, fault.column) not in known)

    def _model(self, document: Document) -> type[ContractModel] | None:
        found = document.tree.get("contract")
        if isinstance(found, str) and found in _VERSIONS:
            return _VERSIONS[found]
        is_test = PurePath(document.path).stem.endswith(".test")
        if found is None:
            versions = "contract: test/v1" if is_test else "contract: node/v1 or host/v1"
            self.problems.append(document.problem((), f"missing key 'contract': write {versions}"))
            return None
        near = nearest(str(found), _VERSIONS)
        versions = "'test/v1'" if is_test else "'node/v1' or 'host/v1'"
        hint = f"did you mean {near!r}?" if near else f"expected {versions}"
        self.problems.append(document.problem(("contract",), f"contract {found!r} is not known; {hint}"))
        return None

    def _file(self, name: str, entry: Any, shelf: dict[str, Any]) -> None:
        document: Document = entry[1]
        if name in shelf:
            other: Document = shelf[name][1]
            first = f"{other.path}:{other.place(('name',)).line}"
            self.problems.append(document.problem(("name",), f"the name {name!r} is taken by {first}"))
            return
        shelf[name] = entry

    def resolve(self) -> None:
        """Look across the documents: what each host refers to has to be there and be bound."""
        for name, (contract, document) in self.hosts.items():
            self.problems.extend(self._faults_of_nodes(contract, document))
            settings = self._settings(contract, document)
            if settings is not None:
                nodes = tuple(self.nodes[node][0] for node in contract.nodes if node in self.nodes)
                self.loaded[name] = LoadedHost(contract, settings, nodes, document.path)
        for tests, document in self.tests:
            told = {(problem.line, problem.column) for problem in self.problems if problem.path == document.path}
            faults = self._faults_of_tests(tests, document)
            self.problems.extend(fault for fault in faults if (fault.line, fault.column) not in told)

    def _faults_of_tests(self, tests: NodeTests, document: Document) -> Iterable[Problem]:
        if tests.node in self.nodes:
            yield from faults_of_cases(tests, document, self.nodes[tests.node][0], self.catalog.handlers)
        elif tests.node not in self.broken:
            near = nearest(tests.node, self.nodes)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self.nodes) or 'none'}"
            yield document.problem(("node",), f"there is no node {tests.node!r}; {hint}")

    def _faults_of_nodes(self, contract: RuntimeHostContract, document: Document) -> Iterable[Problem]:
        for index, name in enumerate(contract.nodes):
            at: Path = ("nodes", index)
            if name in contract.nodes[:index]:
                yield document.problem(at, f"node {name!r} is listed twice")
            elif name in self.nodes:
                yield from self._faults_of_binding(contract, document, at, self.nodes[name][0])
            elif name not in self.broken:
                near = nearest(name, self.nodes)
                hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self.nodes) or 'none'}"
                yield document.problem(at, f"there is no node {name!r}; {hint}")

    def _faults_of_binding(
        self, contract: RuntimeHostContract, document: Document, at: Path, node: CompiledNode
    ) -> Iterable[Problem]:
        """What a node needs has to be here: target, store, its functions' packages, and the guarantee promised."""
        if contract.guarantee is Guarantee.EXACTLY_ONCE:
            yield from self._faults_of_exactly_once(document, at, node)
        target = node.contract.target
        binding = contract.handlers.get(node.handler_type)
        if target is not None and (binding is None or target not in binding.targets):
            where = f"handlers.{node.handler_type}.targets.{target}"
            yield document.problem(at, f"node {node.contract.name!r} needs the target {target!r}; bind it in {where}")
        if node.contract.idempotency is not None and contract.idempotency is None:
            stores = ", ".join(self.catalog.stores)
            message = f"node {node.contract.name!r} has idempotency, and this host has no store for its answers"
            yield document.problem(at, f"{message}; write idempotency: {{store: ...}} with one of: {stores}")
        for name, operation in node.contract.operations.items():
            if operation.logic is None:
                continue
            if not any(operation.logic.startswith((f"{it}.", f"{it}:")) for it in contract.logic_packages):
                message = f"node {node.contract.name!r} runs {operation.logic}; add its package to logic_packages"
                yield document.problem(at, message)
                continue
            try:
                self.catalog.import_function(operation.logic)
            except LookupError as error:
                written: Document = self.nodes[node.contract.name][1]
                yield written.problem(("operations", name, "logic"), str(error))
                continue
            yield from self.catalog.impurities(operation.logic, contract.logic_packages)

    def _faults_of_exactly_once(self, document: Document, at: Path, node: CompiledNode) -> Iterable[Problem]:
        description = self.catalog.handlers.get(node.handler_type)
        if description is not None and not description.transactional:
            covered = ", ".join(name for name, it in self.catalog.handlers.items() if it.transactional)
            yield document.problem(
                at,
                f"node {node.contract.name!r}: no transaction covers what handler {node.handler_type!r} does, so that"
                f" exactly_once cannot hold for it (it can for: {covered}); host it with guarantee: at_least_once",
            )
        if node.contract.idempotency is not None:
            yield document.problem(
                at,
                f"node {node.contract.name!r} has idempotency, whose store is outside of the transaction of"
                " exactly_once; write guarantee: at_least_once, or remove idempotency from the node",
            )

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
                self.problems.append(document.problem(at, f"handler {name!r} is not registered{hint}", key=True))
                continue
            handlers[name] = self._validated(document, (*at, "settings"), description.settings, binding.settings)
            if binding.targets and description.target is None:
                self.problems.append(document.problem((*at, "targets"), f"handler {name!r} has no targets", key=True))
            elif description.target is not None:
                targets[name] = {
                    target: self._validated(document, (*at, "targets", target), description.target, written)
                    for target, written in binding.targets.items()
                }
            self.problems.extend(_faults_of_limits(document, at, binding))
        store = self._store_settings(contract, document)
        if len(self.problems) > before:
            return None
        return HostSettings(bus=bus, handlers=handlers, targets=targets, store=store)

    def _store_settings(self, contract: RuntimeHostContract, document: Document) -> Any:
        if contract.idempotency is None:
            return None
        written = contract.idempotency
        if (model := self.catalog.stores.get(written.store)) is None:
            near = nearest(written.store, self.catalog.stores)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self.catalog.stores)}"
            at: Path = ("idempotency", "store")
            self.problems.append(document.problem(at, f"store {written.store!r} is not known; {hint}"))
            return None
        return self._validated(document, ("idempotency", "settings"), model, written.settings)

    def _validated(self, document: Document, at: Path, model: type[BaseModel], written: Mapping[str, Any]) -> Any:
        try:
            return model.model_validate(written)
        except ValidationError as error:
            self.problems.extend(problems_of(document, error, model=model, at=at))
            return None


def _faults_of_limits(document: Document, at: Path, binding: HandlerBinding) -> Iterable[Problem]:
    """Limits of a target that is not there would bound nothing."""
    for target in binding.limits.keys() - binding.targets.keys():
        near = nearest(target, binding.targets)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(binding.targets) or 'none'}"
        message = f"there is no target {target!r} to limit; {hint}"
        yield document.problem((*at, "limits", target), message, key=True)


def _completed(rest: Mapping[str, Any]) -> NodeContract | None:
    """Fill in what a node's contract lacks so far as to look at what it has; None where too little is left."""
    operations = {
        name: {"input": {}, **operation}
        for name, operation in rest.get("operations", {}).items()
        if isinstance(operation, Mapping)
    }
    lacking = {"name": "unnamed", "version": "0.0.0", "description": "-"}
    kind = {"kind": NodeKind.EFFECT if "handler" in rest else NodeKind.COMPUTE}
    try:
        return NodeContract.model_validate({**lacking, **kind, **rest, "operations": operations})
    except ValidationError:
        return None


def _remaining(tree: Mapping[str, Any], error: ValidationError) -> NodeTests | None:
    """Give what is left of tests without what was refused, to look at it too; None where too little is left."""
    for _ in range(_SALVAGES_MAX):
        tree = without_faults(tree, error)
        try:
            return NodeTests.model_validate(tree)
        except ValidationError as again:
            error = again
    return None
