"""Expressions where nothing is evaluated are refused: they would be sent as they are written."""

from typing import Any

import pytest

from omnibase_core.contracts.compiler.unevaluated_expressions import unevaluated, unread
from omnibase_core.errors import InvalidContracts
from tests.support.commands import host, node, registry

X = "${ payload.x }"
MIXED = f"for {X}"


@pytest.mark.parametrize(
    ("contract", "at"),
    [
        ({"description": MIXED}, ("description",)),
        ({"operations": {"do": {"request": {X: 1}}}}, ("operations", "do", "request", X)),
        ({"operations": {"do": {"answer": {"a": [{MIXED: X}]}}}}, ("operations", "do", "answer", "a", 0, MIXED)),
        ({"operations": {"do": {"errors": [{"message": MIXED}]}}}, ("operations", "do", "errors", 0, "message")),
        (
            {"operations": {"do": {"input": {"properties": {"a": {"const": X}}}}}},
            ("operations", "do", "input", "properties", "a", "const"),
        ),
        (
            {"operations": {"do": {"output": {"anyOf": [{"enum": ["b", X]}]}}}},
            ("operations", "do", "output", "anyOf", 0, "enum", 1),
        ),
    ],
)
def test_an_expression_that_nobody_evaluates_is_found(contract: dict[str, Any], at: tuple[Any, ...]) -> None:
    """With its place, and what becomes of it."""
    [misfit] = unevaluated(contract)
    assert misfit.at == at
    assert misfit.message.startswith("nothing is evaluated here: '")


@pytest.mark.parametrize(
    "contract",
    [
        {"description": "Costs $5, or {6}; a shell writes $HOME."},
        {"operations": {"do": {"request": {"a": X, "b": [X]}, "answer": X, "errors": [{"when": X, "code": "a"}]}}},
        {"operations": {"do": {"input": {"examples": [{"a": X}], "pattern": "^[$]{2}", "const": "a ${ b } c"}}}},
        {"operations": {"do": "text"}},
        {"operations": None, "description": 7},
        {},
    ],
)
def test_what_is_evaluated_or_only_looks_so_is_not(contract: dict[str, Any]) -> None:
    """Values of mappings are compiled; an example is what somebody sent; whatever else is wrong is told elsewhere."""
    assert list(unevaluated(contract)) == []


READS = "a host contract reads nothing from the environment"
EACH = ", and have a host contract for each environment"
SECRETS = "secrets may stand in bus, handlers and idempotency alone; write the value itself"
HOST = {
    "environment: dev": ("environment: '${ENVIRONMENT:dev}'", f"'${{ENVIRONMENT:dev}}', but {READS}; write dev{EACH}"),
    "tenant: test": ("tenant: '${secret.TENANT}'", f"'${{secret.TENANT}}', but {SECRETS}"),
    "pool: pool": ("pool: '${POOL}'", f"'${{POOL}}', but {READS}; write the value{EACH}"),
    "limits: {}": ("limits: {drain_s: '${DRAIN:-5}'}", f"'${{DRAIN:-5}}', but {READS}; write 5{EACH}"),
}


@pytest.mark.parametrize(("written", "instead"), HOST.items(), ids=HOST)
def test_a_host_contract_reads_nothing_from_the_environment(written: str, instead: tuple[str, str]) -> None:
    """That is all that is told of the value: what its form would be otherwise leads astray."""
    other, told = instead
    contract = host("greeter").replace(written, other)
    with pytest.raises(InvalidContracts) as raised:
        registry({"greeter": node("greeter"), "host": contract})
    [problem] = raised.value.problems
    assert problem.message == f"found {told}"
    line = contract.split("\n")[problem.line - 1]
    assert line[problem.column - 1 :][: problem.width].startswith("'${")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            "bus: {bootstrap_servers: '${BROKERS}'}",
            f"found '${{BROKERS}}', but {READS}; write host:port, and give another one with: runtime-host run --broker"
            " HOST:PORT",
        ),
        (
            "bus: {other: 'a-${X}'}",
            f"found 'a-${{X}}', but {READS}; write the value{EACH}, or ${{secret.NAME}} for a secret",
        ),
        ("secrets: {KEY: {file: '${HOME}/key'}}", f"found '${{HOME}}/key', but {READS}; write the value{EACH}"),
    ],
)
def test_what_a_value_of_the_environment_stands_for_is_told(part: str, told: str) -> None:
    """The address of a broker has an option of its own, and secrets their references."""
    with pytest.raises(InvalidContracts) as raised:
        registry({"greeter": node("greeter"), "host": f"{host('greeter')}{part}\n"})
    assert told in [it.message for it in raised.value.problems]


def test_a_secret_stands_where_secrets_are_read() -> None:
    """There it is none of this."""
    assert list(unread({"bus": {"a": "${secret.A}"}, "handlers": {"http": {"b": ["${secret.B}"]}}})) == []
    assert list(unread({"watches": {"w": {"request": {"key": "${ payload.a }"}}}})) == []
