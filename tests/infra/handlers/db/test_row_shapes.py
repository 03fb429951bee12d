"""Shapes of rows: what fits, what does not, and that no value is told."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_infra.handlers.db.models import JsonType
from omnibase_infra.handlers.db.result_errors import refusal_of_batch, refusal_of_rows, refusal_of_transaction
from omnibase_infra.handlers.db.row_shapes import live_shape_faults, row_fault
from omnibase_infra.host.plugins import catalog

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), values, min_size=1, max_size=5))
def test_a_row_fits_the_shape_that_it_has(row: Mapping[str, Any]) -> None:
    """Every JSON value has a type; what allows every type allows every value."""
    every: list[JsonType] = list(get_args(JsonType))
    assert row_fault(row, dict.fromkeys(row, every)) is None
    assert row_fault({**row, "more of it": 1}, dict.fromkeys(row, every)) is not None


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": 1, "name": "x"}, None),
        ({"id": 1, "name": None}, None),
        ({"id": True, "name": "x"}, "the column 'id' is boolean; its shape says integer"),
        ({"id": 1.5, "name": "x"}, "the column 'id' is number; its shape says integer"),
        ({"id": 1, "name": ["secret"]}, "the column 'name' is array; its shape says string or null"),
        ({"id": 1}, "a row has the columns id; its shape says id, name"),
        ({"id": 1, "name": "x", "more": 1}, "a row has the columns id, name, more; its shape says id, name"),
    ],
)
def test_what_does_not_fit_is_told_without_its_value(row: Mapping[str, Any], told: str | None) -> None:
    """The column is named, with what it is and what it was to be."""
    assert row_fault(row, {"id": "integer", "name": ["string", "null"]}) == told


def test_an_integer_is_a_number() -> None:
    """As in JSON Schema; the other way round it is not."""
    assert row_fault({"n": 1}, {"n": "number"}) is None
    assert row_fault({"n": 1.0}, {"n": "integer"}) is not None


@pytest.mark.parametrize(
    ("of_database", "written", "fits"),
    [
        ("bigint", "integer", True),
        ("bigint", "number", True),
        ("bigint", "string", False),
        ("numeric", "string", True),
        ("numeric", "number", False),
        ("double precision", "number", True),
        ("timestamp with time zone", "string", True),
        ("text[]", "array", True),
        ("text[]", "string", False),
        ("jsonb", "object", True),
        ("boolean", "boolean", True),
        ("mood", "string", True),
    ],
)
def test_types_of_the_database_are_held_to_the_shape(of_database: str, written: JsonType, *, fits: bool) -> None:
    """What the rows can never be is known before any is read."""
    assert (not list(live_shape_faults({"c": written}, [("c", of_database)]))) == fits


def _model(operation: str, kind: str, written: Mapping[str, Any]) -> Any:
    described = catalog().handlers["db"].operations[operation]
    return (described.request if kind == "request" else described.result).model_validate(written)


def test_what_a_test_plays_is_judged_as_the_handler_judges() -> None:
    """A value that cannot be bound, a row off its shape, and rows that were not expected are the same errors."""
    query = {"statement": "select id from t where id = %(id)s", "parameters": {"id": 1}, "row": {"id": "integer"}}
    one = _model("query", "result", {"rows": [{"id": 1}], "row_count": 1})
    assert refusal_of_rows(_model("query", "request", query), one) is None
    unbound = refusal_of_rows(_model("query", "request", {**query, "parameters": {"id": [1]}}), one)
    assert unbound is not None
    assert unbound.code == "request_invalid"
    unfit = refusal_of_rows(_model("query", "request", {**query, "row": {"id": "string"}}), one)
    assert unfit is not None
    assert unfit.code == "result_invalid"
    batch = _model("batch", "request", {"statement": "delete from t where id = %(id)s", "parameter_sets": [{"ids": 1}]})
    refused = refusal_of_batch(batch, _model("batch", "result", {"row_count": 0}))
    assert refused is not None
    assert refused.code == "request_invalid"
    several = _model("transaction", "request", {"statements": {"a": {"statement": "delete from t", "expect_rows": 1}}})
    none = _model("transaction", "result", {"results": {"a": {"rows": [], "row_count": 0}}})
    unexpected = refusal_of_transaction(several, none)
    assert unexpected is not None
    assert (unexpected.code, unexpected.details) == ("rows_unexpected", {"rows": 0, "expected": 1})
