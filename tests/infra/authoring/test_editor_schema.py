"""The JSON Schema of the contract languages: what an editor accepts, refuses and explains."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from omnibase_core.contracts.json_schema import Schema
from omnibase_core.contracts.model_schema import told_of_fields
from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.ports import HandlerDescription, OperationDescription
from omnibase_infra.authoring.editor_schema import handler_schema, host_schema, node_schema, schema_of_tests
from omnibase_infra.host.plugins import catalog
from tests.support.commands import AnyModel

CONTRACTS = Path(__file__).parents[3] / "contracts"
EXAMPLES = sorted(CONTRACTS.glob("*/*.yaml"))
NAMING = [it for it in EXAMPLES if not it.name.endswith(".test.yaml")]
KNOWN = catalog()
WRITTEN = {
    "node": node_schema(KNOWN.handlers),
    "host": host_schema(KNOWN.handlers, KNOWN.bus, KNOWN.buses),
    "handler": handler_schema(),
    "test": schema_of_tests(),
}
SCHEMAS = {language: Schema(schema) for language, schema in WRITTEN.items()}


def faults(text: str) -> tuple[str, ...]:
    """Describe what the schema of its language finds wrong with a contract."""
    tree = parse_document("contract.yaml", text).tree
    return SCHEMAS[tree["contract"].partition("/")[0]].faults(tree)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda it: it.name)
def test_every_example_fits(path: Path) -> None:
    """An editor underlines nothing in a contract that `check` takes."""
    assert faults(path.read_text()) == ()


@pytest.mark.parametrize("path", NAMING, ids=lambda it: it.name)
def test_every_example_names_its_schema(path: Path) -> None:
    """An editor finds the schema by the first line, relative to the file."""
    first = path.read_text().partition("\n")[0]
    schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(schema.read_text())["properties"]["contract"]["const"] in path.read_text()


@pytest.mark.parametrize("language", SCHEMAS)
def test_the_files_in_the_repository_are_up_to_date(language: str) -> None:
    """What changes the language or a handler changes them: `make fix` writes them again."""
    written = (CONTRACTS / "schema" / f"{language}.schema.json").read_text()
    assert written == json.dumps(WRITTEN[language], indent=2, ensure_ascii=False) + "\n"


HTTP = (CONTRACTS / "nodes" / "fetch-greeting.yaml").read_text()
COMPUTE = (CONTRACTS / "nodes" / "score-lead.yaml").read_text()
ECHO = (CONTRACTS / "nodes" / "echo.yaml").read_text()
HANDLER = (CONTRACTS / "handlers" / "local.yaml").read_text()
TESTS = (CONTRACTS / "nodes" / "fetch-greeting.test.yaml").read_text()
HOST = (CONTRACTS / "hosts" / "demo.yaml").read_text()

WRONG = (
    (HTTP, "kind: effect", "kind: effct"),
    (HTTP, "kind: effect", "kind: reducer"),
    (HTTP, "version: 1.0.0", 'version: "1.0"'),
    (HTTP, "name: fetch-greeting", "name: FetchGreeting"),
    (HTTP, "description: Asks", "descripton: Asks"),
    (HTTP, "handler: http", "handler: htp"),
    (HTTP, "handler: http\n", ""),
    (HTTP, "target: greetings\n", ""),
    (HTTP, "  greet:", "  Greet:"),
    (HTTP, "    input:", "    inputs:"),
    (HTTP, "      type: object", "      type: objekt"),
    (HTTP, "      required: [name]", "      required: name"),
    (HTTP, "minLength: 1", 'minLength: "1"'),
    (HTTP, "      path: [greetings", "      paths: [greetings"),
    (HTTP, '      path: [greetings, "${ payload.name }"]\n', ""),
    (HTTP, "expect: [200, 404]", "expect: [200, 4004]"),
    (HTTP, "expect: [200, 404]", "expect: 200"),
    (HTTP, "    request:", "    call: fetch\n    request:"),
    (HTTP, "    request:", "    logic: a.b:c\n    request:"),
    (HTTP, 'when: "${ result.status == 404 }"', "when: result.status == 404"),
    (HTTP, 'when: "${ result.status == 404 }"', "on: http_404"),
    (HTTP, 'when: "${ result.status == 404 }"', "message: it is not there"),
    (HTTP, "code: no_such_language", "code: No such language"),
    (HTTP, "timeout_s: 5", "timeout_s: 0"),
    (HTTP, "timeout_s: 5", "timeout: 5"),
    (HTTP, "max_in_flight: 32", "retry: {attempts: 0}"),
    (HTTP, "max_in_flight: 32", "ordering: keys"),
    (ECHO, "    request: {message", "    request: {massage"),
    (ECHO, "handler: local", "handler: local\ntarget: x"),
    (ECHO, "handler: local", "handler: compute"),
    (COMPUTE, "kind: compute", "kind: compute\nhandler: local"),
    (COMPUTE, "scoring:score_lead", "scoring.score_lead"),
    (COMPUTE, "    logic: omnibase_infra.demo.scoring:score_lead\n", ""),
    (HANDLER, "guarantee: exactly_once", "guarantee: exactly once"),
    (HANDLER, "    request:", "    requests:"),
    (HANDLER, "    errors: []", "    errors: [Told to fail]"),
    (HANDLER, "    meaning:", "    means:"),
    (TESTS, "given:", "gives:"),
    (TESTS, "took_s: 0.1", "took: 0.1"),
    (TESTS, "breaker: closed", "breaker: shut"),
    (TESTS, "cases:", "case:"),
    (HOST, "bootstrap_servers", "bootstrap"),
    (HOST, "  bootstrap_servers: embedded", "  bootstrap_servers: embedded\n  partitions: 0"),
    (HOST, "local: {}", "locale: {}"),
    (HOST, "local: {}", "local: {targets: {x: {}}}"),
    (HOST, "base_url", "url"),
    (HOST, "  http:\n", "  http:\n    settings: {agent: x}\n"),
    (HOST, "  http:\n", "  http:\n    breaker: {failures: 0}\n"),
    (HOST, "nodes: [echo,", "nodes: [echo, echo,"),
    (HOST, "pool: examples\n", ""),
    (HOST, "logic_packages: [omnibase_infra.demo]", "logic_packages: [omnibase-infra]"),
)


@pytest.mark.parametrize(("text", "right", "wrong"), WRONG, ids=[f"{a!r} to {b!r}" for _, a, b in WRONG])
def test_what_an_author_gets_wrong_is_refused(text: str, right: str, wrong: str) -> None:
    """Each of these is one mistake in an example."""
    assert right in text
    assert faults(text.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("right", "also"),
    [
        ("[200, 404]", '"${ payload.expected }"'),
        ("[200, 404]", '["${ payload.status }"]'),
        ('[greetings, "${ payload.name }"]', '"${ payload.path }"'),
        ('[greetings, "${ payload.name }"]', "[greetings, 5]"),
        ("{language: \"${ has(payload.language) ? payload.language : 'en' }\"}", '"${ payload.query }"'),
        ("    request:", '    request:\n      method: "${ payload.method }"'),
    ],
)
def test_an_expression_may_stand_wherever_a_value_may(right: str, also: str) -> None:
    """What a request asks for is decided by the command, or by the contract."""
    assert right in HTTP
    assert faults(HTTP.replace(right, also, 1)) == ()


def test_a_request_may_be_one_expression() -> None:
    """As a whole: only the model of the handler can then say whether it fits."""
    assert faults(ECHO.replace('{message: "${ payload }"}', '"${ payload }"')) == ()


def test_an_operation_of_a_plugin_has_its_own_request() -> None:
    """Which request is meant follows from `call`; without it, the first operation is."""

    class Get(AnyModel):
        key: str

    class Put(AnyModel):
        key: str
        value: int

    store = HandlerDescription(
        handler_type="store",
        operations={
            "get": OperationDescription(request=Get, result=AnyModel),
            "put": OperationDescription(request=Put, result=AnyModel),
        },
        settings=AnyModel,
    )
    schema = Schema(node_schema({**KNOWN.handlers, "store": store}))

    def fits(operation: str) -> bool:
        text = ECHO.partition("operations:")[0].replace("local", "store") + f"operations: {{do: {operation}}}\n"
        return not schema.faults(parse_document("x", text).tree)

    assert fits("{input: {}, request: {key: a}}")
    assert fits("{input: {}, call: put, request: {key: a, value: 1}}")
    assert not fits("{input: {}, call: put, request: {key: a}}")
    assert not fits("{input: {}, call: put, request: {key: a, value: b}}")
    assert not fits("{input: {}}")


def test_a_host_on_the_bus_of_a_plug_in_fits_by_the_model_of_that_bus() -> None:
    """It has to name the bus, unless that is the one that is meant."""

    class Lines(BaseModel):
        model_config = ConfigDict(extra="forbid")
        inbox: str

    schema = Schema(host_schema(KNOWN.handlers, KNOWN.bus, {**KNOWN.buses, "lines": Lines}))
    host = (CONTRACTS / "hosts" / "demo.yaml").read_text().partition("\nbus:")[0]

    def fits(bus: str) -> bool:
        return not schema.faults(parse_document("x", f"{host}\nbus: {bus}\n").tree)

    assert fits("{bootstrap_servers: embedded}")
    assert fits("{type: kafka, bootstrap_servers: embedded}")
    assert fits("{type: lines, inbox: a}")
    assert not fits("{inbox: a}")
    assert not fits("{type: lines, bootstrap_servers: embedded}")
    assert not fits("{type: kafka, inbox: a}")


@pytest.mark.parametrize("language", ["node", "host", "handler"])
def test_every_key_is_explained(language: str) -> None:
    """An editor shows what a key means: its docstring says so, in a list or in a sentence that names it."""
    assert list(_unexplained(WRITTEN[language], WRITTEN[language]["$defs"], language)) == []


def _unexplained(schema: Any, definitions: Mapping[str, Any], at: str) -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        referred = definitions.get(part.get("$ref", "").removeprefix("#/$defs/"), {}) if isinstance(part, dict) else {}
        if isinstance(part, dict) and "description" not in part and "description" not in referred:
            yield f"{at}.{name}"
    for name, definition in schema.get("$defs", {}).items():
        if name != "JsonSchema":
            yield from _unexplained(definition, definitions, name)


def test_a_docstring_explains_its_fields() -> None:
    """An item is about its fields alone; a sentence is about each field that it names."""
    docstring = """One thing. `size` is how large it is.

    - `first`, `second`: what comes first,
      and then `third`.
    """
    assert dict(told_of_fields(docstring)) == {
        "size": "`size` is how large it is.",
        "first": "What comes first, and then `third`.",
        "second": "What comes first, and then `third`.",
        "third": "What comes first, and then `third`.",
    }
