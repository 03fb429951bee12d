"""Expressions where nothing is evaluated are refused: they would be sent as they are written."""

from typing import Any

import pytest

from omnibase_core.contracts.unevaluated import unevaluated

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
