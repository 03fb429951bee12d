"""Contracts by name: what is found, and what a host may refer to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from omnibase_core.contracts.catalog import Catalog
from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.ports import ContractDocument, HandlerDescription, OperationDescription, PureFunction
from omnibase_core.topics import SLUG_LENGTH_MAX, SLUG_PATTERN
from tests.support.commands import AnyModel, catalog, host, node, registry


class Pool(BaseModel, extra="forbid"):
    """Settings that take one key."""

    size: int = 1


class Server(BaseModel, extra="forbid"):
    """A target that needs one key."""

    address: str


REMOTE = HandlerDescription(
    handler_type="remote",
    operations={"do": OperationDescription(request=AnyModel, result=AnyModel)},
    settings=Pool,
    target=Server,
)
BOUND = "handlers: {remote: {settings: {size: 3}, targets: {main: {address: here}}}}\n"
AWAY = node("away", handler="remote").replace("handler: remote", "handler: remote\ntarget: main")
ONCE = 'idempotency: {key: "${ payload.order }"}\n'
ADDER = """
contract: node/v1
name: adder
kind: compute
version: 1.0.0
description: A node of a test.
operations: {add: {input: {}, logic: "pkg.sums:add"}}
"""


def _load(files: Mapping[str, str], checked: Catalog | None = None) -> FileRegistry:
    documents = [ContractDocument(PurePath(name), text) for name, text in files.items()]
    return FileRegistry(PurePath(), lambda _: documents, checked or catalog(REMOTE))


def _problems(files: Mapping[str, str], checked: Catalog | None = None) -> list[str]:
    with pytest.raises(InvalidContracts) as raised:
        _load(files, checked)
    return [str(problem) for problem in raised.value.problems]


def test_nodes_and_hosts_are_found_by_name() -> None:
    """The name in the contract counts, wherever its file is; a host knows its nodes in the order it lists them."""
    files = {"x/1.yaml": node("first"), "h.yaml": host("second", "first"), "2.yaml": node("second"), "3.yaml": ADDER}
    found = registry(files)
    assert set(found.nodes) == {"first", "second", "adder"}
    assert found.nodes["first"].contract.name == "first"
    loaded = found.hosts["test-host"]
    assert [it.contract.name for it in loaded.nodes] == ["second", "first"]
    assert loaded.topics == (
        "onex.app.dev.test.cmd.node.second.v1",
        "onex.app.dev.test.evt.node.second.v1",
        "onex.app.dev.test.cmd.node.first.v1",
        "onex.app.dev.test.evt.node.first.v1",
        "onex.app.dev.test.dlq.runtime.pool.v1",
        "onex.sys.dev.test.log.runtime.test-host.v1",
    )
    assert found.host_at(PurePath("h.yaml")) is loaded
    assert found.host_at(PurePath("2.yaml")) is None


def test_settings_come_as_their_models_and_can_be_changed_in_a_copy() -> None:
    """The bus, the handlers and the targets have the types of those that read them; the host itself stays."""
    loaded = _load({"a.yaml": AWAY, "h.yaml": host("away") + BOUND + "bus: {servers: here}\n"}).hosts["test-host"]
    assert loaded.settings.handlers == {"remote": Pool(size=3)}
    assert loaded.settings.targets == {"remote": {"main": Server(address="here")}}
    assert loaded.settings.bus == AnyModel.model_validate({"servers": "here"})
    changed = loaded.with_target("remote", "main", address="there").with_bus(servers="there")
    assert changed.settings.targets["remote"]["main"] == Server(address="there")
    assert changed.settings.bus == AnyModel.model_validate({"servers": "there"})
    assert changed.settings.handlers == loaded.settings.handlers
    assert loaded.settings.targets["remote"]["main"] == Server(address="here")


def test_a_name_that_is_taken_names_the_first_place() -> None:
    """Nodes share no name, nor do hosts; a node and a host may."""
    files = {"a.yaml": node("same"), "b.yaml": node("same"), "h.yaml": host("same"), "i.yaml": host("same")}
    assert _problems(files) == [
        "b.yaml:3:7: the name 'same' is taken by a.yaml:3",
        "i.yaml:3:7: the name 'test-host' is taken by h.yaml:3",
    ]
    assert set(registry({"n.yaml": node("test-host"), "h.yaml": host("test-host")}).hosts) == {"test-host"}


def _host(*nodes: str, more: str = "") -> dict[str, str]:
    return {"h.yaml": host(*nodes) + more, "g.yaml": node("greeter"), "a.yaml": AWAY, "c.yaml": ADDER}


NO_TARGET = "node 'away' needs the target 'main'; bind it in handlers.remote.targets.main"
NO_PACKAGE = "node 'adder' runs pkg.sums:add; add its package to logic_packages"
OTHER = "handlers: {remote: {targets: {other: {address: x}}}}\n"
BARE = "handlers: {remote: {targets: {main: {}}}}\n"
WRONG = BOUND.replace("size: 3", "siz: 3").replace("here", "7")
DOTS = "three numbers joined by dots, such as 1.0.0"
LISTED = {"h.yaml": host("greeter"), "g.yaml": node("greeter").replace("1.0.0", "[]")}
REFUSED = {
    "misspelled": (_host("greter"), ["h.yaml:9:9: there is no node 'greter'; did you mean 'greeter'?"]),
    "unknown": (_host("xyz"), ["h.yaml:9:9: there is no node 'xyz'; expected one of: greeter, away, adder"]),
    "no node at all": ({"h.yaml": host("xyz")}, ["h.yaml:9:9: there is no node 'xyz'; there are none"]),
    "twice": (_host("greeter", "greeter"), ["h.yaml:9:18: node 'greeter' is listed twice"]),
    "no binding": (_host("away"), [f"h.yaml:9:9: {NO_TARGET}"]),
    "another target": (
        _host("greeter", "away", more=OTHER),
        [f"h.yaml:9:18: {NO_TARGET}", "h.yaml:11:31: no node of this host uses the target 'other'; remove it"],
    ),
    "a misspelt target": (
        _host("away", more=OTHER.replace("other", "mian")),
        [f"h.yaml:9:9: {NO_TARGET}", "h.yaml:11:31: no node of this host uses the target 'mian'; did you mean 'main'?"],
    ),
    "no package": (_host("adder"), [f"h.yaml:9:9: {NO_PACKAGE}"]),
    "longer names": (
        _host("adder", more="logic_packages: [pk, pkg.sum, pkg.sums.a]\n"),
        [
            f"h.yaml:9:9: {NO_PACKAGE}",
            *(
                f"h.yaml:11:{column}: no node of this host runs a function of {name}; remove it"
                for column, name in ((18, "pk"), (22, "pkg.sum"), (31, "pkg.sums.a"))
            ),
        ],
    ),
    "no function": (_host("adder", more="logic_packages: [pkg]\n"), ["c.yaml:7:38: there is no pkg.sums:add"]),
    "unregistered handlers": (
        _host("greeter", more="handlers: {remot: {}, xyz: {}}\n"),
        [
            "h.yaml:11:12: handler 'remot' is not registered; did you mean 'remote'?",
            "h.yaml:11:23: handler 'xyz' is not registered; expected one of: local, compute, scripted, remote",
        ],
    ),
    "targets of a handler without": (
        _host("greeter", more="handlers: {scripted: {targets: {main: {}}}}\n"),
        ["h.yaml:11:23: handler 'scripted' has no targets"],
    ),
    "limits of no target": (
        _host("away", more="handlers: {remote: {limits: {mian: {}, xyz: {}}, targets: {main: {address: x}}}}\n"),
        [
            "h.yaml:11:30: there is no target 'mian' to limit; did you mean 'main'?",
            "h.yaml:11:40: there is no target 'xyz' to limit; expected one of: main",
        ],
    ),
    "bad settings": (
        _host("away", more=WRONG),
        ["h.yaml:11:32: unknown key 'siz'; did you mean 'size'?", "h.yaml:11:67: found 7, expected text"],
    ),
    "missing setting": (_host("away", more=BARE), ["h.yaml:11:37: missing key 'address'"]),
    "a faulty node that is listed": (
        LISTED,
        ["g.yaml:5:10: found [], expected three numbers joined by dots, such as 1.0.0"],
    ),
}


@pytest.mark.parametrize(("files", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_host_refers_to_has_to_be_there(files: dict[str, str], expected: list[str]) -> None:
    """Nodes, targets, functions, handlers and their settings: each fault is told once, at its place."""
    assert _problems(files) == expected


SECRETS = """\
bus: {servers: "${secret.ADDRESS}"}
secrets:
  ADDRESS: {file: /run/secrets/address}
  SPARE: {env: SPARE}
  lower: {env: A}
  NOWHERE: {path: /run/secrets/x}
  RELATIVE: {file: run/secrets/x}
  TWICE: {env: A, file: /a}
