"""From a node contract to what runs: schemas and mappings compiled once, checked against what the handlers offer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from omnibase_core.compute_handler import COMPUTE, FunctionCall
from omnibase_core.contracts.document import Document, Path, nearest
from omnibase_core.contracts.node import ErrorRule, Isolation, NodeContract, NodeKind, Operation
from omnibase_core.contracts.scalars import shown
from omnibase_core.errors import InvalidExpression, Problem
from omnibase_core.expressions import (
    ANSWER_NAMES,
    REQUEST_NAMES,
    Template,
    compile_expression,
    compile_template,
    is_expression,
)
from omnibase_core.ports import HandlerDescription
from omnibase_core.schemas import InvalidSchema, Schema


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """An error rule, ready: `when` is evaluated on the result."""

    when: Template
    rule: ErrorRule


@dataclass(frozen=True, slots=True)
class CompiledCall:
    """What an operation asks of its handler: which operation, with what request."""

    operation: str
    request: Template
    model: type[BaseModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledOperation:
    """One operation, ready to plan and to conclude. `call` is None where expressions alone give the answer."""

    name: str
    input: Schema
    call: CompiledCall | None
    rules: tuple[CompiledRule, ...]
    answer: Template | None
    output: Schema | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledNode:
    """A node contract with all its operations compiled."""

    contract: NodeContract
    handler_type: str
    operations: Mapping[str, CompiledOperation]
    idempotency_key: Template | None = None
    """What a command's effect happens once for; None for a node without idempotency."""


def compile_node(
    contract: NodeContract, document: Document, handlers: Mapping[str, HandlerDescription]
) -> tuple[CompiledNode, Sequence[Problem]]:
    """Compile a node and collect every fault found on the way; with a fault, the node must not be run."""
    compiler = _Compiler(contract, document, handlers)
    return compiler.node(), compiler.problems


