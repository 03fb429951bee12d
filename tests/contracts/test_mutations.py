"""Valid contracts with one thing changed: either that is told at its line, or what is loaded is just what is written.

What a schema no longer says is told where an expression of the same operation reads it.

Nothing in between: no key that is passed over, no value that is converted, no error that points elsewhere.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.ports import ContractDocument
from omnibase_infra.host.contract_files import read_contracts
from omnibase_infra.host.plugins import catalog

ROOT = Path(__file__).parents[2]
CATALOG = catalog()
RICH = """
contract: node/v1
name: charge-card
kind: effect
version: 3.1.4
description: Charges a card, and says why not.
handler: http
target: payments
operations:
  charge:
    call: request
    input:
      type: object
      required: [card, cents]
      properties: {card: {type: string, maxLength: 40}, cents: {type: integer, minimum: 1}}
      additionalProperties: false
      examples: [{card: c1, cents: 100}]
    request: {method: POST, path: [charges], json: {card: "${ payload.card }", tags: [a, {b: null}]}, expect: [200]}
    errors:
      - {when: "${ result.status == 402 }", code: refused, message: the card was refused, retryable: false}
      - {when: "${ result.status == 429 }", code: too_many, retryable: true}
    answer: {receipt: "${ result.json.receipt }", at: now, amounts: [1, 2.5]}
    output: {type: object, properties: {receipt: {type: string}}}
delivery:
  timeout_s: 4
  deadline_s: 40
  ordering: none
  on_retry: overtake
  max_in_flight: 16
  retry: {attempts: 6, initial_s: 0.5, max_s: 8, multiplier: 3, jitter: 0.25, codes: [too_many, timeout]}
"""
MASK = """
contract: node/v1
name: mask
kind: compute
version: 0.1.0
description: Masks an address.
operations:
  mask:
    input: {type: object}
    logic: omnibase_infra.demo.scoring:mask_email
    request: "${ payload.email }"
  greet:
    input: {type: object}
    answer: {text: hello}
delivery: {budget_s: 0.5, deadline_s: 20, retry: {attempts: 2, jitter: 1}}
"""
HOST = """
contract: host/v1
name: shop
kind: runtime_host
version: 1.0.0
description: Everything that a host can say.
environment: prod
tenant: acme
pool: shop
nodes: [charge-card, mask]
handlers:
  http:
    breaker: {failures: 3, open_s: 2, open_max_s: 20, probes: 2}
    targets:
      payments: {base_url: "https://pay.example.org", headers: {x-shop: acme}, connect_timeout_s: 2}
logic_packages: [omnibase_infra.demo]
bus: {bootstrap_servers: "kafka:9092", partitions: 6, replicas: 3}
limits: {max_in_flight: 500, bytes_in_flight_max: 1048576, ahead_max: 1000, drain_s: 5}
health: {address: 0.0.0.0, port: 8080, stalled_max_s: 120}
"""


class Twice(dict[str, Any]):
    """A mapping that is written with one of its keys a second time, at its end."""

    again: str


@dataclass(frozen=True)
class Source:
    """A contract as a tree, and the documents that have to be there beside it."""

    tree: dict[str, Any]
    beside: Sequence[ContractDocument] = ()

    @property
    def is_host(self) -> bool:
        """Whether it is a host's."""
        return "environment" in self.tree


def _tree(text: str) -> dict[str, Any]:
    document = parse_document("", text)
    assert not document.problems
    return dict(document.tree)


def _sources() -> list[Source]:
    rich = [ContractDocument(PurePath(f"{index}.yaml"), text) for index, text in enumerate((RICH, MASK))]
    examples = list(read_contracts(ROOT / "contracts"))
    nodes = [it for it in examples if "contract: node/v1" in it.text]
    found = [Source(_tree(it.text)) for it in (*rich, *nodes)]
    hosts = [it for it in examples if "contract: host/v1" in it.text]
    found += [Source(_tree(it.text), nodes) for it in hosts]
    return [*found, Source(_tree(HOST), rich)]


SOURCES = _sources()
Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Written:
    """A text with one thing on each line, and where each key stands in it; of a key that stands twice, the second."""

    text: str
    lines: dict[Steps, int]