"""


def test_secrets_have_a_place_and_a_use() -> None:
    """A place that cannot be one, a name that no reference can have, and a secret that nothing reads are told."""
    told = _problems({"h.yaml": host("greeter") + SECRETS, "g.yaml": node("greeter")})
    assert told == [
        "h.yaml:15:3: found 'lower', expected a name of A-Z, 0-9 and _, such as API_KEY, of at most 63 characters",
        "h.yaml:16:12: found a mapping, expected {env: VARIABLE}, {file: PATH} or {vault: TARGET, ...}",
        "h.yaml:17:20: found 'run/secrets/x', expected an absolute path, such as /run/secrets/api-key",
        "h.yaml:18:19: unknown key 'file'; expected one of: env",
    ]
    good = "\n".join(SECRETS.splitlines()[:4]) + "\n"
    files = {"h.yaml": host("greeter") + good, "g.yaml": node("greeter")}
    unused = "nothing refers to the secret 'SPARE'; write ${secret.SPARE} where it belongs, or remove it"
    assert _problems(files) == [f"h.yaml:14:3: {unused}"]
    half = {**files, "h.yaml": host("greeter") + 'bus: {servers: "at ${secret.ADDRESS}"}\n'}
    assert _problems(half) == [
        "h.yaml:11:16: expected the whole value to be ${secret.NAME}, with NAME of A-Z, 0-9 and _"
    ]


def test_bad_settings_of_the_bus_are_told() -> None:
    """The bus's own model says what may stand there."""
    checked = Catalog(handlers=catalog().handlers, bus=Server, import_function=catalog().import_function)
    files = {"h.yaml": host("greeter") + "bus: {address: 1, port: 2}\n", "g.yaml": node("greeter")}
    assert _problems(files, checked) == [
        "h.yaml:11:16: found 1, expected text",
        "h.yaml:11:19: unknown key 'port'; expected one of: address",
    ]


