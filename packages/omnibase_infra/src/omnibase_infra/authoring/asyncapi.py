"""Hosts as one AsyncAPI 3.0 document: their topics, what may be sent to each, and what is answered. Pure.

The specification is https://www.asyncapi.com/docs/reference/specification/v3.0.0. Its schemas are JSON Schema draft 7:
what a contract writes in draft 2020-12 is brought to that.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.json import schema_components

from omnibase_core.codec import encode
from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.compiler.compiled import CompiledNode, CompiledOperation
from omnibase_core.contracts.model_schema import JsonSchema, mapped, tidy
from omnibase_core.contracts.node import NodeContract, Operation
from omnibase_core.envelope import EnvelopeError, OnexEnvelope
from omnibase_infra.authoring.example_responses import example_command
from omnibase_infra.authoring.reference import example_payload, failures_of
from omnibase_infra.kafka import KafkaSettings, kafka_settings

VERSION = "3.0.0"

_BINDING = "0.5.0"
"""Version of the Kafka bindings."""

_TRACE = {
    "type": "object",
    "properties": {"traceparent": {"type": "string", "description": "W3C Trace Context, carried on to the answer."}},
}


def asyncapi(hosts: Sequence[LoadedHost]) -> dict[str, Any]:
    """Describe what senders need to know of hosts. With several, what is theirs starts with the host's name."""
    parts = [_Host(host, f"{host.contract.name}." if len(hosts) > 1 else "") for host in hosts]
    nodes = {node.contract.name: node for host in hosts for node in host.nodes}
    return {
        "asyncapi": VERSION,
        "info": _info(hosts),
        "defaultContentType": "application/json",
        "servers": _merged(part.servers() for part in parts),
        "channels": _merged(part.channels() for part in parts),
        "operations": _merged(part.operations() for part in parts),
        "components": {
            "messages": dict(_messages(nodes.values())),
            "schemas": {**_envelope_schemas(), **dict(_schemas(nodes.values()))},
        },
    }


def _info(hosts: Sequence[LoadedHost]) -> dict[str, str]:
    first = hosts[0].contract
    if len(hosts) == 1:
        return {"title": first.name, "version": first.version, "description": first.description}
    listed = "\n".join(f"- {host.contract.name}: {host.contract.description}" for host in hosts)
    return {"title": "ONEX Runtime Hosts", "version": first.version, "description": listed}


