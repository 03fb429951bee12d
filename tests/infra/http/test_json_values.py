"""JSON of a server: every number that JSON has, and no other."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_infra.http.json_values import json_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(VALUES)
def test_what_json_can_write_is_read(value: object) -> None:
    """Every value that has a form in JSON comes back as it was."""
    assert json_value(json.dumps(value).encode()) == value


@pytest.mark.parametrize("number", ["1e999", "-1E+400", "1" * 400 + ".0", "1e0309", '[0, {"a": [2e308]}]'])
def test_a_number_beyond_a_double_is_refused(number: str) -> None:
    """It would be read as infinity, which nobody can write as JSON again."""
    with pytest.raises(ValueError, match="beyond what a double can hold"):
        json_value(number.encode())


@pytest.mark.parametrize("text", ["1e308", "9" * 400, '"1e999"', '{"e400": 1}', "5e-324"])
def test_what_only_looks_large_is_read(text: str) -> None:
    """Integers have no bound, and texts are none of it."""
    value = json_value(text.encode())
    assert value == json.loads(text)
    assert not (isinstance(value, float) and math.isinf(value))