def _written(tree: dict[str, Any]) -> Written:
    lines: list[str] = []
    places: dict[Steps, int] = {}

    def leaf(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def write(value: Any, at: Steps, indent: str, *, head: str = "") -> None:
        entries = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        if isinstance(value, Twice):
            entries.append((value.again, value[value.again]))
        for key, child in entries:
            written = f"{leaf(key)}: " if isinstance(value, dict) else "- "
            start = head or indent
            head = ""
            places[*at, key] = len(lines) + 1
            if not (isinstance(child, dict | list) and child):
                lines.append(f"{start}{written}{leaf(child)}")
            elif isinstance(value, dict):
                lines.append(f"{start}{written.rstrip()}")
                write(child, (*at, key), indent + "  ")
            else:
                write(child, (*at, key), indent + "  ", head=f"{start}- ")

    write(tree, (), "")
    return Written("\n".join(lines) + "\n", places)


def _keys(tree: Any, at: Steps = ()) -> Iterator[Steps]:
    """Yield the path of every key of every mapping."""
    for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(tree, dict):
            yield (*at, key)
        if isinstance(child, dict | list):
            yield from _keys(child, (*at, key))


def _changed(tree: Any, path: Steps, change: Any) -> Any:
    """Return a copy in which the mapping that holds the path's last key is what `change` makes of it."""
    if len(path) == 1:
        return change(dict(tree), path[0])
    step, *rest = path
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[step] = _changed(tree[step], tuple(rest), change)
    return copy


def _dropped(owner: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in owner.items() if name != key}


def _renamed(owner: dict[str, Any], key: str) -> dict[str, Any]:
    return {f"{name}x" if name == key else name: value for name, value in owner.items()}


def _retyped(owner: dict[str, Any], key: str) -> dict[str, Any]:
    found = owner[key]
    other: Any = 7 if isinstance(found, str | dict) else {"seven": 7} if isinstance(found, list) else "seven"
    return {**owner, key: other}


def _doubled(owner: dict[str, Any], key: str) -> dict[str, Any]:
    twice = Twice(owner)
    twice.again = key
    return twice


def _loaded(source: Source, text: str) -> FileRegistry:
    documents = [ContractDocument(PurePath("changed.yaml"), text), *source.beside]
    return FileRegistry(PurePath(), lambda _: documents, CATALOG)


def _outcome(source: Source, text: str) -> dict[str, Any] | list[Problem]:
    """Return what is loaded, as far as it is written, or what is told of the changed file."""
    try:
        registry = _loaded(source, text)
    except InvalidContracts as error:
        return [problem for problem in error.problems if problem.path == "changed.yaml"]
    [contract] = [
        *(node.contract for node in registry.nodes.values() if not source.is_host),
        *(host.contract for host in registry.hosts.values()),
    ]
    return contract.model_dump(mode="json", exclude_unset=True)


def _references(written: Written) -> set[int]:
    """Where a host lists its nodes, and what it watches: what these lack on this host is told there."""
    return {line for path, line in written.lines.items() if path[0] in ("nodes", "watches")}


def _readers(written: Written, tree: dict[str, Any], path: Steps) -> set[int]:
    """Where something reads what is at the path: it is told if that is not there.

    - what expressions of an operation read: its `input`, `logic`, `call` and `request` say what is there;
    - a handler reads the whole of a request together, and the rules of errors name what its operation fails with;
    - what a schema requires, and its examples, are held to the rest of it;
    - the limits of a handler's targets.
    """
    if path[0] == "handlers" and path[2:3] == ("targets",):
        return {line for it, line in written.lines.items() if it[:3] == (*path[:2], "limits")}
    part = path[2] if path[0] == "operations" and len(path) > 2 else ""
    word = {"input": "payload", "logic": "result", "request": "result", "call": "result", "output": "-"}.get(str(part))
    if word is None:
        return set()
    mapped = {it for it in written.lines if it[:2] == path[:2] and it[2:3] in (("request",), ("errors",), ("answer",))}
    reading = {it for it in mapped if re.match(rf"\$\{{.*\b{word}\b", str(_at(tree, it)), re.DOTALL)}
    beside = {it for it in mapped if part in ("request", "call") and it[2] == "request"}
    beside |= {it for it in mapped if part == "call" and it[-1] == "on"}
    if part in ("input", "output"):
        beside = {it for it in written.lines if it[:3] == path[:3] and {"required", "examples"} & set(it)}
    return {written.lines[it] for it in reading | beside}


def _at(tree: Any, path: Steps) -> Any:
    for step in path:
        tree = tree[step]
    return tree


CHANGES = st.sampled_from(SOURCES).flatmap(
    lambda source: st.tuples(st.just(source), st.sampled_from(list(_keys(source.tree))))
)


@pytest.mark.parametrize("source", SOURCES, ids=[source.tree["name"] for source in SOURCES])
def test_unchanged_they_are_loaded_as_they_are_written(source: Source) -> None:
    """One thing on each line says the same."""
    assert _outcome(source, _written(source.tree).text) == source.tree


@given(CHANGES, st.sampled_from([_renamed, _retyped]))
def test_a_key_that_is_renamed_or_retyped_is_told_at_its_line(changed: tuple[Source, Steps], change: Any) -> None:
    """Where it is free to be so, as in a schema or an answer, it is loaded as it is now written.

    A schema's key that is renamed may be told where an expression reads what it said.
    """
    source, path = changed
    tree = _changed(source.tree, path, change)
    written = _written(tree)
    here = (*path[:-1], f"{path[-1]}x") if change is _renamed else path
    right = {written.lines[here]} | (_references(written) if path[0] in ("handlers", "logic_packages") else set())
    if change is _renamed and path[2:3] in (("input",), ("output",), ("request",), ("call",)):
        right |= _readers(written, tree, path)
    outcome = _outcome(source, written.text)
    assert outcome == tree or any(isinstance(it, Problem) and it.line in right for it in outcome)


@given(CHANGES)
def test_a_key_that_is_dropped_is_told_where_it_should_be(changed: tuple[Source, Steps]) -> None:
    """At its parent, at what stands beside it, or where an expression reads it.

    Where nobody needs it, the rest is loaded as it is written.
    """
    source, path = changed
    tree = _changed(source.tree, path, _dropped)
    written = _written(tree)
    beside = {line for it, line in written.lines.items() if it[: len(path) - 1] == path[:-1] and len(it) == len(path)}
    # How a node is served hangs together, and on what its operations do.
    bounds = {line for it, line in written.lines.items() if it[0] == "delivery"}
    if path[0] in ("delivery", "operations"):
        beside |= bounds
    right = beside | {written.lines.get(path[:-1], 1)} | _references(written) | _readers(written, tree, path)
    outcome = _outcome(source, written.text)
    assert outcome == tree or all(isinstance(it, Problem) and it.line in right for it in outcome)


@given(CHANGES)
def test_a_key_that_stands_twice_is_told_where_it_stands_again(changed: tuple[Source, Steps]) -> None:
    """It is the only thing that is told."""
    source, path = changed
    written = _written(_changed(source.tree, path, _doubled))
    [problem] = _outcome(source, written.text)
    assert isinstance(problem, Problem)
    assert (problem.line, problem.code) == (written.lines[path], "duplicate-key")