class _Host:
    """The parts of the document that are one host's."""

    def __init__(self, host: LoadedHost, prefix: str) -> None:
        self._host = host
        self._prefix = prefix
        self._names = host.contract.namespace

    def servers(self) -> dict[str, Any]:
        bus = self._bus
        addresses = [it.strip() for it in bus.bootstrap_servers.split(",")]
        protocol = "kafka-secure" if "SSL" in str(bus.client.get("security.protocol", "")).upper() else "kafka"
        return {
            self._server(index): {
                "host": address,
                "protocol": protocol,
                "description": f"Where the host {self._host.contract.name} takes its commands from.",
            }
            for index, address in enumerate(addresses)
        }

    def channels(self) -> dict[str, Any]:
        channels = {}
        for node in (it.contract for it in self._host.nodes):
            commands = [f"{node.name}.{name}.command" for name in node.operations]
            answers = [*(f"{node.name}.{name}.answer" for name in node.operations), f"{node.name}.error"]
            command_topic = self._names.command(node.name, node.major)
            event_topic = self._names.event(node.name, node.major)
            channels[f"{self._prefix}{node.name}.commands"] = self._channel(command_topic, node.description, commands)
            channels[f"{self._prefix}{node.name}.answers"] = self._channel(
                event_topic, f"Answers of {node.name}, results and errors.", answers
            )
        for name, (topic, message, purpose) in self._own_topics().items():
            channels[name] = self._channel(topic, purpose, [message])
        return channels

    def operations(self) -> dict[str, Any]:
        operations = {
            f"{self._prefix}{node.contract.name}.{name}": self._operation(node, name, operation)
            for node in self._host.nodes
            for name, operation in node.contract.operations.items()
        }
        for name, (_, message, purpose) in self._own_topics().items():
            action = "receive" if message == "request" else "send"
            operations[f"{name}.{action}"] = {
                "action": action,
                "channel": _to("channels", name),
                "summary": purpose,
                "messages": [_to("channels", name, "messages", message)],
            }
        return operations

    def _own_topics(self) -> dict[str, tuple[str, str, str]]:
        """Return the topics that are no node's, by their channels: the topic, its message, what it is for."""
        contract = self._host.contract
        known = {
            "dead-letters": (self._names.dead_letter(contract.pool), "dead-letter", "What could not be served."),
            "requests": (self._names.requests(contract.pool), "request", "What nodes ask the nodes of this pool."),
            "retries": (
                self._names.retry(contract.pool),
                "retry",
                "Commands that wait, and may be overtaken meanwhile.",
            ),
            "log": (self._names.log(contract.name), "log-line", "The host's own log."),
        }
        return {f"{self._prefix}{name}": it for name, it in known.items() if it[0] in self._host.topics}

    def _operation(self, node: CompiledNode, name: str, operation: Operation) -> dict[str, Any]:
        node_name = node.contract.name
        commands = f"{self._prefix}{node_name}.commands"
        answers = f"{self._prefix}{node_name}.answers"
        group = self._names.group(self._host.contract.pool)
        return {
            "action": "receive",
            "channel": _to("channels", commands),
            "summary": f"{node.contract.description}",
            "description": _told_of(node, operation),
            "tags": [{"name": node_name}],
            "messages": [_to("channels", commands, "messages", f"{node_name}.{name}.command")],
            "reply": {
                "channel": _to("channels", answers),
                "messages": [
                    _to("channels", answers, "messages", f"{node_name}.{name}.answer"),
                    _to("channels", answers, "messages", f"{node_name}.error"),
                ],
            },
            "bindings": {"kafka": {"groupId": {"type": "string", "enum": [group]}, "bindingVersion": _BINDING}},
        }

    def _channel(self, topic: str, description: str, messages: Sequence[str]) -> dict[str, Any]:
        bus = self._bus
        return {
            "address": topic,
            "description": description,
            "servers": [_to("servers", it) for it in self.servers()],
            "messages": {name: _to("components", "messages", name) for name in messages},
            "bindings": {
                "kafka": {
                    "topic": topic,
                    "partitions": bus.partitions,
                    **({} if bus.replicas is None else {"replicas": bus.replicas}),
                    "bindingVersion": _BINDING,
                }
            },
        }

    @property
    def _bus(self) -> KafkaSettings:
        return kafka_settings(self._host.settings.bus, host=self._host.contract.name)

    def _server(self, index: int) -> str:
        name = self._host.contract.name
        return name if index == 0 else f"{name}-{index + 1}"


def _told_of(node: CompiledNode, operation: Operation) -> str:
    codes = [*(rule.code for rule in operation.errors), *failures_of(node)]
    return f"Error answers have one of the codes {', '.join(codes)}, or one of the handler {node.handler_type}."


# --- Messages -----------------------------------------------------------------------------------------------------


def _messages(nodes: Any) -> Iterator[tuple[str, Any]]:
    for node in nodes:
        for name, operation in node.operations.items():
            yield f"{node.contract.name}.{name}.command", _command(node, operation)
            yield f"{node.contract.name}.{name}.answer", _answer(node.contract, name)
        yield f"{node.contract.name}.error", _error(node.contract)
    original = "The original bytes and headers; what is known of the failure is in headers named onex-dlq-*."
    yield "dead-letter", _bytes("Dead letter", original)
    yield "request", _bytes("Request of a node", "A command; the header onex-request-for names its node's topic.")
    yield "retry", _bytes("Command that waits", "The original bytes and headers, and when it is due.")
    yield "log-line", {"title": "Log line", "contentType": "application/json", "payload": {"type": "object"}}


def _bytes(title: str, summary: str) -> dict[str, Any]:
    return {
        "title": title,
        "summary": summary,
        "contentType": "application/octet-stream",
        "payload": {"type": "string"},
        "bindings": {"kafka": {"key": {"type": "string", "description": "The node."}, "bindingVersion": _BINDING}},
    }


