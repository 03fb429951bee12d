"""The AsyncAPI document: valid by AsyncAPI's own parser, and true."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.json_schema import Schema
from omnibase_infra.authoring.asyncapi import asyncapi
from omnibase_infra.cli.inputs import hosts_at
from tests.support.asyncapi import findings

CONTRACTS = Path(__file__).parents[3] / "contracts"
HOSTS = sorted((CONTRACTS / "hosts").glob("*.yaml"))


@pytest.mark.parametrize("path", [CONTRACTS, *HOSTS], ids=lambda it: it.stem)
def test_the_document_of_the_examples_is_valid(path: Path) -> None:
    """Each host alone, and all of them in one document, without a warning."""
    assert findings(asyncapi(hosts_at(path))) == []


def test_the_parser_finds_what_is_wrong() -> None:
    """A schema that is none, a reference that leads nowhere, an action that is none."""
    document = asyncapi(hosts_at(CONTRACTS / "hosts" / "demo.yaml"))
    for right, wrong in (
        ('"type": "integer"', '"type": "whole"'),
        ('"#/channels/echo.commands"', '"#/channels/ecko.commands"'),
        ('"action": "receive"', '"action": "recieve"'),
    ):
        text = json.dumps(document)
        assert right in text
        assert findings(json.loads(text.replace(right, wrong)))


def test_every_example_fits_the_payload_of_its_message() -> None:
    """Which the parser does not look at."""
    document = asyncapi(hosts_at(CONTRACTS))
    shown = [it for it in document["components"]["messages"].values() if "examples" in it]
    assert len(shown) >= 7
    for message in shown:
        schema = Schema({"components": document["components"], **message["payload"]})
        assert schema.faults(message["examples"][0]["payload"]) == ()
        assert schema.faults({**message["examples"][0]["payload"], "node_slug": "other"})


def test_every_topic_of_a_host_is_a_channel() -> None:
    """The addresses are the names that `topics` prints."""
    [host] = hosts_at(CONTRACTS / "hosts" / "demo.yaml")
    document = asyncapi([host])
    assert {it["address"] for it in document["channels"].values()} == set(host.topics)


def test_an_operation_receives_a_command_and_replies() -> None:
    """With its result or an error, on the topic of the answers, in the group of the pool."""
    document = asyncapi(hosts_at(CONTRACTS / "hosts" / "demo.yaml"))
    operation = document["operations"]["convert-temperature.to_celsius"]
    assert operation["action"] == "receive"
    assert operation["reply"]["channel"] == {"$ref": "#/channels/convert-temperature.answers"}
    assert [it["$ref"].rpartition("/")[2] for it in operation["reply"]["messages"]] == [
        "convert-temperature.to_celsius.answer",
        "convert-temperature.error",
    ]
    assert operation["bindings"]["kafka"]["groupId"]["enum"] == ["onex.dev.demo.examples"]


def _host(
    tmp_path: Path, schema: str, *, delivery: str = "{}", bus: str = "{}", more: str = ""
) -> Sequence[LoadedHost]:
    (tmp_path / "node.yaml").write_text(
        "contract: node/v1\nname: odd\nkind: compute\nversion: 1.0.0\ndescription: Odd.\n"
        f'operations: {{do: {{input: {schema}, answer: {{a: "${{ 1 }}"}}}}}}\ndelivery: {delivery}\n'
    )
    (tmp_path / "host.yaml").write_text(
        "contract: host/v1\nname: host\nversion: 1.0.0\ndescription: Odd.\nenvironment: dev\ntenant: t\npool: p\n"
        f"nodes: [odd]\nbus: {bus}\n{more}"
    )
    return hosts_at(tmp_path)


@pytest.mark.parametrize(
    "schema",
    [
        '{type: object, properties: {a: {$ref: "#/$defs/a"}}, $defs: {a: {type: integer}}}',
        '{type: object, properties: {a: {$ref: "#/properties/b"}, b: {type: integer}}}',
        "{type: object, properties: {a: {type: array, prefixItems: [{type: integer}], items: false}}}",
        "{type: object, dependentRequired: {a: [b]}}",
        "{type: object, dependentSchemas: {a: {required: [b]}}}",
        '{$schema: "https://json-schema.org/draft/2020-12/schema", type: object}',
        "{}",
    ],
)
def test_what_draft_7_does_not_know_is_brought_to_it(tmp_path: Path, schema: str) -> None:
    """Contracts write draft 2020-12; AsyncAPI reads an older one."""
    assert findings(asyncapi(_host(tmp_path, schema))) == []


def test_retries_and_several_brokers_are_told(tmp_path: Path) -> None:
    """A retry topic where a node may be overtaken, and a server for each address."""
    bus = '{bootstrap_servers: "a:9092, b:9093", client: {security.protocol: SASL_SSL}}'
    document = asyncapi(_host(tmp_path, "{}", delivery="{on_retry: overtake}", bus=bus))
    assert findings(document) == []
    assert document["channels"]["retries"]["address"] == "onex.app.dev.t.retry.runtime.p.v1"
    assert [(it["host"], it["protocol"]) for it in document["servers"].values()] == [
        ("a:9092", "kafka-secure"),
        ("b:9093", "kafka-secure"),
    ]


def test_requests_of_other_nodes_are_received(tmp_path: Path) -> None:
    """On the pool's topic of requests, where the host contract says so."""
    document = asyncapi(_host(tmp_path, "{}", more="requests: true\n"))
    assert findings(document) == []
    assert document["channels"]["requests"]["address"] == "onex.app.dev.t.cmd.runtime.p.v1"
    assert document["operations"]["requests.receive"]["action"] == "receive"
    assert "requests" not in asyncapi(_host(tmp_path, "{}"))["channels"]