def test_a_host_names_its_bus_and_is_held_to_the_model_of_that_bus() -> None:
    """`type` is no setting of it. A host that names none has the bus that is meant."""
    checked = Catalog(
        handlers=catalog().handlers,
        bus=Server,
        buses={"server": Server, "pool": Pool},
        import_function=catalog().import_function,
    )

    def files(bus: str) -> Mapping[str, str]:
        return {"h.yaml": host("greeter") + f"bus: {bus}\n", "g.yaml": node("greeter")}

    def settings(bus: str) -> tuple[str | None, BaseModel]:
        found = _load(files(bus), checked).hosts["test-host"].settings
        return found.bus_type, found.bus

    assert settings("{address: here}") == (None, Server(address="here"))
    assert settings("{type: server, address: here}") == ("server", Server(address="here"))
    assert settings("{type: pool, size: 3}") == ("pool", Pool(size=3))
    assert _problems(files("{type: pool, size: 3, address: 1}"), checked) == [
        "h.yaml:11:28: unknown key 'address'; expected one of: size"
    ]
    assert _problems(files("{type: pol, size: 3}"), checked) == [
        "h.yaml:11:13: bus 'pol' is not known; did you mean 'pool'?"
    ]
    assert _problems(files("{type: [pool], size: 3}"), checked)[0].startswith("h.yaml:11:13: bus ['pool'] is not known")


