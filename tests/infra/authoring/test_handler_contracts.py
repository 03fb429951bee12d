"""The contracts of handlers: that the files are what the handlers describe, and that any handler has one."""

import ast
from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from pathlib import Path, PurePath
from shutil import copytree
from typing import Any

import pytest

from omnibase_core.contracts.handler import HandlerContract, difference, handler_contract
from omnibase_core.contracts.json_schema import Schema
from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.errors import InvalidContracts
from omnibase_core.ports import ContractDocument, ErrorDescription, HandlerDescription, OperationDescription
from omnibase_infra.authoring.formatting import formatted
from omnibase_infra.authoring.handler_contracts import handler_contract_text
from omnibase_infra.authoring.yaml_text import yaml_text
from omnibase_infra.host.contract_files import read_contracts
from omnibase_infra.host.loading import load_host, registry_of
from omnibase_infra.host.plugins import catalog, handler_factories
from tests.support.commands import AnyModel

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "contracts" / "handlers"
INFRA = ROOT / "packages" / "omnibase_infra" / "src" / "omnibase_infra"
HANDLERS = catalog().handlers

ODD_TEXTS = [
    "on",
    "1.0",
    "null",
    " leading",
    "trailing ",
    "a: b",
    "- item",
    "# no comment",
    "a, b",
    "two\nlines",
    "word " * 40 + "end",
    "word " * 40 + "\n\n- an item: " + "word " * 40 + "end",
    "two  blanks " * 20 + "end",
    "x" * 200,
    "tab\tand\u2028separator",
    "\x85\xa0\ufeff\x9f\U000e0001 und Gr\u00fc\u00dfe, \U0001f600",
    "${ payload.id } " * 20 + "end",
]


def test_there_is_a_contract_of_each_handler_and_no_other() -> None:
    """A handler that is added has one, too: `make fix` writes it."""
    assert {path.stem for path in FOLDER.iterdir()} == set(HANDLERS)


@pytest.mark.parametrize("name", HANDLERS)
def test_the_files_in_the_repository_are_up_to_date(name: str) -> None:
    """What changes the description of a handler changes its contract: `make fix` writes it again."""
    assert (FOLDER / f"{name}.yaml").read_text() == handler_contract_text(HANDLERS[name])


@pytest.mark.parametrize("name", HANDLERS)
def test_a_contract_reads_as_the_description_that_it_was_written_from(name: str) -> None:
    """Nothing is lost or changed on the way through YAML, the model takes it, and it is in its canonical form."""
    text = (FOLDER / f"{name}.yaml").read_text()
    document = parse_document("x.yaml", text)
    assert document.problems == ()
    assert document.tree == handler_contract(HANDLERS[name])
    assert HandlerContract.model_validate(document.tree).name == name
    assert formatted("x.yaml", text) == text


@pytest.mark.parametrize("name", HANDLERS)
def test_each_schema_stands_by_itself(name: str) -> None:
    """Each reference leads to a definition within its own schema, so that any validator can take it."""
    contract = HandlerContract.model_validate(parse_document("x", (FOLDER / f"{name}.yaml").read_text()).tree)
    operations = contract.operations.values()
    schemas = [contract.settings, *(schema for it in operations for schema in (it.request, it.result))]
    for schema in [*schemas, *([] if contract.target is None else [contract.target])]:
        assert isinstance(Schema(schema).faults({}), tuple)


@pytest.mark.parametrize("name", [it for it in HANDLERS if (ROOT / "docs" / "handlers" / f"{it}.md").exists()])
def test_the_page_of_a_handler_has_its_codes_and_leads_to_its_contract(name: str) -> None:
    """A code that no page explains would be a riddle."""
    page = (ROOT / "docs" / "handlers" / f"{name}.md").read_text()
    assert [code for code in HANDLERS[name].errors if f"`{code}`" not in page] == []
    assert f"(../../contracts/handlers/{name}.yaml)" in page


@pytest.mark.parametrize(
    ("handler", "rooms"),
    [
        ("http", ["handlers/http"]),
        ("consul", ["handlers/consul"]),
        ("db", ["handlers/db"]),
        ("kafka", ["handlers/kafka"]),
        ("llm", ["handlers/llm"]),
        ("vault", ["handlers/vault"]),
        ("compute", ["functions/workers"]),
    ],
)
def test_a_handler_raises_its_codes_as_retryable_as_it_describes(handler: str, rooms: list[str]) -> None:
    """What is raised with a fixed verdict has this verdict in the description, or one that depends."""
    errors = handler_factories()[handler].description.errors
    raised = {it for room in rooms for it in _verdicts_in(INFRA / room) if it[0] in errors}
    fixed = {code: error.retryable for code, error in errors.items() if not isinstance(error.retryable, str)}
    assert raised
    assert {(code, verdict) for code, verdict in raised if fixed.get(code, verdict) is not verdict} == set()


