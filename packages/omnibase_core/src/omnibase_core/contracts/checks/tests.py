"""What a test says, held to what its node takes and its handler gives. Pure.

A test that could never pass, or that plays what production never does, is at fault before it is run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from omnibase_core.contracts.compiler.compiled import CompiledNode, CompiledOperation
from omnibase_core.contracts.tests import OF_A_CASE, Case, Expectation, Given, NodeTests, ScriptedCall, Sent
from omnibase_core.contracts.validation import problems_of
from omnibase_core.contracts.yaml.document import Document, Path, suggestion
from omnibase_core.errors import Problem
from omnibase_core.handlers.compute import COMPUTE
from omnibase_core.handlers.local import LOCAL_DESCRIPTION
from omnibase_core.ports import HandlerDescription
from omnibase_core.problem_codes import ProblemCode

PURE = frozenset({COMPUTE, LOCAL_DESCRIPTION.handler_type})
"""The handlers that are not played: they do no I/O, so they run in a test as they do in production."""


def faults_of_cases(
    tests: NodeTests, document: Document, node: CompiledNode, handlers: Mapping[str, HandlerDescription]
) -> Iterator[Problem]:
    """Yield every fault of a node's tests, at its place."""
    checker = _Checker(document, node, handlers)
    yield from checker.repeated((("cases", index), case.name) for index, case in enumerate(tests.cases))
    for index, case in enumerate(tests.cases):
        yield from checker.case(("cases", index), case)


@dataclass(frozen=True, slots=True)
class _Checker:
    """Walks the cases of one file; each method gives the faults of one part."""

    document: Document
    node: CompiledNode
    handlers: Mapping[str, HandlerDescription]

    def case(self, at: Path, case: Case) -> Iterator[Problem]:
        if case.commands is not None:
            yield from self.repeated(((*at, *below), sent.name) for below, sent in case.sent)
            yield from self._order(at, case)
            if case.expect.outcomes:
                key = case.expect.outcomes[0]
                yield self._fault((*at, "expect", key), f"with commands, {key!r} belongs to one of them", key=True)
        for below, sent in case.sent:
            yield from self._sent((*at, *below), sent, is_alone=case.commands is None)

    def repeated(self, named: Iterable[tuple[Path, str]]) -> Iterator[Problem]:
        seen: dict[str, Path] = {}
        for at, name in named:
            if name in seen:
                line = self.document.place((*seen[name], "name")).line
                yield self._fault((*at, "name"), f"the name {name!r} is taken in line {line}", code="name-taken")
            seen.setdefault(name, at)

    def _order(self, at: Path, case: Case) -> Iterator[Problem]:
        names = [sent.name for _, sent in case.sent]
        for index, name in enumerate(case.expect.order or ()):
            if name not in names:
                yield self._fault((*at, "expect", "order", index), f"no command {name!r}; {suggestion(name, names)[0]}")

    def _sent(self, at: Path, sent: Sent, *, is_alone: bool) -> Iterator[Problem]:
        yield from self._outcome((*at, "expect"), sent.expect)
        for key in OF_A_CASE if not is_alone else ("order",):
            if getattr(sent.expect, key) is not None:
                where = "the case" if not is_alone else "a case with commands"
                yield self._fault((*at, "expect", key), f"{key!r} belongs to the expect of {where}", key=True)
        operation = self.node.operations.get(_name_of(sent.given, self.node) or "")
        if operation is None:
            yield from self._unknown_operation((*at, "given"), sent)
            return
        yield from self._payload((*at, "given", "payload"), sent, operation)
        yield from self._handler((*at, "handler"), sent, operation)
        if sent.expect.answer is not None and operation.output is not None:
            for fault in operation.output.faults(sent.expect.answer):
                yield self._fault((*at, "expect", "answer"), f"the node's output can never be this: {fault}")

    def _outcome(self, at: Path, expect: Expectation) -> Iterator[Problem]:
        if not expect.outcomes:
            yield self._fault(at, "a command always gets an answer; write answer, answer_includes or error", key=True)
        if "error" in expect.outcomes and len(expect.outcomes) > 1:
            yield self._fault((*at, "error"), "an answer is a result or an error; remove one of them", key=True)

    def _unknown_operation(self, at: Path, sent: Sent) -> Iterator[Problem]:
        found, known = sent.given.operation, list(self.node.operations)
        code = "operation_missing" if found is None else "unknown_operation"
        if sent.expect.code == code:
            return
        meant = f"or, if intended, expect error: {code}"
        if found is None:
            yield self._fault(at, f"missing key 'operation'; expected one of: {', '.join(known)}; {meant}")
        else:
            message = (
                f"node {self.node.contract.name!r} has no operation {found!r}; {suggestion(found, known)[0]} {meant}"
            )
            yield self._fault((*at, "operation"), message)

    def _payload(self, at: Path, sent: Sent, operation: CompiledOperation) -> Iterator[Problem]:
        if sent.expect.code != "payload_invalid":
            for fault in operation.input.faults(sent.given.payload):
                yield self._fault(
                    at,
                    f"the payload does not match the input schema: {fault}; if intended, expect error: payload_invalid",
                )

    def _handler(self, at: Path, sent: Sent, operation: CompiledOperation) -> Iterator[Problem]:
        handler_type = self.node.handler_type
        if not sent.handler or handler_type not in self.handlers:
            return
        if operation.call is None or handler_type in PURE:
            why = f"{handler_type!r} is pure and runs as it is" if operation.call else "it has no handler"
            yield self._fault(at, f"nothing is to be played for this operation: {why}; remove it", key=True)
            return
        description = self.handlers[handler_type].operations[operation.call.operation]
        for index, scripted in enumerate(sent.handler):
            yield from self._scripted((*at, index), scripted, description.request, description.result)

    def _scripted(
        self, at: Path, scripted: ScriptedCall, request: type[BaseModel], result: type[BaseModel]
    ) -> Iterator[Problem]:
        known = {field.alias or name for name, field in request.model_fields.items()}
        if request.model_config.get("extra") != "allow":
            for key in (scripted.request or {}).keys() - known:
                message = f"no request has the key {key!r}; {suggestion(key, sorted(known))[0]}"
                yield self._fault((*at, "request", key), message, key=True)
        if scripted.result is not None:
            try:
                result.model_validate(scripted.result)
            except ValidationError as error:
                yield from problems_of(self.document, error, model=result, at=(*at, "result"))

    def _fault(self, at: Path, message: str, *, code: ProblemCode = "bad-test", key: bool = False) -> Problem:
        return self.document.problem(at, message, code=code, key=key)


def _name_of(given: Given, node: CompiledNode) -> str | None:
    """Return the operation that a command is for; None where it had to be named."""
    if given.operation is None and len(node.operations) == 1:
        return next(iter(node.operations))
    return given.operation
