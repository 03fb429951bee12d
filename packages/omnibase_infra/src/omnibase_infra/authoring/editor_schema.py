"""The contract languages as JSON Schema (draft 2020-12), for editors: what may stand where, and what it means. Pure.

A schema knows the shape of one document. What stands across documents, and whether an expression compiles, is what
`check` knows beyond it: a contract that passes `check` fits its schema, and not the other way round.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from omnibase_core.contracts.handler import HandlerContract
from omnibase_core.contracts.host import HandlerBinding, RuntimeHostContract
from omnibase_core.contracts.model_schema import JsonSchema, mapped, schema_of
from omnibase_core.contracts.node import NodeContract, NodeKind
from omnibase_core.contracts.tests import NodeTests
from omnibase_core.handlers.compute import COMPUTE
from omnibase_core.ports import HandlerDescription

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_EXPRESSION: JsonSchema = {"$ref": "#/$defs/Expression"}
_JSON_TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]


def node_schema(handlers: Mapping[str, HandlerDescription]) -> JsonSchema:
    """Return the schema of `contract: node/v1`, with the requests of these handlers."""
    schema, definitions = schema_of(NodeContract)
    called = {name: it for name, it in handlers.items() if name != COMPUTE}
    properties = schema["properties"]
    properties["kind"] = {
        "enum": [NodeKind.EFFECT.value, NodeKind.COMPUTE.value],
        "description": properties["kind"].get("description") or definitions["NodeKind"]["description"],
    }
    properties["handler"] = {**_told(properties["handler"]), "enum": list(called)}
    _open_leaves(definitions["Operation"]["properties"])
    _open_rules(definitions["ErrorRule"])
    del definitions["NodeKind"]
    conditions = [_of_compute(), _of_effect(called), *(_of_handler(it, definitions) for it in called.values())]
    return _document(
        schema,
        definitions | {"Expression": _expression(), "JsonSchema": _json_schema()},
        allOf=conditions,
        title="ONEX node contract",
    )


def host_schema(
    handlers: Mapping[str, HandlerDescription], bus: type[BaseModel], buses: Mapping[str, type[BaseModel]]
) -> JsonSchema:
    """Return the schema of `contract: host/v1`, with the settings and targets of these handlers and of each bus.

    `bus` is the model of the one that is meant where a contract names none.
    """
    schema, definitions = schema_of(RuntimeHostContract)
    properties = schema["properties"]
    named = [_bus(name, model, definitions, is_default=model is bus) for name, model in buses.items()]
    properties["bus"] = {**(named[0] if len(named) == 1 else {"anyOf": named}), **_told(properties["bus"])}
    binding = definitions.pop(HandlerBinding.__name__)
    properties["handlers"] = {
        **_told(properties["handlers"]),
        "type": "object",
        "properties": {name: _binding(binding, it, definitions) for name, it in handlers.items()},
        "additionalProperties": False,
    }
    properties["nodes"]["uniqueItems"] = True
    return _document(schema, definitions, title="ONEX host contract")


def handler_schema() -> JsonSchema:
    """Return the schema of `contract: handler/v1`."""
    schema, definitions = schema_of(HandlerContract)
    operation = definitions["HandlerOperationContract"]["properties"]
    for properties, names in ((schema["properties"], ("settings", "target")), (operation, ("request", "result"))):
        for name in names:
            properties[name] = {**_told(properties[name]), "type": "object"}
    return _document(schema, definitions, title="ONEX handler contract")


def schema_of_tests() -> JsonSchema:
    """Return the schema of `contract: test/v1`."""
    schema, definitions = schema_of(NodeTests)
    return _document(schema, definitions, title="Tests of an ONEX node")


def _document(schema: JsonSchema, definitions: Mapping[str, JsonSchema], **more: Any) -> JsonSchema:
    used = {name: definitions[name] for name in sorted(definitions)}
    return {"$schema": DIALECT, **more, **schema, "$defs": used}


# --- Nodes --------------------------------------------------------------------------------------------------------


def _open_leaves(operation: dict[str, JsonSchema]) -> None:
    """Describe an operation's open parts: schemas of payloads, and mappings with expressions."""
    operation["input"] = {**_told(operation["input"]), "$ref": "#/$defs/JsonSchema"}
    operation["output"] = {
        **_told(operation["output"]),
        "anyOf": [{"$ref": "#/$defs/JsonSchema"}, {"type": "null"}],
    }


