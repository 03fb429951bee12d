"""The reference of nodes in Markdown: a page for each, with every code of an error, and an index. Pure."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.compiler.compiled import CompiledNode, CompiledOperation
from omnibase_core.contracts.node import ErrorRule, Isolation, NodeContract, NodeKind, OnRetry, Operation
from omnibase_core.ports import HandlerDescription
from omnibase_infra.authoring.json_schema import sample
from omnibase_infra.authoring.schema_tables import fields_of

MARK = "<!-- Written by `runtime-host docs`: change the contract, not this page. -->"
"""The first line of every page: by it a page is known that may be written again."""

INDEX = "index.md"

_ORDERINGS = {"key": "one after the other for each key", "partition": "one after the other in each partition"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineError:
    """What a code of the engine means, and what becomes of the command.

    `rejected`: the sender is at fault, there is no dead letter.
    """

    meaning: str
    rejected: bool = False
    retryable: bool = False


ENGINE: Mapping[str, EngineError] = {
    "payload_invalid": EngineError(meaning="The payload does not fit the input schema.", rejected=True),
    "operation_missing": EngineError(
        meaning="The command names no operation, and the node has several.", rejected=True
    ),
    "unknown_operation": EngineError(meaning="The node has no operation of this name.", rejected=True),
    "node_mismatch": EngineError(meaning="The command is for another node than the topic that it came by."),
    "handler_mismatch": EngineError(meaning="The command's handler type is not that of the contract.", rejected=True),
    "expired": EngineError(meaning="The command was served after its `expires_at`.", rejected=True),
    "request_invalid": EngineError(meaning="The contract's request does not match the handler's model."),
    "expression_failed": EngineError(meaning="An expression of the contract could not be evaluated on this command."),
    "answer_invalid": EngineError(meaning="The answer does not fit the output schema, or is not an object."),
    "answer_too_large": EngineError(meaning="The answer is larger than the bus allows."),
    "timeout": EngineError(meaning="The handler gave no result within `delivery.timeout_s`.", retryable=True),
    "idempotency_key_invalid": EngineError(meaning="The key of `idempotency` came to be neither text nor a number."),
    "recorded_answer_unreadable": EngineError(meaning="What the store has for this key is not an answer."),
    "internal_error": EngineError(
        meaning="A bug of the node's function, or of a handler: what it raised, `sys.exit` too."
    ),
    "headers_unreadable": EngineError(
        meaning="A header of the command cannot be read, such as a name that is not UTF-8."
    ),
    "unknown_node": EngineError(meaning="No host of the pool has the node any more.", retryable=True),
    "host_full": EngineError(meaning="The host has reached its limit of requests.", rejected=True, retryable=True),
}


def failures_of(node: CompiledNode) -> dict[str, EngineError]:
    """Return the codes that can come of a node: one that calls nobody, or waits for nobody, has fewer."""
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


def reference(
    nodes: Sequence[CompiledNode],
    hosts: Sequence[LoadedHost],
    handlers: Mapping[str, HandlerDescription],
    answers: Mapping[tuple[str, str], Mapping[str, Any]],
    handler_links: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the pages by their file names. `answers` are known answers to examples, by node and operation.

    `handler_links` lead from a page to the contract of a handler.
    """
    pages = {INDEX: _index(nodes, hosts)}
    for node in nodes:
        known = {operation: it for (name, operation), it in answers.items() if name == node.contract.name}
        pages[f"{node.contract.name}.md"] = _page(
            node, hosts, handlers.get(node.handler_type), known, handler_links.get(node.handler_type)
        )
    return pages


def example_payload(operation: CompiledOperation) -> Any:
    """Return the payload that shows how an operation is asked: the first example of its input, or one made up."""
    made = sample(operation.input_schema)
    return made if isinstance(made, dict) else {}


def _index(nodes: Sequence[CompiledNode], hosts: Sequence[LoadedHost]) -> str:
    rows = [
        (f"[{it.name}]({it.name}.md)", it.kind.value, it.version, ", ".join(map(_code, it.operations)), it.description)
        for it in (node.contract for node in nodes)
    ]
    parts = [MARK, "# Nodes", _table(("Node", "Kind", "Version", "Operations", "What for"), rows)]
    if hosts:
        rows_of_hosts = [
            (
                host.contract.name,
                _code(f"{host.contract.environment}.{host.contract.tenant}"),
                host.contract.description,
            )
            for host in hosts
        ]
        parts += ["## Hosts", _table(("Host", "Environment and tenant", "What for"), rows_of_hosts)]
    return _joined(parts)


def _page(
    node: CompiledNode,
    hosts: Sequence[LoadedHost],
    handler: HandlerDescription | None,
    answers: Mapping[str, Mapping[str, Any]],
    handler_link: str | None,
) -> str:
    contract = node.contract
    parts = [MARK, f"# {contract.name}", contract.description, _facts(node, handler_link)]
    parts += ["## Topics", _topics(contract, hosts)]
    for name, operation in node.operations.items():
        parts += _operation(contract, operation, answers.get(name))
    parts += ["## Errors of every operation", _errors_of_all(node, handler)]
    parts += ["## Delivery", _delivery(contract)]
    return _joined(parts)


def _facts(node: CompiledNode, handler_link: str | None) -> str:
    contract = node.contract
    functions = dict.fromkeys(_code(it.logic) for it in contract.operations.values() if it.logic)
    computed = f"by {', '.join(functions)}" if functions else "by expressions alone"
    handler = _code(node.handler_type) if handler_link is None else f"[{_code(node.handler_type)}]({handler_link})"
    asked = f"by the handler {handler}" + (f", target `{contract.target}`" if contract.target else "")
    how = computed if contract.kind is NodeKind.COMPUTE else asked
    return f"Version {contract.version}, {contract.kind.value}: served {how}."


