"""From a node contract to what runs: schemas and mappings compiled once, checked against what the handlers offer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from omnibase_core.contracts.compiler.compiled import CompiledCall, CompiledNode, CompiledOperation
from omnibase_core.contracts.compiler.error_rules import (
    misfits_of_rules,
    misfits_of_rules_without_handler,
    rules_of_failures,
    rules_of_results,
)
from omnibase_core.contracts.compiler.schema_lint import compiled_schema
from omnibase_core.contracts.compiler.types import TypeProblem, clash, misfits, misfits_of_constants, misfits_of_leaves
from omnibase_core.contracts.compiler.unevaluated_expressions import unevaluated
from omnibase_core.contracts.json_schema import Schema
from omnibase_core.contracts.node import Isolation, NodeContract, NodeKind, Operation
from omnibase_core.contracts.yaml.document import Document, Path, suggestion
from omnibase_core.contracts.yaml.scalars import shown
from omnibase_core.errors import InvalidExpression, Problem
from omnibase_core.expressions import (
    DYNAMIC,
    NOTHING,
    REQUEST_NAMES,
    Coercions,
    Compiler,
    Template,
    Type,
    coercion_to,
    is_expression,
    request_types,
    type_of_annotation,
    type_of_model,
    type_of_object,
    type_of_schema,
)
from omnibase_core.handlers.compute import COMPUTE, FunctionCall
from omnibase_core.handlers.signatures import NodeFunction
from omnibase_core.ports import HandlerDescription
from omnibase_core.problem_codes import ProblemCode

_KEY_KINDS = ("string", "int", "uint", "double")
_NO_FUNCTIONS: Mapping[str, NodeFunction] = {}


def compile_node(
    contract: NodeContract,
    document: Document,
    handlers: Mapping[str, HandlerDescription],
    functions: Mapping[str, NodeFunction] = _NO_FUNCTIONS,
) -> tuple[CompiledNode, Sequence[Problem]]:
    """Compile a node and collect every fault found on the way; with a fault, the node must not be run.

    `functions` are those that were imported, by name: what they take and give is checked too.
    """
    compiler = _Compiler(contract, document, handlers, functions)
    return compiler.node(), compiler.problems


@dataclass
class _Compiler:
    """Walks one contract from the top; collects problems instead of raising them."""

    contract: NodeContract
    document: Document
    handlers: Mapping[str, HandlerDescription]
    functions: Mapping[str, NodeFunction]
    problems: list[Problem] = field(default_factory=list)

    def node(self) -> CompiledNode:
        compute = self.contract.kind is NodeKind.COMPUTE
        handler_type = self._compute() if compute else self._effect()
        handler = None if compute or handler_type == COMPUTE else self.handlers.get(handler_type)
        self._isolation()
        self._idempotency()
        operations = {
            name: self._operation(name, operation, handler) for name, operation in self.contract.operations.items()
        }
        self._fit(unevaluated(self.document.tree))
        return CompiledNode(contract=self.contract, handler_type=handler_type, operations=operations)

    def _compute(self) -> str:
        for key in ("handler", "target"):
            if getattr(self.contract, key) is not None:
                unread = f"a compute node has no {key}; remove it, or write kind: effect"
                self._fault((key,), unread, code="unused-key", key=True)
        return COMPUTE

    def _effect(self) -> str:
        handler_type = self.contract.handler
        known = [name for name in self.handlers if name != COMPUTE]
        if handler_type is None:
            self._fault((), f"missing key 'handler'; expected one of: {', '.join(known)}", code="missing-key")
            return ""
        if handler_type not in known:
            hint, near = suggestion(handler_type, known)
            unknown = f"handler {handler_type!r} is not registered; {hint}"
            self._fault(("handler",), unknown, code="unknown-handler", nearest=near)
            return handler_type
        takes_target = self.handlers[handler_type].target is not None
        if takes_target and self.contract.target is None:
            missing = f"missing key 'target': handler {handler_type!r} needs one, bound in the host contract"
            self._fault(("handler",), missing, code="missing-key")
        if not takes_target and self.contract.target is not None:
            unread = f"handler {handler_type!r} takes no target; remove it"
            self._fault(("target",), unread, code="unused-key", key=True)
        return handler_type

    def _idempotency(self) -> None:
        """What has no effect needs no key, and one key for all commands is none."""
        written = self.contract.idempotency
        if written is None:
            return
        if self.contract.kind is NodeKind.COMPUTE:
            unread = "a compute node has no effect that could happen twice; remove it"
            self._fault(("idempotency",), unread, code="unused-key", key=True)
        elif is_expression(written.key) and not any(name in written.key for name in REQUEST_NAMES):
            same = f"the key {shown(written.key)} is the same for every command"
            told = f"{same}; read one of: {', '.join(REQUEST_NAMES)}"
            self._fault(("idempotency", "key"), told, code="wrong-value")

    def _isolation(self) -> None:
        """Where functions run is said of nodes that have some; a wait for a worker leaves time for the function."""
        delivery = self.contract.delivery
        at: Path = ("delivery", "isolation")
        if "isolation" not in delivery.model_fields_set:
            return
        if self.contract.kind is not NodeKind.COMPUTE:
            unread = "only a compute node's functions can be isolated; remove it"
            self._fault(at, unread, code="unused-key", key=True)
        elif not any(operation.logic for operation in self.contract.operations.values()):
            unread = "nothing is isolated without 'logic': expressions run on the loop; remove it"
            self._fault(at, unread, code="unused-key", key=True)
        elif delivery.isolation is Isolation.PROCESS and delivery.budget_s > delivery.timeout_s:
            found = f"timeout_s {delivery.timeout_s:g} is less than budget_s {delivery.budget_s:g}"
            meaning = "with isolation: process it bounds the wait for a worker and the function"
            self._fault(at, f"{found}; {meaning}", code="wrong-value")

    def _operation(self, name: str, operation: Operation, handler: HandlerDescription | None) -> CompiledOperation:
        at: Path = ("operations", name)
        function = None if operation.logic is None else self.functions.get(operation.logic)
        takes = self._input(at, operation, function)
        # What is no schema says nothing of what expressions read.
        accepted = self._schema((*at, "input"), takes)
        payload = DYNAMIC if accepted is None else type_of_object(takes)
        asking = Compiler(request_types(payload), self._refuse_expression)
        if self.contract.kind is NodeKind.COMPUTE:
            call = self._function(at, operation, function, asking)
            result = NOTHING if call is None else call.result
        else:
            call = self._handler_call(at, operation, handler, asking)
            result = DYNAMIC if call is None else call.result
        answering = asking.reading({"result": result})
        gives = self._output(operation, function)
        produced = None if operation.output is None else self._schema((*at, "output"), operation.output)
        if operation.output is not None and produced is None:
            gives = None
        return CompiledOperation(
            name=name,
            input=Schema({}) if accepted is None else accepted,
            call=call,
            # The rules come first: what they refuse, the answer need not look at.
            rules=tuple(rules_of_results(operation.errors, answering, (*at, "errors"))),
            failure_rules=tuple(rules_of_failures(operation.errors, asking, (*at, "errors"))),
            answer=self._answer(at, operation, answering, gives),
            output=produced,
            types=answering.types,
            coercions=Coercions(coercion_to(payload), coercion_to(result)),
            input_schema=takes,
            output_schema=gives,
            idempotency_key=self._idempotency_key(asking),
        )

    def _idempotency_key(self, asking: Compiler) -> Template | None:
        """Compile the node's key for one operation, whose payload it may read."""
        written = self.contract.idempotency
        if written is None:
            return None
        at: Path = ("idempotency", "key")
        if not is_expression(written.key):
            told = f"found {written.key!r}, expected an expression: write ${{ {written.key} }}"
            self._refuse_expression(at, InvalidExpression(told))
            return None
        key = asking.template(written.key, at)
        if not asking.leaves[at].may_be(_KEY_KINDS):
            told = f"the key gives {asking.leaves[at]}, expected text or a number"
            self._fault(at, told, code="expression-type")
        return key

    def _input(self, at: Path, operation: Operation, function: NodeFunction | None) -> Mapping[str, Any]:
        """Return the schema of the payload: the contract's, else that of the model that its function takes."""
        if operation.input is not None:
            return operation.input
        if operation.logic is None or operation.request is not None:
            self._fault((*at, "input"), "missing key 'input'", code="missing-key")
        elif function is not None and function.takes is None:
            told = f"missing key 'input': the parameter of {function.name} is not a model that could take its place"
            self._fault((*at, "input"), told, code="missing-key")
        if function is None or function.takes is None:
            return {}
        return function.takes.model_json_schema()

    def _output(self, operation: Operation, function: NodeFunction | None) -> Mapping[str, Any] | None:
        """Return the schema of the answer: the contract's, else that of the model that its function gives."""
        if operation.output is None and operation.answer is None and function is not None and function.gives:
            return function.gives.model_json_schema(mode="serialization")
        return operation.output

    def _function(
        self, at: Path, operation: Operation, function: NodeFunction | None, asking: Compiler
    ) -> CompiledCall | None:
        if operation.call is not None:
            unread = "a compute node calls no handler; name a function in 'logic'"
            self._fault((*at, "call"), unread, code="unused-key", key=True)
        self._fit(misfits_of_rules_without_handler(operation.errors, (*at, "errors")))
        name = operation.logic
        if name is None:
            if operation.answer is None:
                missing = "an operation of a compute node needs 'logic', 'answer' or both"
                self._fault(at, missing, code="missing-key", key=True)
            if operation.request is not None:
                self._fault((*at, "request"), "nothing reads a request without 'logic'", code="unused-key", key=True)
            return None
        written = "${ payload }" if operation.request is None else operation.request
        argument = asking.template(written, (*at, "request"))
        if function is not None:
            takes = type_of_annotation(function.annotations.get("takes"), taken=True)
            self._fit(misfits(written, asking.leaves, takes, (*at, "request")))
        gives = DYNAMIC if function is None else type_of_annotation(function.annotations.get("gives"), taken=False)
        fixed = {"function": name, "budget_s": self.contract.delivery.budget_s}
        return CompiledCall("call", lambda scope: {**fixed, "argument": argument(scope)}, FunctionCall, gives)

    def _handler_call(
        self, at: Path, operation: Operation, handler: HandlerDescription | None, asking: Compiler
    ) -> CompiledCall | None:
        if operation.logic is not None:
            unread = "only a compute node has logic; write kind: compute"
            self._fault((*at, "logic"), unread, code="unused-key", key=True)
        written = {} if operation.request is None else operation.request
        request = asking.template(written, (*at, "request"))
        if handler is None:
            return None
        called = operation.call or next(iter(handler.operations))
        if called not in handler.operations:
            hint, near = suggestion(called, handler.operations)
            unknown = f"handler {handler.handler_type!r} has no operation {called!r}; {hint}"
            self._fault((*at, "call"), unknown, code="unknown-operation", nearest=near)
            return None
        self._fit(misfits_of_rules(operation.errors, handler, called, (*at, "errors")))
        described = handler.operations[called]
        self._request_keys((*at, "request"), written, described.request)
        self._request_values((*at, "request"), written, described.request, asking.leaves)
        if described.faults is not None:
            self._handler_faults((*at, "request"), described.faults(written))
        gives = described.result if described.gives is None else described.gives(written)
        typed = type_of_model(gives, taken=False)
        return CompiledCall(called, request, described.request, typed, described.asks_a_node)

    def _handler_faults(self, at: Path, faults: Iterable[tuple[Path, InvalidExpression]]) -> None:
        """Add what the handler finds in a request; what it tells of a place replaces what was told."""
        told = [
            self.document.problem_within((*at, *path), error, str(error), code="bad-request") for path, error in faults
        ]
        places = {(problem.line, problem.column) for problem in told}
        whole = self.document.place(at)

        def is_told(problem: Problem) -> bool:
            # What a model says of a whole request is what the handler says of its keys.
            is_of_whole = problem.code == "wrong-value" and (problem.line, problem.column) == (whole.line, whole.column)
            return (problem.line, problem.column) in places or (is_of_whole and bool(told))

        self.problems[:] = [it for it in self.problems if not is_told(it)] + told

    def _answer(
        self, at: Path, operation: Operation, answering: Compiler, gives: Mapping[str, Any] | None
    ) -> Template | None:
        """Compile the answer, and hold what is known of it to the output."""
        path = (*at, "answer")
        expected = DYNAMIC if gives is None else type_of_schema(gives)
        if operation.answer is None:
            fault = clash(answering.types["result"], expected)
            if fault is not None:
                self._fault(
                    (*at, "output"), f"without an answer, the result is the answer, and it {fault}", code="wrong-type"
                )
            return None
        answer = answering.template(operation.answer, path)
        self._fit(misfits(operation.answer, answering.leaves, expected, path))
        return answer

    def _request_keys(self, at: Path, request: Any, model: type[BaseModel]) -> None:
        """Check the keys of a request that is written out against the model: what nothing reads is an error."""
        if not isinstance(request, Mapping):
            if not is_expression(request):
                self._fault(at, f"found {shown(request)}, expected a mapping or an expression", code="wrong-type")
            return
        known = {field.alias or name: field for name, field in model.model_fields.items()}
        meant = set()
        for key in request:
            if key not in known and model.model_config.get("extra") != "allow":
                hint, near = suggestion(key, known)
                meant.add(near)
                self._fault((*at, key), f"unknown key {key!r}; {hint}", code="unknown-key", key=True, nearest=near)
        for name, field_ in known.items():
            if field_.is_required() and name not in request and name not in meant:
                self._fault(at, f"missing key {name!r} in the request of {model.__name__}", code="missing-key")

    def _request_values(self, at: Path, request: Any, model: type[BaseModel], leaves: Mapping[Path, Type]) -> None:
        """Check the values of a request against the model, as far as they are known."""
        expected = type_of_model(model, taken=True)
        if is_expression(request):
            self._fit(misfits(request, leaves, expected, at))
        elif isinstance(request, Mapping):
            self._fit(misfits_of_constants(request, model, at))
            for key, value in request.items():
                if key in expected.fields:
                    self._fit(misfits_of_leaves(value, leaves, expected.fields[key].type, (*at, key)))

    def _schema(self, at: Path, schema: Mapping[str, Any]) -> Schema | None:
        compiled, faults = compiled_schema(schema, at, written=at in self.document.values)
        self._fit(faults)
        return compiled

    def _refuse_expression(self, at: Path, error: InvalidExpression) -> None:
        self._tell(self.document.problem_within(at, error, f"expression: {error}", code=error.problem))

    def _fit(self, found: Iterable[TypeProblem]) -> None:
        for it in found:
            self._fault(it.at, it.message, code=it.code, key=it.key, nearest=it.nearest)

    def _fault(
        self, at: Path, message: str, *, code: ProblemCode, key: bool = False, nearest: str | None = None
    ) -> None:
        self._tell(self.document.problem(at, message, code=code, key=key, nearest=nearest))

    def _tell(self, problem: Problem) -> None:
        """Report a fault once, though what is of all operations is looked at with each."""
        if problem not in self.problems:
            self.problems.append(problem)
