"""What a new node and a new host start from: contracts, a test and a function that pass every check at once. Pure."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import PurePath
from typing import Any

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.node import NodeKind
from omnibase_core.engine.logic import conclude, plan
from omnibase_core.errors import OnexError
from omnibase_core.handlers.local import LOCAL_DESCRIPTION, LocalHandler
from omnibase_core.ports import HandlerDescription, OperationDescription
from omnibase_infra.authoring.example_responses import EXAMPLE_TIME, example_command
from omnibase_infra.authoring.formatting import formatted
from omnibase_infra.authoring.json_schema import resolved, sample
from omnibase_infra.authoring.yaml_text import yaml_text

LOGIC_PACKAGE = "logic"
"""The package beside the contracts that new functions go to."""

_PAYLOAD_FIELD = re.compile(r"\bpayload\.([A-Za-z_]\w*)", re.ASCII)
_SCALARS = ("boolean", "integer", "number", "string")

Document = dict[str, Any]
Compile = Callable[[Mapping[str, str]], CompiledNode]
"""Compiles the one node among contracts, given as texts by their file names."""


@dataclass(frozen=True, slots=True)
class NewNode:
    """The files of a new node, by their paths below the folder that they are for."""

    contract: str
    test: str
    function: str | None


def effect_node(name: str, handler: HandlerDescription, target: str | None, load: Compile) -> NewNode:
    """Write a node that asks the first operation of a handler for what its request cannot do without."""
    asked = next(iter(handler.operations.values()))
    request = _request(asked)
    fields = dict.fromkeys(_PAYLOAD_FIELD.findall(json.dumps(request)))
    types = {it: _type_of_field(asked, it) for it in fields}
    answer = {it: f"${{ result.{it} }}" for it in _result_fields(asked)}
    operation: Document = {"input": _input(types), "request": request, "answer": answer}
    head: Document = {"handler": handler.handler_type, **({} if target is None else {"target": target})}
    contract = _contract(name, NodeKind.EFFECT, head, operation)
    node = load({f"{name}.yaml": contract})
    if handler.handler_type == LOCAL_DESCRIPTION.handler_type:
        return NewNode(contract, _test(name, [*_answered_case(node, None), _refused_case()]), None)
    cases = [*_answered_case(node, _sample_of_result(asked)), _failed_case(node, handler), _refused_case()]
    return NewNode(contract, _test(name, cases), None)


def compute_node(name: str) -> NewNode:
    """Write a node that calls a pure function, and the function."""
    function = _function_name(name)
    answer_schema = _object({"text": {"type": "string"}, "length": {"type": "integer", "minimum": 0}})
    operation: Document = {
        "input": {**_object({"text": {"type": "string"}}), "examples": [{"text": "hello"}]},
        "logic": f"{LOGIC_PACKAGE}.{function}:{function}",
        "output": answer_schema,
    }
    contract = _contract(name, NodeKind.COMPUTE, {}, operation)
    cases = [
        {
            "name": "answers with the text in capitals",
            "given": {"payload": {"text": "hello"}},
            "expect": {"answer": {"text": "HELLO", "length": 5}},
        },
        _refused_case(),
    ]
    return NewNode(
        contract, _test(name, cases, logic_packages=[LOGIC_PACKAGE]), _FUNCTION.format(name=name, function=function)
    )


def host(
    name: str, nodes: Sequence[CompiledNode], handlers: Mapping[str, HandlerDescription], *, tenant: str = "local"
) -> str:
    """Write a host on the embedded broker that serves these nodes, with a place for each target that they need."""
    bindings: dict[str, Document] = {}
    for node in nodes:
        target = node.contract.target
        description = handlers.get(node.handler_type)
        if target is not None and description is not None and description.target is not None:
            schema = description.target.model_json_schema()
            bindings.setdefault(node.handler_type, {"targets": {}})["targets"][target] = sample(schema)
    document: Document = {
        "contract": "host/v1",
        "name": name,
        "version": "1.0.0",
        "description": "Serves the nodes of this folder on a broker inside the process, for trying out.",
        "environment": "dev",
        "tenant": tenant,
        "pool": name,
        "nodes": [node.contract.name for node in nodes],
        **({"handlers": bindings} if bindings else {}),
        **({"logic_packages": packages} if (packages := _packages(nodes)) else {}),
        "bus": {"bootstrap_servers": "embedded"},
    }
    return formatted(f"{name}.yaml", yaml_text(document))


def function_path(name: str) -> PurePath:
    """Return where the function of a compute node goes."""
    return PurePath(LOGIC_PACKAGE) / f"{_function_name(name)}.py"


_FUNCTION = '''"""The logic of {name}: pure functions, without I/O, clock, randomness or state."""

from typing import Any


def {function}(payload: dict[str, Any]) -> dict[str, Any]:
    """Give the text in capitals, and how long it is."""
    text = payload["text"]
    return {{"text": text.upper(), "length": len(text)}}
'''


def _contract(name: str, kind: NodeKind, head: Document, operation: Document) -> str:
    document = {
        "contract": "node/v1",
        "name": name,
        "kind": kind.value,
        "version": "1.0.0",
        "description": f"Says what {name} is for.",
        **head,
        "operations": {name.replace("-", "_"): operation},
    }
    return formatted(f"{name}.yaml", yaml_text(document))


def _request(asked: OperationDescription) -> Document:
    """Ask for what is required or has an example: as the example does, or else with a field of the payload."""
    schema = asked.request.model_json_schema()
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    names = [it for it, part in properties.items() if it in required or "examples" in part]
    return {it: _example_of(properties[it]) or f"${{ payload.{it} }}" for it in names}


def _example_of(schema: Mapping[str, Any]) -> Any:
    return next(iter(schema.get("examples", ())), None)


def _type_of_field(asked: OperationDescription, name: str) -> Document:
    """Return what the request's field of that name takes for a payload's field; text where there is none."""
    schema = asked.request.model_json_schema()
    if name not in schema.get("properties", {}):
        return {"type": "string"}
    kind = resolved(schema["properties"][name], schema).get("type", "string")
    return {"type": kind} if kind in _SCALARS else {"type": "string"}


def _result_fields(asked: OperationDescription) -> list[str]:
    """Choose what to answer with: what has an example, else what is always there, else all there is."""
    schema = asked.result.model_json_schema()
    properties = schema.get("properties", {})
    shown = [it for it, part in properties.items() if "examples" in part]
    return shown or list(schema.get("required", ())) or list(properties)


def _sample_of_result(asked: OperationDescription) -> Document:
    schema = asked.result.model_json_schema()
    properties = schema.get("properties", {})
    names = dict.fromkeys([*schema.get("required", ()), *_result_fields(asked)])
    return {it: sample(properties[it], schema) for it in names}


def _test(name: str, cases: list[Document], **more: Any) -> str:
    return yaml_text({"contract": "test/v1", "node": name, **more, "cases": cases})


def _answered_case(node: CompiledNode, played: Document | None) -> Iterator[Document]:
    """Write what the engine itself answers to the example, with the result that is played."""
    payload = _example(node)
    try:
        planned = plan(node, example_command(node, next(iter(node.operations)), payload), now=EXAMPLE_TIME)
        assert planned.call is not None  # noqa: S101 - narrows the type; an effect node calls its handler
        result = LocalHandler().execute_inline(planned.call) if played is None else played
        answer = conclude(planned, result)
    except OnexError:
        # An unknown handler may want more of a request than its schema says: its author knows the answer.
        return
    handled = {} if played is None else {"handler": [{"result": played}]}
    expected = {"expect": {"answer": dict(answer)}}
    yield {"name": "answers", "given": {"payload": payload}, **handled, **expected}


def _failed_case(node: CompiledNode, handler: HandlerDescription) -> Document:
    code = next(iter(handler.errors), "unavailable")
    return {
        "name": "a failure of the handler is reported, and becomes a dead letter",
        "given": {"payload": _example(node)},
        "handler": [{"error": {"code": code, "retryable": False}}],
        "expect": {"error": code, "dead_letter": True},
    }


def _example(node: CompiledNode) -> Any:
    return sample(next(iter(node.operations.values())).input_schema)


def _refused_case() -> Document:
    return {
        "name": "a payload that does not match its schema is rejected",
        "given": {"payload": {"surprise": True}},
        "expect": {"error": "payload_invalid"},
    }


def _input(types: Mapping[str, Document]) -> Document:
    schema = _object(types)
    return {**schema, "examples": [sample(schema)]}


def _object(properties: Mapping[str, Document]) -> Document:
    required = {"required": list(properties)} if properties else {}
    return {"type": "object", **required, "properties": dict(properties), "additionalProperties": False}


def _function_name(name: str) -> str:
    word = name.replace("-", "_")
    return f"{word}_" if iskeyword(word) else word


def _packages(nodes: Iterable[CompiledNode]) -> list[str]:
    functions = (it.logic for node in nodes for it in node.contract.operations.values() if it.logic)
    return sorted({function.partition(":")[0].partition(".")[0] for function in functions})
