"""Finds the tests of contracts, and runs them. What a verb prints of it is the verb's affair."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnibase_core.contract_tests import Coverage, FailedExpectation, Stage, judge
from omnibase_core.contracts.checks.consistency import is_of_package
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.compiler.compiler import compile_node
from omnibase_core.contracts.tests import NodeTests
from omnibase_core.contracts.yaml.document import Document, parse_document
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.handlers.signatures import NodeFunction
from omnibase_core.ports import ContractDocument, HandlerDescription
from omnibase_infra.cli.pure_handlers import pure_handlers
from omnibase_infra.functions.importing import import_function
from omnibase_infra.host.contract_files import is_test, read_contracts, read_with_tests
from omnibase_infra.host.loading import contracts_dir_above, is_host, registry_of
from omnibase_infra.host.plugins import catalog


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """One case that was run: where it stands, what it took in real time, and what is not as expected."""

    name: str
    line: int
    took_s: float
    failures: Sequence[tuple[int, FailedExpectation]]
    """Each with its line in the file."""


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """The cases of one file."""

    path: str
    node: str
    cases: Sequence[CaseOutcome]

    @property
    def failed(self) -> int:
        """How many cases failed."""
        return sum(bool(case.failures) for case in self.cases)

    @property
    def took_s(self) -> float:
        """What its cases took, in real seconds."""
        return sum(case.took_s for case in self.cases)


@dataclass(frozen=True, slots=True)
class ContractTests:
    """Every test at some paths, ready to run, and what was shown of each node so far."""

    tests: Sequence[tuple[NodeTests, Document]]
    nodes: Mapping[str, CompiledNode]
    handlers: Mapping[str, HandlerDescription]
    coverage: dict[str, Coverage] = field(default_factory=dict)

    def run(self) -> Iterator[FileOutcome]:
        """Run file by file. Functions are interrupted as in production: on the main thread only."""
        self.coverage.update({name: Coverage.of(node) for name, node in self.nodes.items()})
        with pure_handlers() as pure:
            for tests, document in self.tests:
                stage = Stage(self.nodes[tests.node], handlers=self.handlers, pure=pure)
                cases = [self._run_case(stage, tests, document, index) for index in range(len(tests.cases))]
                yield FileOutcome(document.path, tests.node, cases)

    def _run_case(self, stage: Stage, tests: NodeTests, document: Document, index: int) -> CaseOutcome:
        case = tests.cases[index]
        began_s = time.perf_counter()
        record = stage.rehearse(case)
        took_s = time.perf_counter() - began_s
        self.coverage[tests.node].add(self.nodes[tests.node], case, record)
        at = ("cases", index)
        failures = [(document.place((*at, *failure.path)).line, failure) for failure in judge(case, record)]
        return CaseOutcome(case.name, document.place((*at, "name")).line, took_s, failures)


def load_contract_tests(paths: Iterable[Path]) -> ContractTests:
    """Find the tests at some paths, the contracts that they are about, and the functions that these name.

    A folder means all that is below it; a test, its node as well; a node's contract, its tests in the same folder.
    Raises InvalidContracts with every problem of what was found.
    """
    documents: dict[Path, ContractDocument] = {}
    hosts: dict[Path, ContractDocument] = {}
    for path in paths:
        folder = path if path.is_dir() else path.parent
        root = contracts_dir_above(folder)
        found = list(read_with_tests(folder))
        beside = found if root == folder else list(read_contracts(root))
        documents.update(_by_file(documents_at(path, found)))
        hosts.update(_by_file(it for it in beside if "host/v1" in it.text and is_host(it)))
    registry = registry_of(documents.values())
    allowed = [_tree(it) for it in hosts.values()]
    nodes = dict(registry.nodes)
    faults: list[Problem] = []
    for tests, document in registry.tests:
        written = registry.documents[tests.node]
        nodes[tests.node], told = _with_functions(tests, document, nodes[tests.node], written, allowed)
        faults += told
    if faults:
        raise InvalidContracts(faults)
    return ContractTests(registry.tests, nodes, catalog().handlers)


def documents_at(path: Path, found: Sequence[ContractDocument]) -> Iterator[ContractDocument]:
    """Yield what a path means of what its folder holds, hosts aside."""
    if path.is_dir():
        yield from (it for it in found if "host/v1" not in it.text or not is_host(it))
        return
    [own] = read_contracts(path)
    yield own
    node = str(_tree(own).get("node" if is_test(path) else "name"))
    for other in found:
        is_other_kind = is_test(other.path) is not is_test(path)
        if is_other_kind and node in other.text and _tree(other).get("name" if is_test(path) else "node") == node:
            yield other


def _by_file(documents: Iterable[ContractDocument]) -> Mapping[Path, ContractDocument]:
    return {Path(document.path).resolve(): document for document in documents}


def _tree(document: ContractDocument) -> Mapping[str, Any]:
    tree: Mapping[str, Any] = parse_document(str(document.path), document.text).tree
    return tree


def _with_functions(
    tests: NodeTests, document: Document, node: CompiledNode, written: Document, hosts: Sequence[Mapping[str, Any]]
) -> tuple[CompiledNode, list[Problem]]:
    """Return the node as it is with its functions. The tests, or a host of the node, allow their package."""
    of_hosts = [it for host in hosts if tests.node in _listed(host, "nodes") for it in _listed(host, "logic_packages")]
    packages = [*tests.logic_packages, *of_hosts]
    functions: dict[str, NodeFunction] = {}
    faults: list[Problem] = []
    for name in filter(None, (operation.logic for operation in node.contract.operations.values())):
        if not any(isinstance(it, str) and is_of_package(name, it) for it in packages):
            where = "add its package to logic_packages, here or in the contract of a host that lists the node"
            unallowed = f"node {tests.node!r} runs {name}; {where}"
            faults.append(document.problem(("node",), unallowed, code="package-not-allowed"))
            continue
        try:
            functions[name] = NodeFunction.of(name, import_function(name))
        except (LookupError, ValueError) as error:
            faults.append(document.problem(("node",), str(error), code="unknown-function"))
    if not functions or faults:
        return node, faults
    compiled, of_node = compile_node(node.contract, written, catalog().handlers, functions)
    return compiled, list(of_node)


def _listed(tree: Mapping[str, Any], key: str) -> Sequence[Any]:
    """Return a list of a contract that nobody has checked."""
    found = tree.get(key)
    return found if isinstance(found, list) else ()