@dataclass
class _Compiler:
    """Walks one contract from the top; collects problems instead of raising them."""

    contract: NodeContract
    document: Document
    handlers: Mapping[str, HandlerDescription]
    problems: list[Problem] = field(default_factory=list)

    def node(self) -> CompiledNode:
        compute = self.contract.kind is NodeKind.COMPUTE
        handler_type = self._compute() if compute else self._effect()
        handler = None if compute or handler_type == COMPUTE else self.handlers.get(handler_type)
        self._isolation()
        operations = {
            name: self._operation(name, operation, handler) for name, operation in self.contract.operations.items()
        }
        key = self._idempotency_key()
        return CompiledNode(
            contract=self.contract, handler_type=handler_type, operations=operations, idempotency_key=key
        )

    def _compute(self) -> str:
        for key in ("handler", "target"):
            if getattr(self.contract, key) is not None:
                self._fault((key,), f"a compute node has no {key}; remove it, or write kind: effect", key=True)
        return COMPUTE

    def _effect(self) -> str:
        handler_type = self.contract.handler
        known = [name for name in self.handlers if name != COMPUTE]
        if handler_type is None:
            self._fault((), f"missing key 'handler'; expected one of: {', '.join(known)}")
            return ""
        if handler_type not in known:
            self._fault(("handler",), f"handler {handler_type!r} is not registered; {_instead_of(handler_type, known)}")
            return handler_type
        takes_target = self.handlers[handler_type].target is not None
        if takes_target and self.contract.target is None:
            self._fault((), f"missing key 'target': handler {handler_type!r} needs one, bound in the host contract")
        if not takes_target and self.contract.target is not None:
            self._fault(("target",), f"handler {handler_type!r} takes no target; remove it", key=True)
        return handler_type

    def _idempotency_key(self) -> Template | None:
        written = self.contract.idempotency
        if written is None:
            return None
        at: Path = ("idempotency", "key")
        if self.contract.kind is NodeKind.COMPUTE:
            self._fault(("idempotency",), "a compute node has no effect that could happen twice; remove it", key=True)
        elif is_expression(written.key) and not any(name in written.key for name in REQUEST_NAMES):
            reads = ", ".join(REQUEST_NAMES)
            self._fault(at, f"the key {shown(written.key)} is the same for every command; read one of: {reads}")
        return compile_expression(written.key, names=REQUEST_NAMES, at=at, refuse=self._refuse_expression)

    def _isolation(self) -> None:
        """Where functions run is said of nodes that have some; a wait for a worker leaves time for the function."""
        delivery = self.contract.delivery
        at: Path = ("delivery", "isolation")
        if "isolation" not in delivery.model_fields_set:
            return
        if self.contract.kind is not NodeKind.COMPUTE:
            self._fault(at, "only a compute node's functions can be isolated; remove it", key=True)
        elif not any(operation.logic for operation in self.contract.operations.values()):
            self._fault(at, "nothing is isolated without 'logic': expressions run on the loop; remove it", key=True)
        elif delivery.isolation is Isolation.PROCESS and delivery.budget_s > delivery.timeout_s:
            found = f"timeout_s {delivery.timeout_s:g} is less than budget_s {delivery.budget_s:g}"
            self._fault(at, f"{found}; with isolation: process it bounds the wait for a worker and the function")

    def _operation(self, name: str, operation: Operation, handler: HandlerDescription | None) -> CompiledOperation:
        at: Path = ("operations", name)
        compute = self.contract.kind is NodeKind.COMPUTE
        return CompiledOperation(
            name=name,
            input=self._schema((*at, "input"), operation.input),
            call=self._function(at, operation) if compute else self._handler_call(at, operation, handler),
            rules=tuple(self._rules((*at, "errors"), operation.errors)),
            answer=None
            if operation.answer is None
            else self._template((*at, "answer"), operation.answer, ANSWER_NAMES),
            output=None if operation.output is None else self._schema((*at, "output"), operation.output),
        )

    def _function(self, at: Path, operation: Operation) -> CompiledCall | None:
        if operation.call is not None:
            self._fault((*at, "call"), "a compute node calls no handler; name a function in 'logic'", key=True)
        function = operation.logic
        if function is None:
            if operation.answer is None:
                self._fault(at, "an operation of a compute node needs 'logic', 'answer' or both", key=True)
            if operation.request is not None:
                self._fault((*at, "request"), "nothing reads a request without 'logic'", key=True)
            return None
        written = "${ payload }" if operation.request is None else operation.request
        argument = self._template((*at, "request"), written, REQUEST_NAMES)
        fixed = {"function": function, "budget_s": self.contract.delivery.budget_s}
        return CompiledCall("call", lambda scope: {**fixed, "argument": argument(scope)}, FunctionCall)

    def _handler_call(self, at: Path, operation: Operation, handler: HandlerDescription | None) -> CompiledCall | None:
        if operation.logic is not None:
            self._fault((*at, "logic"), "only a compute node has logic; write kind: compute", key=True)
        written = {} if operation.request is None else operation.request
        request = self._template((*at, "request"), written, REQUEST_NAMES)
        if handler is None:
            return None
        called = operation.call or next(iter(handler.operations))
        if called not in handler.operations:
            offered = list(handler.operations)
            hint = _instead_of(called, offered)
            self._fault((*at, "call"), f"handler {handler.handler_type!r} has no operation {called!r}; {hint}")
            return None
        description = handler.operations[called]
        model = description.request
        self._request_keys((*at, "request"), written, model)
        if description.faults is not None:
            self._handler_faults((*at, "request"), description.faults(written))
        return CompiledCall(called, request, model)

    def _handler_faults(self, at: Path, faults: Iterable[tuple[Path, InvalidExpression]]) -> None:
        """Add what the handler finds in a request; what it tells of a place replaces what was told."""
        told = [self.document.problem_within((*at, *path), error, str(error)) for path, error in faults]
        places = {(problem.line, problem.column) for problem in told}
        self.problems[:] = [it for it in self.problems if (it.line, it.column) not in places] + told

    def _request_keys(self, at: Path, request: Any, model: type[BaseModel]) -> None:
        """Hold the keys of a request that is written out to the model: what nothing reads is an error."""
        if not isinstance(request, Mapping):
            if not is_expression(request):
                self._fault(at, f"found {shown(request)}, expected a mapping or an expression")
            return
        known = {field.alias or name: field for name, field in model.model_fields.items()}
        for key in request:
            if key not in known and model.model_config.get("extra") != "allow":
                self._fault((*at, key), f"unknown key {key!r}; {_instead_of(key, known)}", key=True)
        for name, field_ in known.items():
            if field_.is_required() and name not in request:
                self._fault(at, f"missing key {name!r} in the request of {model.__name__}")

    def _rules(self, at: Path, rules: Sequence[ErrorRule]) -> Iterable[CompiledRule]:
        for index, rule in enumerate(rules):
            when = compile_expression(
                rule.when, names=ANSWER_NAMES, at=(*at, index, "when"), refuse=self._refuse_expression
            )
            yield CompiledRule(when, rule)

    def _template(self, at: Path, tree: Any, names: tuple[str, ...]) -> Template:
        return compile_template(tree, names=names, at=at, refuse=self._refuse_expression)

    def _schema(self, at: Path, schema: Mapping[str, Any]) -> Schema:
        try:
            return Schema(schema)
        except InvalidSchema as error:
            self._fault((*at, *error.path), f"not a JSON Schema: {error}")
            return Schema({})

    def _refuse_expression(self, at: Path, error: InvalidExpression) -> None:
        self.problems.append(self.document.problem_within(at, error, f"expression: {error}"))

    def _fault(self, at: Path, message: str, *, key: bool = False) -> None:
        self.problems.append(self.document.problem(at, message, key=key))


def _instead_of(word: str, known: Iterable[str]) -> str:
    """Say what could be meant, or what there is."""
    choices = list(known)
    near = nearest(word, choices)
    return f"did you mean {near!r}?" if near else f"expected one of: {', '.join(choices) or '(none)'}"