@pytest.mark.parametrize(("packages", "asked"), [("[]", []), ("[other]", []), ("[pkg]", ["pkg.sums:add"])])
def test_only_functions_of_allowed_packages_are_imported(packages: str, asked: list[str]) -> None:
    """A contract alone can make nobody import anything."""
    imported: list[str] = []

    def find(name: str) -> PureFunction:
        imported.append(name)
        raise LookupError(name)

    assert _problems(_host("adder", more=f"logic_packages: {packages}\n"), catalog(import_function=find))
    assert imported == asked


def test_exactly_once_is_refused_where_no_transaction_covers_what_a_node_does() -> None:
    """The reason is told, and what to write; a node of a handler that is covered is welcome."""
    text = host("away", "greeter", guarantee="exactly_once") + BOUND
    assert _problems({"h.yaml": text, "a.yaml": AWAY, "g.yaml": node("greeter")}) == [
        "h.yaml:9:9: node 'away': no transaction covers what handler 'remote' does, so that exactly_once cannot hold"
        " for it (it can for: local, compute, scripted); host it with guarantee: at_least_once"
    ]


def test_exactly_once_is_refused_for_a_node_with_idempotency() -> None:
    """Even where a transaction covers its handler, none covers its store."""
    store = "idempotency: {store: memory}\n"
    files = {"h.yaml": host("greeter", guarantee="exactly_once") + store, "g.yaml": node("greeter") + ONCE}
    assert _problems(files) == [
        "h.yaml:9:9: node 'greeter' has idempotency, whose store is outside of the transaction of exactly_once;"
        " write guarantee: at_least_once, or remove idempotency from the node"
    ]
    loaded = _load({**files, "h.yaml": host("greeter") + store})
    assert all(it.idempotency_key for it in loaded.hosts["test-host"].nodes[0].operations.values())


def test_what_a_function_does_beside_computing_is_a_problem_of_its_file() -> None:
    """Whoever reads functions is told which packages are to be read, and after the import."""
    asked: list[tuple[str, Sequence[str]]] = []

    def impurities(name: str, packages: Sequence[str]) -> list[Problem]:
        asked.append((name, packages))
        return [Problem("sums.py", 3, 5, "time.time (in add)", code="impure-function")]

    checked = replace(catalog(REMOTE, import_function=lambda _: sum), impurities=impurities)
    assert _problems(_host("adder", more="logic_packages: [pkg]\n"), checked) == ["sums.py:3:5: time.time (in add)"]
    assert asked == [("pkg.sums:add", ["pkg"])]


SLUGS = st.from_regex(SLUG_PATTERN, fullmatch=True).filter(lambda slug: len(slug) <= SLUG_LENGTH_MAX)


@given(st.sets(SLUGS, min_size=1, max_size=6).map(sorted).flatmap(st.permutations))
def test_every_node_is_found_whatever_the_order(slugs: list[str]) -> None:
    """Any distinct names, the host's document before, between or after those of its nodes."""
    quoted = [f'"{slug}"' for slug in slugs]
    files = {slug: node(name) for slug, name in zip(slugs, quoted, strict=True)}
    for texts in ({"": host(*quoted), **files}, {**files, "": host(*quoted)}):
        found = registry(texts)
        assert {name: it.contract.name for name, it in found.nodes.items()} == {slug: slug for slug in slugs}
        assert [it.contract.name for it in found.hosts["test-host"].nodes] == slugs


LINES = st.lists(st.sampled_from([*node("greeter").splitlines(), *host("greeter").splitlines(), "  - a: [", "{}"]))


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text() | LINES.map("\n".join)))
def test_any_texts_are_a_registry_or_invalid_contracts(files: dict[str, str]) -> None:
    """Whatever is in the files: contracts, or problems with a place in one of them, and nothing else."""
    try:
        found: Any = registry(files)
    except InvalidContracts as error:
        found = error
    assert all(it.path in files and it.line > 0 and it.column > 0 for it in getattr(found, "problems", ()))
