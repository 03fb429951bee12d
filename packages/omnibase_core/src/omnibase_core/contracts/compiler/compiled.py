"""A node contract that is ready to run: its schemas and mappings as they were compiled. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from omnibase_core.contracts.json_schema import Schema
from omnibase_core.contracts.node import ErrorRule, NodeContract
from omnibase_core.expressions import Coercions, Template, Type


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """An error rule, ready: `when` is evaluated on the result, or on the failure. `index` is its place in `errors`."""

    when: Template
    rule: ErrorRule
    index: int


@dataclass(frozen=True, slots=True)
class CompiledCall:
    """What an operation asks of its handler: which operation, with what request; and the type of what it gives.

    `asks_a_node`: it waits for the answer of another node.
    """

    operation: str
    request: Template
    model: type[BaseModel]
    result: Type
    asks_a_node: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledOperation:
    """One operation, ready to plan and to conclude. `call` is None where expressions alone give the answer.

    `input_schema` and `output_schema` are the schemas as JSON: written in the contract, or those of the models that its
    function takes and gives. `types` are those of what its expressions read.
    """

    name: str
    input: Schema
    call: CompiledCall | None
    rules: tuple[CompiledRule, ...]
    """What is asked of a result."""
    failure_rules: tuple[CompiledRule, ...]
    """What is asked of a failure of the handler: those with `on`."""
    answer: Template | None
    output: Schema | None
    types: Mapping[str, Type]
    coercions: Coercions
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    idempotency_key: Template | None = None
    """What a command's effect happens once for; None for a node without idempotency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledNode:
    """A node contract with all its operations compiled."""

    contract: NodeContract
    handler_type: str
    operations: Mapping[str, CompiledOperation]
    name: str = field(init=False)
    target: str | None = field(init=False)
    timeout_s: float = field(init=False)
    addressees: tuple[str | None, ...] = field(init=False)
    """What a command may say of the handler that is to serve it."""

    def __post_init__(self) -> None:
        """Have at hand what is looked at for each command."""
        facts: dict[str, object] = {
            "name": self.contract.name,
            "target": self.contract.target,
            "timeout_s": self.contract.delivery.timeout_s,
            "addressees": (None, self.handler_type),
        }
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    @property
    def asks_a_node(self) -> bool:
        """Whether an operation of it waits for the answer of another node."""
        return any(it.call is not None and it.call.asks_a_node for it in self.operations.values())