def _topics(contract: NodeContract, hosts: Sequence[LoadedHost]) -> str:
    serving = [host for host in hosts if any(it.contract.name == contract.name for it in host.nodes)]
    if not serving:
        name = f"node.{contract.name}.v{contract.major}"
        return (
            "No host of this folder serves the node. On one that does, commands go to "
            f"`onex.app.<environment>.<tenant>.cmd.{name}` and answers to `onex.app.<environment>.<tenant>.evt.{name}`."
        )
    rows = []
    for host in serving:
        names = host.contract.namespace
        where = (names.command(contract.name, contract.major), names.event(contract.name, contract.major))
        rows.append((host.contract.name, *map(_code, where), _code(names.dead_letter(host.contract.pool))))
    return _table(("Host", "Commands", "Answers", "Dead letters"), rows)


def _operation(contract: NodeContract, operation: CompiledOperation, answer: Mapping[str, Any] | None) -> Iterator[str]:
    name, takes = operation.name, operation.input_schema
    written = contract.operations[name]
    yield f"## Operation `{name}`"
    if "description" in takes:
        yield str(takes["description"])
    yield "### Takes"
    yield _fields(takes, nothing="Any object.")
    yield "### Answers"
    gives = operation.output_schema
    yield _answer(written) if gives is None else _fields(gives, nothing="Any object.")
    if written.errors:
        yield "### Errors"
        yield _rules(written)
    yield "### Example"
    yield from _example(contract, name, example_payload(operation), answer, several=len(contract.operations) > 1)


def _fields(schema: Mapping[str, Any], *, nothing: str) -> str:
    rows = [
        (_code(field.path), field.type, "yes" if field.required else "no", field.meaning) for field in fields_of(schema)
    ]
    if not rows:
        return nothing
    closed = schema.get("additionalProperties") is False
    table = _table(("Field", "Type", "Required", "Meaning"), rows)
    return table if closed else f"{table}\n\nFurther fields are allowed."


def _answer(operation: Operation) -> str:
    match operation.answer:
        case dict(answer):
            return _table(("Field", "Value"), [(_code(key), _written(value)) for key, value in answer.items()])
        case None:
            return "The result itself, as the function or the handler gives it."
    return f"What this gives: {_written(operation.answer)}"


def _written(value: Any) -> str:
    """Show what the contract writes: an expression without its braces, any other value as JSON."""
    if isinstance(value, str) and value.strip().startswith("${"):
        return _code(" ".join(value.strip()[2:-1].split()))
    return _code(json.dumps(value, ensure_ascii=False))


def _rules(operation: Operation) -> str:
    rows = [
        (_code(rule.code), rule.message or "", _condition(rule), "yes" if rule.retryable else "no")
        for rule in operation.errors
    ]
    return _table(("Code", "Message", "When", "Retryable"), rows)


def _condition(rule: ErrorRule) -> str:
    """Describe of which failure a rule is, if of any, and under which condition it holds, if under any."""
    parts = [] if rule.on is None else [f"the handler fails with {_code(rule.on)}"]
    if rule.when is not None:
        parts.append(_written(rule.when))
    return ", and ".join(parts)


def _example(
    contract: NodeContract, name: str, payload: Any, answer: Mapping[str, Any] | None, *, several: bool
) -> Iterator[str]:
    operation = f" --operation {name}" if several else ""
    document = json.dumps(payload, ensure_ascii=False)
    command = f"runtime-host send {contract.name}{operation} --payload {shlex.quote(document)}"
    said = "" if answer is None else f"\n{json.dumps(answer, indent=2, ensure_ascii=False)}"
    yield f"```console\n$ {command}{said}\n```"


def _errors_of_all(node: CompiledNode, handler: HandlerDescription | None) -> str:
    errors = handler.errors if handler and any(it.call for it in node.operations.values()) else {}
    rows = [
        (_code(code), it.meaning, "no" if it.rejected else "yes", "yes" if it.retryable else "no")
        for code, it in failures_of(node).items()
    ]
    of_handler = [
        (_code(code), it.meaning, "yes", _retryable(it.retryable)) for code, it in errors.items() if code not in ENGINE
    ]
    return _table(("Code", "Meaning", "Dead letter", "Retryable"), [*rows, *of_handler])


def _retryable(retryable: bool | str) -> str:  # noqa: FBT001 - a value, not a switch
    return retryable if isinstance(retryable, str) else "yes" if retryable else "no"


def _delivery(contract: NodeContract) -> str:
    delivery = contract.delivery
    retry = delivery.retry
    codes = f", for {', '.join(map(_code, retry.codes))} alone" if retry.codes else ""
    waits = "their lane waits" if delivery.on_retry is OnRetry.WAIT else "later commands overtake them"
    items = [
        f"Commands are served {_ORDERINGS.get(delivery.ordering.value, 'in no particular order')}, "
        f"at most {delivery.max_in_flight} at a time.",
        f"Attempts: at most {retry.attempts}{codes}; meanwhile {waits}.",
        f"Time: {delivery.timeout_s:g} s a call, {delivery.deadline_s:g} s in all.",
    ]
    if contract.kind is NodeKind.COMPUTE:
        items = [items[0], f"A function may take {delivery.budget_s:g} s."]
    return "\n".join(f"- {item}" for item in items)


# --- Markdown -----------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *(_row([_cell(it) for it in row]) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Keep a cell in its row, whatever the contract says."""
    return " ".join(text.split()).replace("|", r"\|")


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
