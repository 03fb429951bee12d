"""The reference pages of nodes: what stands in them, and that no contract can break them."""

import ast
import re
from pathlib import Path

import pytest

from omnibase_core.contracts.json_schema import Schema
from omnibase_core.handlers.local import LocalHandler
from omnibase_infra.authoring.example_responses import answers_of
from omnibase_infra.authoring.json_schema import sample
from omnibase_infra.authoring.reference import ENGINE, INDEX, MARK, reference
from omnibase_infra.authoring.schema_tables import FieldRow, fields_of
from omnibase_infra.cli.inputs import sources_at
from omnibase_infra.host.plugins import handler_factories
from tests.support.commands import catalog, loaded_host, node

ROOT = Path(__file__).parents[3]
CORE = ROOT / "packages" / "omnibase_core" / "src" / "omnibase_core"
INFRA = ROOT / "packages" / "omnibase_infra" / "src" / "omnibase_infra"
_RAISED = {"CommandFailed", "CommandRejected", "HandlerError", "FunctionInterrupted"}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Return the pages of the examples."""
    sources = sources_at(ROOT / "contracts")
    answers = answers_of(sources.nodes, {"local": LocalHandler()})
    known = {name: factory.description for name, factory in handler_factories().items()}
    return reference(sources.nodes, sources.hosts, known, answers)


def test_there_is_a_page_for_each_node_and_an_index(pages: dict[str, str]) -> None:
    """The index leads to every page, and every page says that it is not to be edited."""
    names = {path.stem for path in (ROOT / "contracts" / "nodes").glob("*.yaml") if not path.stem.endswith(".test")}
    assert set(pages) == {INDEX, *(f"{name}.md" for name in names)}
    assert all(f"]({name}.md)" in pages[INDEX] for name in names)
    assert all(text.startswith(MARK) for text in pages.values())


def test_a_page_says_what_a_sender_needs(pages: dict[str, str]) -> None:
    """Topics, fields, errors of its own, of the host and of the handler, delivery, and how it is asked."""
    page = pages["fetch-greeting.md"]
    for part in (
        "| demo | `onex.app.dev.demo.cmd.node.fetch-greeting.v1` |",
        "| `name` | text, at least 1 long, at most 100 long | yes |  |",
        "| `language` | one of `de`, `en`, `fr` | no |  |",
        "| `no_such_language` | the greetings service does not speak this language | `result.status == 404` | no |",
        "| `payload_invalid` |",
        "| `unreachable` | There was no connection, or it broke off. | yes | unless a POST or PATCH may",
        "at most 32 at a time",
        """$ runtime-host send fetch-greeting --payload '{"name": "Ada", "language": "fr"}'""",
    ):
        assert part in page


def test_a_page_tells_for_which_failure_an_error_is_declared(pages: dict[str, str]) -> None:
    """A sender sees the contract's code, an operator where it comes from."""
    row = "| `id_taken` | there is a user with this id already | the handler fails with `unique_violation` | no |"
    assert row in pages["user-query.md"]


def test_an_example_has_the_answer_that_the_node_gives(pages: dict[str, str]) -> None:
    """It is computed, not written: so it is never out of date."""
    assert '"total_cents": 378' in pages["price-order.md"]


@pytest.mark.parametrize("word", ["a | b", "`code`", "two\nlines", "<b>"])
def test_no_text_of_a_contract_leaves_its_cell(word: str) -> None:
    """Each row of a table has as many cells as its head."""
    schema = f"{{type: object, properties: {{it: {{type: string, description: {word!r}, pattern: {word!r}}}}}}}"
    written = schema.replace("'", '"')
    host = loaded_host({"odd": node("odd", operations=f"{{do: {{input: {written}}}}}")})
    page = reference(host.nodes, [host], catalog().handlers, {})["odd.md"]
    for table in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_fields_are_told_with_those_within() -> None:
    """Objects within objects and lists are told by their paths, and references are followed."""
    schema = {
        "type": "object",
        "required": ["lines"],
        "properties": {"lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}}, "any": {}},
        "$defs": {"line": {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1, "default": 1}}}},
    }
    assert fields_of(schema) == [
        FieldRow("lines", "list of object, at least 1 items", required=True, meaning=""),
        FieldRow("lines[].count", "integer, at least 1", required=False, meaning="Default: `1`."),
        FieldRow("any", "anything", required=False, meaning=""),
    ]


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    """A tree of trees has no last field, and its sample none but the required."""
    tree = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}}
    assert len(fields_of(tree)) < 20
    assert isinstance(sample(tree), dict)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 5},
        {"type": "integer", "exclusiveMinimum": 5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "number", "maximum": -3},
        {"type": "integer", "minimum": -5, "maximum": -2},
        {"type": "integer", "multipleOf": 7},
        {"type": "string", "minLength": 10},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "array", "minItems": 2, "items": {"type": "boolean"}},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        {"enum": ["a", "b"]},
        {"const": {"x": 1}},
        {"type": ["string", "null"]},
        {"type": "object", "required": ["a"], "properties": {"a": {"type": "object", "required": ["b"]}}},
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"type": "integer"}},
        },
    ],
    ids=str,
)
def test_a_sample_fits_its_schema(schema: dict[str, object]) -> None:
    """Where an author gave no example, one is made."""
    assert Schema(schema).faults(sample(schema)) == ()


WITHOUT_ANSWER = {"not_for_retry", "not_for_this_pool"}
"""Codes of dead letters alone, since nobody knows whose commands they are: docs/operations.md has them."""


def test_every_code_of_the_engine_is_explained() -> None:
    """A code that core answers with, and no page tells of, would be a riddle: add it to ENGINE."""
    told = (
        set(ENGINE) | WITHOUT_ANSWER | {code for it in handler_factories().values() for code in it.description.errors}
    )
    assert _codes_raised_in(CORE) <= told


@pytest.mark.parametrize(
    ("handler", "rooms"),
    [
        ("http", ["handlers/http", "http/connections.py"]),
        ("consul", ["handlers/consul", "http"]),
        ("vault", ["handlers/vault", "secrets/vault", "http/json_client.py", "http/connections.py"]),
    ],
)
def test_every_code_of_a_handler_is_explained(handler: str, rooms: list[str]) -> None:
    """What a handler raises stands in the `errors` of its description."""
    told = set(handler_factories()[handler].description.errors)
    # A file of the host's own, which is missing before anything is served, is nothing that a sender hears of.
    of_the_host = {"tls_ca_file_unusable", "tls_cert_file_unusable"}
    for room in rooms:
        assert _codes_raised_in(INFRA / room) - of_the_host <= told


def _codes_raised_in(room: Path) -> set[str]:
    calls = (
        it
        for path in ([room] if room.is_file() else room.rglob("*.py"))
        if path.parent.name != "contract_tests"
        for it in ast.walk(ast.parse(path.read_text()))
        if isinstance(it, ast.Call) and isinstance(it.func, ast.Name) and it.func.id in _RAISED and it.args
    )
    return {str(it.args[0].value) for it in calls if isinstance(it.args[0], ast.Constant)}
