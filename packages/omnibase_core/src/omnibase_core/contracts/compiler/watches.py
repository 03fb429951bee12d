"""The watches of a host contract: held to what handlers and nodes offer, and ready to be asked. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.host import RuntimeHostContract, Watch
from omnibase_core.contracts.validation import problems_of
from omnibase_core.contracts.yaml.document import Document, Path, suggestion
from omnibase_core.errors import Problem
from omnibase_core.expressions import is_expression
from omnibase_core.ports import HandlerDescription
from omnibase_core.problem_codes import ProblemCode


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledWatch:
    """A watch with its first request and what gives the next one from a result."""

    name: str
    watch: Watch
    major: int
    """The major version of its node: it stands in the topic of the commands."""
    request: BaseModel
    following: Callable[[Any, Mapping[str, Any]], BaseModel]


@dataclass(frozen=True, slots=True)
class Watches:
    """What the watches of one host may refer to."""

    contract: RuntimeHostContract
    document: Document
    nodes: Mapping[str, CompiledNode]
    handlers: Mapping[str, HandlerDescription]

    def compiled(self) -> list[CompiledWatch]:
        """Return the watches that have no fault."""
        return [it for name, watch in self.contract.watches.items() if (it := self._compiled(name, watch)) is not None]

    def problems(self) -> Iterable[Problem]:
        """Yield every fault."""
        for name, watch in self.contract.watches.items():
            at: Path = ("watches", name)
            yield from self._faults_of_node(at, watch)
            yield from self._faults_of_handler(at, watch)

    def _compiled(self, name: str, watch: Watch) -> CompiledWatch | None:
        at: Path = ("watches", name)
        if (
            any(self._faults_of_node(at, watch))
            or any(self._faults_of_handler(at, watch))
            or watch.node not in self.nodes
        ):
            return None
        operation = self.handlers[watch.handler].operations[watch.call]
        assert operation.following is not None  # noqa: S101 - it has no faults
        return CompiledWatch(
            name=name,
            watch=watch,
            major=self.nodes[watch.node].contract.major,
            request=operation.request.model_validate(watch.request),
            following=operation.following,
        )

    def _faults_of_node(self, at: Path, watch: Watch) -> Iterable[Problem]:
        if watch.node not in self.contract.nodes:
            what = f"this host has no node {watch.node!r}"
            yield self._unknown((*at, "node"), what, watch.node, self.contract.nodes, code="unknown-node")
        elif watch.node in self.nodes and watch.operation not in self.nodes[watch.node].operations:
            what, there_are = (
                f"node {watch.node!r} has no operation {watch.operation!r}",
                self.nodes[watch.node].operations,
            )
            yield self._unknown((*at, "operation"), what, watch.operation, there_are, code="unknown-operation")

    def _faults_of_handler(self, at: Path, watch: Watch) -> Iterable[Problem]:
        description = self.handlers.get(watch.handler)
        if description is None:
            what = f"handler {watch.handler!r} is not registered"
            yield self._unknown((*at, "handler"), what, watch.handler, self.handlers, code="unknown-handler")
            return
        yield from self._faults_of_target(at, watch, description)
        followed = [name for name, it in description.operations.items() if it.following is not None]
        if watch.call not in followed:
            what = f"handler {watch.handler!r} has no operation {watch.call!r} that waits for changes"
            yield self._unknown((*at, "call"), what, watch.call, followed, code="unknown-operation")
            return
        yield from self._faults_of_request((*at, "request"), watch, description.operations[watch.call].request)

    def _faults_of_target(self, at: Path, watch: Watch, description: HandlerDescription) -> Iterable[Problem]:
        problem = self.document.problem
        if description.target is None:
            if watch.target is not None:
                message = f"handler {watch.handler!r} takes no target; remove it"
                yield problem((*at, "target"), message, code="unused-key", key=True)
            return
        binding = self.contract.handlers.get(watch.handler)
        targets = {} if binding is None else binding.targets
        if watch.target is None:
            message = f"missing key 'target': handler {watch.handler!r} needs one"
            yield problem(at, message, code="missing-key", key=True)
        elif watch.target not in targets:
            otherwise = f"bind it in handlers.{watch.handler}.targets.{watch.target}"
            hint, near = suggestion(watch.target, targets, otherwise=otherwise)
            message = f"there is no target {watch.target!r} here; {hint}"
            yield problem((*at, "target"), message, code="unbound-target", nearest=near)

    def _faults_of_request(self, at: Path, watch: Watch, model: type[BaseModel]) -> Iterable[Problem]:
        if expressions := list(_expressions(at, watch.request)):
            message = "a watch has no command that an expression could read; write the value itself"
            yield from (self.document.problem(place, message, code="wrong-value") for place in expressions)
            return
        try:
            model.model_validate(watch.request)
        except ValidationError as error:
            yield from problems_of(self.document, error, model=model, at=at)

    def _unknown(self, at: Path, what: str, word: str, known: Iterable[str], *, code: ProblemCode) -> Problem:
        """Report that there is no such thing, and what could be meant or what there is."""
        hint, near = suggestion(word, known)
        return self.document.problem(at, f"{what}; {hint}", code=code, nearest=near)


def _expressions(at: Path, written: Any) -> Iterable[Path]:
    if is_expression(written):
        yield at
    elif isinstance(written, Mapping):
        for key, part in written.items():
            yield from _expressions((*at, key), part)
    elif isinstance(written, list):
        for index, part in enumerate(written):
            yield from _expressions((*at, index), part)
