"""What a host needs of its nodes and of what is installed, held to its contract. Pure.

Every node that it lists has to be there, and be bound; its settings have to fit the models of what they are for.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.catalog import Catalog, HostSettings
from omnibase_core.contracts.checks.consistency import is_of_package
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.compiler.compiler import compile_node
from omnibase_core.contracts.host import Guarantee, HandlerBinding, RuntimeHostContract
from omnibase_core.contracts.validation import problems_of
from omnibase_core.contracts.yaml.document import Document, Path, suggestion
from omnibase_core.errors import Problem
from omnibase_core.handlers.signatures import NodeFunction
from omnibase_core.ports import OperationDescription

Shelf = MutableMapping[str, tuple[CompiledNode, Document]]
"""Nodes by name, each with what it was read from."""


@dataclass(frozen=True, slots=True)
class NodesOfHost:
    """Looks at the nodes that a host lists. One that is compiled anew with its functions takes its place among them."""

    contract: RuntimeHostContract
    document: Document
    catalog: Catalog
    nodes: Shelf
    broken: frozenset[str]
    """Names of contracts that are refused already: that a host lists one is no second fault."""

    def faults(self) -> Iterator[Problem]:
        """Look at each node that the contract lists."""
        contract, document = self.contract, self.document
        for index, name in enumerate(contract.nodes):
            at: Path = ("nodes", index)
            if name in contract.nodes[:index]:
                yield document.problem(at, f"node {name!r} is listed twice", code="listed-twice")
            elif name in self.nodes:
                yield from self._faults_of_binding(at, self.nodes[name][0])
            elif name not in self.broken:
                hint, near = suggestion(name, self.nodes)
                yield document.problem(at, f"there is no node {name!r}; {hint}", code="unknown-node", nearest=near)

    def _faults_of_binding(self, at: Path, node: CompiledNode) -> Iterator[Problem]:
        """What a node needs has to be here: target, store, its functions' packages, and the guarantee promised."""
        if self.contract.guarantee is Guarantee.EXACTLY_ONCE:
            yield from self._faults_of_exactly_once(at, node)
        target = node.contract.target
        binding = self.contract.handlers.get(node.handler_type)
        if target is not None and (binding is None or target not in binding.targets):
            where = f"handlers.{node.handler_type}.targets.{target}"
            unbound = f"node {node.contract.name!r} needs the target {target!r}; bind it in {where}"
            yield self.document.problem(at, unbound, code="unbound-target")
        if node.contract.idempotency is not None and self.contract.idempotency is None:
            stores = ", ".join(self.catalog.stores)
            message = f"node {node.contract.name!r} has idempotency, and this host has no store for its answers"
            unkept = f"{message}; write idempotency: {{store: ...}} with one of: {stores}"
            yield self.document.problem(at, unkept, code="no-store")
        yield from self._faults_of_functions(at, node)

    def _faults_of_functions(self, at: Path, node: CompiledNode) -> Iterator[Problem]:
        """Functions have to come from packages allowed here. Once they are known, the node is checked against them."""
        written = self.nodes[node.contract.name][1]
        functions: dict[str, NodeFunction] = {}
        for name, operation in node.contract.operations.items():
            if operation.logic is None:
                continue
            if not any(is_of_package(operation.logic, package) for package in self.contract.logic_packages):
                message = f"node {node.contract.name!r} runs {operation.logic}; add its package to logic_packages"
                yield self.document.problem(at, message, code="package-not-allowed")
                continue
            try:
                function = self.catalog.import_function(operation.logic)
                functions[operation.logic] = NodeFunction.of(operation.logic, function)
            except (LookupError, ValueError) as error:
                yield written.problem(("operations", name, "logic"), str(error), code="unknown-function")
                continue
            yield from self.catalog.impurities(operation.logic, self.contract.logic_packages)
        if functions:
            node, faults = compile_node(node.contract, written, self.catalog.handlers, functions)
            yield from untold(faults, written)
            self.nodes[node.contract.name] = (node, written)

    def _faults_of_exactly_once(self, at: Path, node: CompiledNode) -> Iterator[Problem]:
        description = self.catalog.handlers.get(node.handler_type)
        if description is not None and not description.transactional:
            covered = ", ".join(name for name, it in self.catalog.handlers.items() if it.transactional)
            yield self.document.problem(
                at,
                f"node {node.contract.name!r}: no transaction covers what handler {node.handler_type!r} does, so that"
                f" exactly_once cannot hold for it (it can for: {covered}); host it with guarantee: at_least_once",
                code="guarantee-not-covered",
            )
        if node.asks_a_node:
            yield self.document.problem(
                at,
                f"node {node.contract.name!r} waits for the answer of another node; in exactly_once its request would"
                " be sent only with its own answer, so that it would wait for itself; host it with guarantee:"
                " at_least_once",
                code="guarantee-not-covered",
            )
        if node.contract.idempotency is not None:
            yield self.document.problem(
                at,
                f"node {node.contract.name!r} has idempotency, whose store is outside of the transaction of"
                " exactly_once; write guarantee: at_least_once, or remove idempotency from the node",
                code="guarantee-not-covered",
            )