def _open_rules(rule: JsonSchema) -> None:
    """Describe an error rule: its condition is an expression, of a result or of a failure."""
    properties = rule["properties"]
    properties["when"] = {**_told(properties["when"]), "anyOf": [_EXPRESSION, {"type": "null"}]}
    rule["anyOf"] = [{"required": ["when"]}, {"required": ["on"]}]


def _of_compute() -> JsonSchema:
    """A compute node calls nobody: each operation has a function, an answer or both."""
    return {
        "if": _where("kind", NodeKind.COMPUTE.value),
        "then": {
            "properties": {
                "handler": False,
                "target": False,
                "operations": _each_operation(
                    {
                        "properties": {"call": False, "errors": _each_rule({"type": "null"})},
                        "anyOf": [{"required": ["logic"]}, {"required": ["answer"]}],
                        "dependentRequired": {"request": ["logic"]},
                    }
                ),
            }
        },
    }


def _of_effect(handlers: Mapping[str, HandlerDescription]) -> JsonSchema:
    return {
        "if": _where("kind", NodeKind.EFFECT.value),
        "then": {
            "required": ["handler"],
            "properties": {
                "handler": {"enum": list(handlers)},
                "operations": _each_operation({"properties": {"logic": False}}),
            },
        },
    }


def _of_handler(handler: HandlerDescription, definitions: dict[str, JsonSchema]) -> JsonSchema:
    """What a handler offers: whether it takes a target, its operations, and the request of each."""
    first = next(iter(handler.operations))
    requests = []
    for name, operation in handler.operations.items():
        request = _request(f"{handler.handler_type}.{name}", operation.request, definitions)
        named = {"properties": {"call": {"const": name}}, **({} if name == first else {"required": ["call"]})}
        required = ["request"] if operation.request.model_json_schema().get("required") else []
        requests.append({"if": named, "then": {"required": required, "properties": {"request": request}}})
    then: JsonSchema = {
        "properties": {
            "target": {"type": "string"} if handler.target else False,
            "operations": _each_operation(
                {
                    "properties": {
                        "call": {"enum": list(handler.operations)},
                        "errors": _each_rule({"enum": [*handler.errors, None]}),
                    },
                    "allOf": requests,
                }
            ),
        }
    }
    return {
        "if": _where("handler", handler.handler_type),
        "then": {**({"required": ["target"]} if handler.target else {}), **then},
    }


def _request(name: str, model: type[BaseModel], definitions: dict[str, JsonSchema]) -> JsonSchema:
    """A handler's request, in which an expression may stand for whatever it has a value for."""
    schema, used = schema_of(model, prefix=f"{name}.")
    definitions |= {it: mapped(part, _or_expression) for it, part in used.items()}
    definitions[name] = mapped(schema, _or_expression)
    return {"$ref": f"#/$defs/{name}"}


def _or_expression(schema: JsonSchema) -> JsonSchema:
    constrained = schema.keys() - {"description", "default", "examples"}
    if not constrained or constrained == {"$ref"}:
        return schema
    # Text of an expression may fit several members: what is told apart by its type no longer is.
    rest = {"anyOf" if key == "oneOf" else key: value for key, value in schema.items() if key != "discriminator"}
    told: JsonSchema = {key: rest.pop(key) for key in ("description", "default", "examples") if key in rest}
    return {**told, "anyOf": [rest, _EXPRESSION]}


def _where(key: str, value: str) -> JsonSchema:
    return {"properties": {key: {"const": value}}, "required": [key]}


def _each_operation(schema: JsonSchema) -> JsonSchema:
    return {"additionalProperties": schema}


