"""The error rules of an operation: compiled, and held to what its handler can fail with. Pure."""

from collections.abc import Iterator, Sequence

from omnibase_core.contracts.compiler.compiled import CompiledRule
from omnibase_core.contracts.compiler.types import TypeProblem
from omnibase_core.contracts.node import ErrorRule
from omnibase_core.contracts.yaml.document import Path, suggestion
from omnibase_core.expressions import FAILURE_TYPE, Compiler, Scope
from omnibase_core.ports import HandlerDescription


def rules_of_results(rules: Sequence[ErrorRule], answering: Compiler, at: Path) -> Iterator[CompiledRule]:
    """Compile what is asked of a result; `answering` knows afterwards that no rule held."""
    for index, rule in enumerate(rules):
        if rule.on is None and rule.when is not None:
            yield CompiledRule(answering.refusal(rule.when, (*at, index, "when")), rule, index)


def rules_of_failures(rules: Sequence[ErrorRule], asking: Compiler, at: Path) -> Iterator[CompiledRule]:
    """Compile what is asked of a failure: each rule by itself, since each may be about another failure."""
    for index, rule in enumerate(rules):
        if rule.on is not None:
            reading = asking.reading({"error": FAILURE_TYPE})
            when = _always if rule.when is None else reading.refusal(rule.when, (*at, index, "when"))
            yield CompiledRule(when, rule, index)


def misfits_of_rules(
    rules: Sequence[ErrorRule], handler: HandlerDescription, called: str, at: Path
) -> Iterator[TypeProblem]:
    """Find rules for what never happens: failures that the handler's operation does not have, or that are taken."""
    described = handler.operations[called].errors
    codes = handler.errors if described is None else described
    taken: dict[tuple[str, str | None], int] = {}
    for index, rule in enumerate(rules):
        if rule.on is None:
            continue
        place = (*at, index, "on")
        if rule.on not in codes:
            hint, near = suggestion(rule.on, codes)
            told = f"{called!r} of the handler {handler.handler_type!r} does not fail with {rule.on!r}; {hint}"
            yield TypeProblem(at=place, message=told, code="unknown-failure", nearest=near)
        first = taken.get((rule.on, None), taken.get((rule.on, rule.when)))
        if first is not None:
            told = f"rule {first + 1} comes first and takes this {rule.on!r} already; remove one of them"
            yield TypeProblem(at=place, message=told, code="unused-key")
        taken.setdefault((rule.on, rule.when), index)


def misfits_of_rules_without_handler(rules: Sequence[ErrorRule], at: Path) -> Iterator[TypeProblem]:
    """Find rules for failures in a compute node: it asks no handler, and its function can say itself what is wrong."""
    told = "a compute node has no handler that could fail; its function raises CommandRejected instead"
    for index, rule in enumerate(rules):
        if rule.on is not None:
            yield TypeProblem(at=(*at, index, "on"), message=told, code="unused-key", key=True)


def _always(_: Scope) -> bool:
    return True