def _command(node: CompiledNode, operation: CompiledOperation) -> dict[str, Any]:
    contract, name = node.contract, operation.name
    payload = {
        "node_slug": {"const": contract.name},
        "operation": {"const": name},
        "payload": _to("components", "schemas", f"{contract.name}.{name}.input"),
        "error": {"type": "null"},
    }
    required = ["operation"] if len(contract.operations) > 1 else []
    example = json.loads(encode(example_command(node, name, example_payload(operation))))
    described = _message(f"{contract.name}: {name}", "A command.", _envelope(payload, required))
    return {**described, "examples": [{"name": "example", "payload": example}]}


def _answer(contract: NodeContract, name: str) -> dict[str, Any]:
    payload = {
        "node_slug": {"const": contract.name},
        "operation": {"enum": [name, None]},
        "payload": _to("components", "schemas", f"{contract.name}.{name}.output"),
        "error": {"type": "null"},
    }
    return _message(f"{contract.name}: {name} answered", "A result.", _envelope(payload, ["causation_id"]))


def _error(contract: NodeContract) -> dict[str, Any]:
    payload = {
        "node_slug": {"const": contract.name},
        "payload": {"type": "object", "maxProperties": 0},
        "error": _to("components", "schemas", EnvelopeError.__name__),
    }
    said = "An error answer: why there is no result."
    return _message(f"{contract.name}: error", said, _envelope(payload, ["causation_id", "error"]))


def _message(title: str, summary: str, payload: JsonSchema) -> dict[str, Any]:
    key = {"type": "string", "description": "Commands of one key are served in order; the answer has the same key."}
    return {
        "title": title,
        "summary": summary,
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/correlation_id"},
        "headers": _TRACE,
        "payload": payload,
        "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING}},
    }


def _envelope(properties: JsonSchema, required: Sequence[str]) -> JsonSchema:
    more = {"required": list(required)} if required else {}
    return {
        "allOf": [
            _to("components", "schemas", OnexEnvelope.__name__),
            {"type": "object", "properties": properties, **more},
        ]
    }


# --- Schemas ------------------------------------------------------------------------------------------------------


def _envelope_schemas() -> dict[str, JsonSchema]:
    _, schemas = schema_components([OnexEnvelope], ref_template="#/components/schemas/{name}")
    return {name: tidy(schema) for name, schema in schemas.items()}


def _schemas(nodes: Any) -> Iterator[tuple[str, JsonSchema]]:
    for node in nodes:
        for name, operation in node.operations.items():
            gives = operation.output_schema or _output_of(node.contract.operations[name])
            for part, schema in (("input", operation.input_schema), ("output", gives)):
                at = f"{node.contract.name}.{name}.{part}"
                yield at, _draft_7(schema, at=at)


def _output_of(operation: Operation) -> JsonSchema:
    """Describe an answer without a schema by what its mapping says: which fields it has."""
    if isinstance(operation.answer, Mapping):
        return {
            "type": "object",
            "required": list(operation.answer),
            "properties": {key: {} for key in operation.answer},
            "additionalProperties": False,
        }
    return {"type": "object"}


def _draft_7(schema: Mapping[str, Any], *, at: str) -> JsonSchema:
    """Bring a schema to draft 7, and its references to where it stands in the document."""

    def changed(part: JsonSchema) -> JsonSchema:
        result = {key: value for key, value in part.items() if key not in ("$schema", "$id", "patternErrorMessage")}
        if isinstance(reference := result.get("$ref"), str) and reference.startswith("#"):
            result["$ref"] = f"#/components/schemas/{at}{reference[1:].replace('/$defs/', '/definitions/')}"
        if "prefixItems" in result:
            rest = result.pop("items", True)
            result |= {"items": result.pop("prefixItems"), "additionalItems": rest}
        dependencies = {**result.pop("dependentRequired", {}), **result.pop("dependentSchemas", {})}
        if dependencies:
            result["dependencies"] = dependencies
        if "$defs" in result:
            result["definitions"] = result.pop("$defs")
        return result

    moved: JsonSchema = mapped(schema, changed)
    return moved


def _to(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(step.replace("~", "~0").replace("/", "~1") for step in path)}


def _merged(parts: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return {name: it for part in parts for name, it in part.items()}