@dataclass(slots=True)
class SettingsOfHost:
    """Takes what a host contract sets for its bus, handlers and store to the models of these."""

    contract: RuntimeHostContract
    document: Document
    catalog: Catalog
    problems: list[Problem] = field(default_factory=list)

    def read(self) -> HostSettings | None:
        """Return the settings; None where there are problems."""
        bus_type, bus = self._bus()
        handlers: dict[str, Any] = {}
        targets: dict[str, dict[str, Any]] = {}
        for name, binding in self.contract.handlers.items():
            if (description := self.catalog.handlers.get(name)) is None:
                self._refuse_unknown(name)
                continue
            at: Path = ("handlers", name)
            if description.inline and "breaker" in binding.model_fields_set:
                self._refuse_unread((*at, "breaker"), f"handler {name!r} answers at once and has no breaker; remove it")
            handlers[name] = self._validated((*at, "settings"), description.settings, binding.settings)
            if binding.targets and description.target is None:
                self._refuse_unread((*at, "targets"), f"handler {name!r} has no targets")
            elif description.target is not None:
                targets[name] = {
                    target: self._validated((*at, "targets", target), description.target, written)
                    for target, written in binding.targets.items()
                }
            self._limits(at, binding)
        store = self._store()
        if self.problems:
            return None
        return HostSettings(bus=bus, bus_type=bus_type, handlers=handlers, targets=targets, store=store)

    def _bus(self) -> tuple[str | None, Any]:
        """Return which bus the contract names, and its settings by the model of that bus."""
        written, known = self.contract.bus, self.catalog.buses
        if not known or "type" not in written:
            return None, self._validated(("bus",), self.catalog.bus, written)
        name, rest = written["type"], {key: value for key, value in written.items() if key != "type"}
        if not isinstance(name, str) or name not in known:
            hint, near = suggestion(str(name), known)
            unknown = f"bus {name!r} is not known; {hint}"
            self.problems.append(self.document.problem(("bus", "type"), unknown, code="unknown-bus", nearest=near))
            return None, None
        return name, self._validated(("bus",), known[name], rest)

    def _limits(self, at: Path, binding: HandlerBinding) -> None:
        """Limits of a target that is not there would bound nothing."""
        for target in sorted(binding.limits.keys() - binding.targets.keys()):
            hint, near = suggestion(target, binding.targets)
            unread = f"there is no target {target!r} to limit; {hint}"
            fault = self.document.problem((*at, "limits", target), unread, code="unknown-key", key=True, nearest=near)
            self.problems.append(fault)

    def _store(self) -> Any:
        if (written := self.contract.idempotency) is None:
            return None
        if (model := self.catalog.stores.get(written.store)) is None:
            hint, near = suggestion(written.store, self.catalog.stores)
            unknown = f"store {written.store!r} is not known; {hint}"
            at: Path = ("idempotency", "store")
            self.problems.append(self.document.problem(at, unknown, code="unknown-store", nearest=near))
            return None
        return self._validated(("idempotency", "settings"), model, written.settings)

    def _refuse_unknown(self, name: str) -> None:
        hint, near = suggestion(name, self.catalog.handlers)
        unknown = f"handler {name!r} is not registered; {hint}"
        at: Path = ("handlers", name)
        self.problems.append(self.document.problem(at, unknown, code="unknown-handler", key=True, nearest=near))

    def _refuse_unread(self, at: Path, message: str) -> None:
        self.problems.append(self.document.problem(at, message, code="unused-key", key=True))

    def _validated(self, at: Path, model: type[BaseModel], written: Mapping[str, Any]) -> Any:
        try:
            return model.model_validate(written)
        except ValidationError as error:
            self.problems.extend(problems_of(self.document, error, model=model, at=at))
            return None


def misfits(
    contract: RuntimeHostContract, document: Document, settings: HostSettings, catalog: Catalog, nodes: Shelf
) -> Iterator[Problem]:
    """Check what nodes do with their targets against what these targets are for."""
    for index, name in enumerate(contract.nodes):
        node = nodes[name][0] if name in nodes else None
        if node is None or node.contract.target is None or node.handler_type not in catalog.handlers:
            continue
        target = settings.targets.get(node.handler_type, {}).get(node.contract.target)
        if target is None:
            continue
        offered = catalog.handlers[node.handler_type].operations
        for called in {it.call.operation: None for it in node.operations.values() if it.call is not None}:
            misfit = offered[called].misfit if called in offered else None
            if misfit is not None and (lack := misfit(target)) is not None:
                message = f"node {name!r} does {called!r} with the target {node.contract.target!r}, and {lack}"
                yield document.problem(("nodes", index), message, code="unbound-target")
        yield from _clashes(contract, node, nodes[name][1], target, offered)


def _clashes(
    contract: RuntimeHostContract,
    node: CompiledNode,
    written: Document,
    target: BaseModel,
    offered: Mapping[str, OperationDescription],
) -> Iterator[Problem]:
    """Check what a node's requests say against its target: neither of the two is wrong by itself."""
    for name, operation in node.operations.items():
        described = None if operation.call is None else offered.get(operation.call.operation)
        if described is None or described.clashes is None:
            continue
        for path, told in described.clashes(target, node.contract.operations[name].request):
            at: Path = ("operations", name, "request", *path)
            message = f"with the target {node.contract.target!r} of the host {contract.name!r} it {told}"
            yield written.problem(at, message, code="bad-request", key=True)


def untold(faults: Iterable[Problem], document: Document) -> Iterator[Problem]:
    """Leave out what is found at a word that is refused already: what stands there for it says nothing more."""
    told = {(problem.line, problem.column) for problem in document.problems}
    return (fault for fault in faults if (fault.line, fault.column) not in told)
