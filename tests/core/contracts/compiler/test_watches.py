"""The watches of a host contract: what they may refer to, and what becomes of them."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import pytest
from pydantic import BaseModel

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.errors import InvalidContracts
from omnibase_core.ports import ContractDocument, HandlerDescription, OperationDescription
from tests.support.commands import AnyModel, catalog, host, node


class Read(BaseModel, extra="forbid", strict=True):
    """A request that can wait."""

    name: str
    index: int = 0


def _following(request: Any, result: Mapping[str, Any]) -> Read:
    return Read(name=request.name, index=result["index"])


SHELF = HandlerDescription(
    handler_type="shelf",
    operations={
        "write": OperationDescription(request=AnyModel, result=AnyModel),
        "read": OperationDescription(request=Read, result=AnyModel, following=_following),
    },
    settings=AnyModel,
    target=AnyModel,
)
BINDING = "handlers: {shelf: {targets: {main: {}}}}\n"
WATCH = (
    "watches: {books: {handler: shelf, target: main, call: read, request: {name: x}, node: lister, operation: do}}\n"
)


def load(more: str) -> LoadedHost:
    """Load a host of one node with these further keys."""
    files = {"h.yaml": host("lister") + more, "n.yaml": node("lister"), "o.yaml": node("other")}
    documents = [ContractDocument(PurePath(name), text) for name, text in files.items()]
    return FileRegistry(PurePath(), lambda _: documents, catalog(SHELF)).hosts["test-host"]


def test_a_watch_is_ready_to_be_asked() -> None:
    """With its first request, what follows a result, and the version of its node."""
    [watch] = load(BINDING + WATCH).watches
    assert (watch.name, watch.major, watch.request) == ("books", 1, Read(name="x"))
    assert watch.following(watch.request, {"index": 7}) == Read(name="x", index=7)
    assert load("").watches == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("node: lister", "node: listr", "this host has no node 'listr'; did you mean 'lister'?"),
        ("node: lister", "node: other", "this host has no node 'other'; expected one of: lister"),
        ("operation: do", "operation: dot", "node 'lister' has no operation 'dot'; did you mean 'do'?"),
        ("handler: shelf", "handler: shelv", "handler 'shelv' is not registered; did you mean 'shelf'?"),
        (
            "call: read",
            "call: write",
            "handler 'shelf' has no operation 'write' that waits for changes; expected one of: read",
        ),
        ("target: main", "target: maim", "there is no target 'maim' here; did you mean 'main'?"),
        ("target: main, ", "", "missing key 'target': handler 'shelf' needs one"),
        ("name: x", "nam: x", "unknown key 'nam'; did you mean 'name'?"),
        ("name: x", "name: 7", "found 7, expected text"),
        ("name: x", 'name: "${ payload.x }"', "a watch has no command that an expression could read"),
        (
            "handler: shelf, target: main, call: read",
            "handler: local, call: echo",
            "has no operation 'echo' that",
        ),
    ],
)
def test_a_watch_of_what_is_not_there_is_told_at_its_place(before: str, after: str, told: str) -> None:
    """Before anything starts, with the nearest name there is."""
    assert before in WATCH
    with pytest.raises(InvalidContracts) as raised:
        load(BINDING + WATCH.replace(before, after))
    problems = [str(problem) for problem in raised.value.problems]
    assert any(told in problem and problem.startswith("h.yaml:12:") for problem in problems), problems
    # What is misspelled leaves its binding unused, which is told at that.
    assert all("h.yaml:12:" in problem or "no node of this host uses" in problem for problem in problems), problems


def test_what_a_watch_alone_uses_is_used() -> None:
    """A handler and a target that no node asks are bound for it; without it, they are bound for nobody."""
    load(BINDING + WATCH)
    with pytest.raises(InvalidContracts, match="no node of this host uses the handler 'shelf'"):
        load(BINDING)


def test_a_faulty_node_is_told_once() -> None:
    """A watch of it is no second fault."""
    files = {"h.yaml": host("lister") + BINDING + WATCH, "n.yaml": node("lister").replace("1.0.0", "[]")}
    documents = [ContractDocument(PurePath(name), text) for name, text in files.items()]
    with pytest.raises(InvalidContracts) as raised:
        FileRegistry(PurePath(), lambda _: documents, catalog(SHELF))
    assert [it.path for it in raised.value.problems] == ["n.yaml"]