def _verdicts_in(room: Path) -> set[tuple[str, bool]]:
    """Return the codes of errors that are made with a fixed `retryable`, or without one, which means false."""
    found = set()
    for call in (it for path in room.rglob("*.py") for it in ast.walk(ast.parse(path.read_text()))):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args):
            continue
        code, verdict = call.args[0], _retryable(call)
        if call.func.id in ("HandlerError", "WorkerDied") and isinstance(code, ast.Constant) and verdict is not None:
            found.add((str(code.value), verdict))
    return found


def _retryable(call: ast.Call) -> bool | None:
    """Return what a call says of it in so many words; None where it depends."""
    for keyword in call.keywords:
        if keyword.arg == "retryable":
            return bool(keyword.value.value) if isinstance(keyword.value, ast.Constant) else None
    return False


@pytest.mark.parametrize("text", ODD_TEXTS, ids=repr)
def test_any_text_of_a_plugin_comes_through(text: str) -> None:
    """As a meaning, as a docstring and in a key: the file says what the handler says."""
    model = type("Odd", (AnyModel,), {"__doc__": text, "__module__": __name__})
    handler = HandlerDescription(
        handler_type="odd",
        operations={"do": OperationDescription(request=model, result=AnyModel)},
        settings=AnyModel,
        errors={"odd": ErrorDescription(text, retryable=text)},
    )
    document = parse_document("odd.yaml", handler_contract_text(handler))
    assert document.problems == ()
    assert document.tree == handler_contract(handler)
    keyed = {"a": {text: {"b": [[text], [], {}, {"c": text}]}}}
    assert parse_document("keyed.yaml", yaml_text(keyed)).tree == keyed


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ({"a": 1, "operations": {"x": {}, "y": {}}}, None),
        ({"operations": {"x": {}, "y": {}}, "a": 1}, None),
        ({"a": 1, "operations": {"y": {}, "x": {}}}, ("operations",)),
        ({"a": True, "operations": {"x": {}, "y": {}}}, ("a",)),
        ({"a": 1, "operations": {"x": {}, "y": {"z": []}}}, ("operations", "y", "z")),
        ({"a": 1, "b": 2, "operations": {"x": {}, "y": {}}}, ("b",)),
        ({"operations": {"x": {}, "y": {}}}, ("a",)),
    ],
    ids=str,
)
def test_a_difference_is_found_at_its_place(written: object, at: tuple[str, ...] | None) -> None:
    """The first operation is the one that a node asks where it names none, so their order counts."""
    assert difference(written, {"a": 1, "operations": {"x": {}, "y": {}}}) == at


def test_a_difference_in_a_list_is_found_at_its_item() -> None:
    """By its index; lists of other lengths differ as a whole."""
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ("a", 1, "b")
    assert difference({"a": [1]}, {"a": [1, 2]}) == ("a",)


def _keys(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every key and item."""
    for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*at, key)
        if isinstance(child, dict | list):
            yield from _keys(child, (*at, key))


@pytest.mark.parametrize("name", ["local", "compute"])
def test_whatever_is_taken_out_of_a_contract_is_reported(name: str) -> None:
    """With one problem, and what to run where the contract still is one; no key goes unread."""
    whole = handler_contract(HANDLERS[name])
    registry_of([ContractDocument(Path("whole.yaml"), yaml_text(whole))])
    for at in _keys(whole):
        tree = deepcopy(whole)
        del reduce(lambda part, step: part[step], at[:-1], tree)[at[-1]]
        with pytest.raises(InvalidContracts) as raised:
            registry_of([ContractDocument(Path("a b.yaml"), yaml_text(tree))])
        [problem] = raised.value.problems
        assert problem.code in ("handler-differs", "missing-key", "not-a-contract", "wrong-value"), at
        if problem.code == "handler-differs":
            assert problem.message.endswith(f"runtime-host export handlers {name} > 'a b.yaml'")


def test_a_host_is_not_kept_from_starting_by_a_handler_contract(tmp_path: Path) -> None:
    """It reads no handler contract, and `check` of the folder does."""
    for folder, text in {
        "hosts": (ROOT / "tests" / "contracts" / "good" / "hosts" / "main.yaml").read_text(),
        "handlers": "contract: handler/v1\nname: gone\n",
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "it.yaml").write_text(text)
    copytree(ROOT / "tests" / "contracts" / "good" / "nodes", tmp_path / "nodes")
    assert load_host(tmp_path / "hosts" / "it.yaml").contract.name == "main"
    with pytest.raises(InvalidContracts) as raised:
        registry_of(read_contracts(tmp_path))
    assert {PurePath(it.path).parent.name for it in raised.value.problems} == {"handlers"}