def _each_rule(on: JsonSchema) -> JsonSchema:
    """Describe which failures of the handler an error rule can be for."""
    return {"items": {"properties": {"on": on}}}


def _expression() -> JsonSchema:
    return {
        "type": "string",
        "pattern": r"^\s*\$\{[\s\S]*\}\s*$",
        "patternErrorMessage": "expected an expression as a whole: ${ ... }",
        "description": "An expression in CEL over payload, metadata and envelope, and behind the call result or error.",
    }


def _json_schema() -> JsonSchema:
    """JSON Schema, as far as an editor can help with it offline; `check` holds it to all of draft 2020-12."""
    one: JsonSchema = {"anyOf": [{"$ref": "#/$defs/JsonSchema"}, {"type": "boolean"}]}
    several: JsonSchema = {"type": "array", "items": one, "minItems": 1}
    number: JsonSchema = {"type": "number"}
    size: JsonSchema = {"type": "integer", "minimum": 0}
    named: JsonSchema = {"type": "object", "additionalProperties": one}
    names: JsonSchema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    of_type = {"enum": _JSON_TYPES}
    return {
        "type": "object",
        "description": "JSON Schema, draft 2020-12.",
        "properties": {
            "type": {"anyOf": [of_type, {"type": "array", "items": of_type, "uniqueItems": True, "minItems": 1}]},
            "description": {"type": "string"},
            "title": {"type": "string"},
            "examples": {"type": "array", "description": "`runtime-host demo` and `docs` show the first."},
            "default": {},
            "enum": {"type": "array"},
            "const": {},
            "format": {"type": "string", "examples": ["date", "date-time", "email", "uri", "uuid"]},
            **dict.fromkeys(("$defs", "properties", "patternProperties", "dependentSchemas"), named),
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), several),
            **dict.fromkeys(("additionalProperties", "contains", "else", "if", "items", "not", "then"), one),
            **dict.fromkeys(("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"), size),
            **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), number),
            "multipleOf": {"type": "number", "exclusiveMinimum": 0},
            "required": names,
            "pattern": {"type": "string", "format": "regex"},
            "uniqueItems": {"type": "boolean"},
            "$ref": {"type": "string"},
        },
    }


# --- Hosts --------------------------------------------------------------------------------------------------------


def _bus(name: str, model: type[BaseModel], definitions: dict[str, JsonSchema], *, is_default: bool) -> JsonSchema:
    """Return the settings of a bus, which a contract names in `type`: it has to, unless it is the one that is meant."""
    reference = _model("bus" if is_default else f"bus.{name}", model, definitions)
    schema = definitions[reference["$ref"].removeprefix("#/$defs/")]
    schema["properties"] = {"type": {"const": name, "description": "Which bus."}, **schema.get("properties", {})}
    if not is_default:
        schema["required"] = ["type", *schema.get("required", [])]
    return reference


def _binding(binding: JsonSchema, handler: HandlerDescription, definitions: dict[str, JsonSchema]) -> JsonSchema:
    name = handler.handler_type
    properties = dict(binding["properties"])
    properties["settings"] = {
        **_model(f"{name}.settings", handler.settings, definitions),
        **_told(properties["settings"]),
    }
    if handler.target is None:
        properties["targets"] = {"const": {}, "description": f"The handler {name} has no targets."}
    else:
        target = _model(f"{name}.target", handler.target, definitions)
        targets = dict.fromkeys(properties["targets"]["patternProperties"], target)
        properties["targets"] = {**properties["targets"], "patternProperties": targets}
    return {**binding, "properties": properties}


def _model(name: str, model: type[BaseModel], definitions: dict[str, JsonSchema]) -> JsonSchema:
    schema, used = schema_of(model, prefix=f"{name}.")
    definitions |= used
    definitions[name] = schema
    return {"$ref": f"#/$defs/{name}"}


def _told(schema: JsonSchema, property_name: str | None = None) -> JsonSchema:
    """Return what is said of a schema, or of a property of it, and nothing of what it demands."""
    part = schema if property_name is None else schema["properties"][property_name]
    return {"description": part["description"]} if "description" in part else {}
