"""The codes of the error answers that the host itself gives, whatever the node: what each means. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from omnibase_core.contracts.compiled import CompiledNode
from omnibase_core.contracts.node import Isolation, NodeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a code of the engine means, and what becomes of the command.

    `rejected`: the sender is at fault, there is no dead letter.
    """

    meaning: str
    rejected: bool = False
    retryable: bool = False


ENGINE: Mapping[str, Failure] = {
    "payload_invalid": Failure(meaning="The payload does not fit the input schema.", rejected=True),
    "operation_missing": Failure(meaning="The command names no operation, and the node has several.", rejected=True),
    "unknown_operation": Failure(meaning="The node has no operation of this name.", rejected=True),
    "node_mismatch": Failure(meaning="The command is for another node than the topic that it came by."),
    "handler_mismatch": Failure(meaning="The command's handler type is not that of the contract.", rejected=True),
    "expired": Failure(meaning="The command was served after its `expires_at`.", rejected=True),
    "request_invalid": Failure(meaning="What the contract asks of its handler is off the handler's model."),
    "expression_failed": Failure(meaning="An expression of the contract could not be evaluated on this command."),
    "answer_invalid": Failure(meaning="The answer does not fit the output schema, or is no object."),
    "answer_too_large": Failure(meaning="The answer is larger than the bus takes."),
    "timeout": Failure(meaning="The handler gave no result within `delivery.timeout_s`.", retryable=True),
    "idempotency_key_invalid": Failure(meaning="The key of `idempotency` came to be neither text nor a number."),
    "recorded_answer_unreadable": Failure(meaning="What the store has for this key is no answer."),
    "internal_error": Failure(meaning="A bug of the node's function, or of a handler: what it raised, `sys.exit` too."),
    "headers_unreadable": Failure(meaning="A header of the command cannot be read, such as a name that is not UTF-8."),
    "unknown_node": Failure(meaning="No host of the pool has the node any more.", retryable=True),
    "host_full": Failure(meaning="The host holds as many requests as it may.", rejected=True, retryable=True),
}


def failures_of(node: CompiledNode) -> dict[str, Failure]:
    """Give the codes that can come of a node: one that calls nobody, or waits for nobody, has fewer."""
    without = set()
    if len(node.contract.operations) == 1:
        without.add("operation_missing")
    if node.contract.kind is NodeKind.COMPUTE and node.contract.delivery.isolation is Isolation.INLINE:
        without.add("timeout")
    if not any(operation.call for operation in node.operations.values()):
        without.add("request_invalid")
    if node.contract.idempotency is None:
        without |= {"idempotency_key_invalid", "recorded_answer_unreadable"}
    return {code: it for code, it in ENGINE.items() if code not in without}
