"""What of a node its tests have shown: its operations, both ways of each error rule, and its errors. Pure.

- An operation is covered by an answer that is a result.
- An error rule has two ways: it holds, and it does not. One that takes every failure of its code has the first alone.
- The errors of an operation are the codes of its rules, `payload_invalid` where its input schema refuses anything, and
  a failure of the handler where it is one that does I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from omnibase_core.contract_tests.scripted_handler import Record, SentRecord
from omnibase_core.contracts.checks.tests import PURE
from omnibase_core.contracts.compiler.compiled import CompiledNode, CompiledOperation, CompiledRule
from omnibase_core.contracts.tests import Case

KINDS = ("operations", "rules", "errors")

_SAYS_NOTHING = frozenset({"$comment", "$schema", "default", "description", "examples", "title"})
_FAILURE = "a failure of the handler"
_REFUSED = "payload_invalid"


class Goal(NamedTuple):
    """One thing to show. `kind` is one of KINDS, `what` says it in words."""

    kind: str
    operation: str
    what: str


@dataclass(slots=True)
class Coverage:
    """What is to be shown of one node, and what was."""

    goals: Sequence[Goal]
    reached: set[Goal] = field(default_factory=set)

    @classmethod
    def of(cls, node: CompiledNode) -> "Coverage":
        """Start with nothing shown."""
        return cls([goal for operation in node.operations.values() for goal in _goals(operation, node)])

    def add(self, node: CompiledNode, case: Case, record: Record) -> None:
        """Take what a case has shown, whether or not it was as expected."""
        for (_, sent), found in zip(case.sent, record.sent, strict=True):
            # A command may leave out the operation where there is one; else it gets an error that is nobody's.
            named = sent.given.operation or next(iter(node.operations))
            operation = node.operations.get(named)
            if operation is not None:
                self.reached.update(_shown(operation, found))
        for name, index, holds in record.rules:
            operation = node.operations[name]
            compiled = next(it for it in (*operation.rules, *operation.failure_rules) if it.index == index)
            self.reached.add(_way(name, compiled, holds=holds))

    @property
    def missing(self) -> Sequence[Goal]:
        """What was not shown."""
        return [goal for goal in self.goals if goal not in self.reached]

    def count(self, kind: str) -> tuple[int, int]:
        """Return how many things of a kind were shown, and how many there are."""
        of_kind = [goal for goal in self.goals if goal.kind == kind]
        return sum(goal in self.reached for goal in of_kind), len(of_kind)


def percentage(coverages: Sequence[Coverage]) -> float:
    """Return the share of what was shown of all that there is to show."""
    there = sum(len(it.goals) for it in coverages)
    return 100.0 if not there else 100.0 * (there - sum(len(it.missing) for it in coverages)) / there


def _goals(operation: CompiledOperation, node: CompiledNode) -> list[Goal]:
    rules = sorted((*operation.rules, *operation.failure_rules), key=lambda it: it.index)
    ways = [
        _way(operation.name, compiled, holds=holds)
        for compiled in rules
        for holds in ((True,) if compiled.rule.when is None else (True, False))
    ]
    codes = dict.fromkeys(compiled.rule.code for compiled in rules)
    if _refuses(operation.input_schema):
        codes[_REFUSED] = None
    if operation.call is not None and node.handler_type not in PURE:
        codes[_FAILURE] = None
    errors = [Goal("errors", operation.name, code) for code in codes]
    return [Goal("operations", operation.name, "a result"), *ways, *errors]


def _way(operation: str, compiled: CompiledRule, *, holds: bool) -> Goal:
    way = "holds" if holds else "does not hold"
    return Goal("rules", operation, f"rule {compiled.index + 1}, {compiled.rule.code}, {way}")


def _shown(operation: CompiledOperation, found: SentRecord) -> list[Goal]:
    shown = [Goal("errors", operation.name, _FAILURE)] if found.handler_failed else []
    for _, answer in found.answers:
        goal = ("operations", "a result") if answer.error is None else ("errors", answer.error.code)
        shown.append(Goal(goal[0], operation.name, goal[1]))
    return shown


def _refuses(schema: Mapping[str, Any]) -> bool:
    """Check whether a schema refuses any payload. That a payload is an object is known before it is asked."""
    return bool({key for key, value in schema.items() if (key, value) != ("type", "object")} - _SAYS_NOTHING)
