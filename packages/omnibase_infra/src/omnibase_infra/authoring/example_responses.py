"""What nodes answer to the examples of their contracts, where nobody outside has to be asked. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.engine.logic import conclude, plan
from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.errors import OnexError
from omnibase_core.ports import InlineHandler
from omnibase_infra.authoring.reference import example_payload

EXAMPLE_ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
EXAMPLE_TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def answers_of(
    nodes: Sequence[CompiledNode], handlers: Mapping[str, InlineHandler]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Serve each operation's example, and give the answers by node and operation; what fails gives none."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for node in nodes:
        for name, operation in node.operations.items():
            try:
                answer = _answer(node, example_command(node, name, example_payload(operation)), handlers)
            except OnexError:
                continue
            if answer is not None:
                found[node.contract.name, name] = answer
    return found


def example_command(node: CompiledNode, operation: str, payload: Mapping[str, Any]) -> OnexEnvelope:
    """Make the command of an example: the same each time."""
    return OnexEnvelope(
        envelope_version=ENVELOPE_VERSION,
        envelope_id=EXAMPLE_ID,
        correlation_id=EXAMPLE_ID,
        node_slug=node.contract.name,
        operation=operation,
        payload=dict(payload),
        timestamp=EXAMPLE_TIME,
    )


def _answer(
    node: CompiledNode, command: OnexEnvelope, handlers: Mapping[str, InlineHandler]
) -> Mapping[str, Any] | None:
    planned = plan(node, command, now=EXAMPLE_TIME)
    if planned.call is None:
        return conclude(planned, {})
    handler = handlers.get(planned.call.handler_type)
    return None if handler is None else conclude(planned, handler.execute_inline(planned.call))
