"""Differences: what agrees, what does not, and how it is shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.contract_tests.diff import agrees, difference, written

SCALARS = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text("ab :#-\n", max_size=6)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


def pruned(value: Any, data: st.DataObject) -> Any:
    """Leave keys of objects out, at any depth."""
    if isinstance(value, dict):
        return {key: pruned(item, data) for key, item in value.items() if data.draw(st.booleans())}
    return [pruned(item, data) for item in value] if isinstance(value, list) else value


@given(value=JSON)
def test_a_value_agrees_with_itself(value: Any) -> None:
    """What is the same has no difference."""
    assert agrees(value, value)
    assert agrees(value, value, partly=True)
    assert difference(value, value) == []


@given(value=JSON, data=st.data())
def test_a_part_agrees_with_the_whole(value: Any, data: st.DataObject) -> None:
    """Keys that are not expected are not looked at, and are not shown."""
    part = pruned(value, data)
    assert agrees(part, value, partly=True)
    assert difference(part, value, partly=True) == []


@given(one=JSON, other=JSON)
def test_what_does_not_agree_is_shown_and_nothing_else(one: Any, other: Any) -> None:
    """A difference has a line that was expected or came; each line says which it is."""
    lines = difference(one, other)
    assert bool(lines) is not agrees(one, other)
    assert all(line[:2] in ("- ", "+ ", "  ") and "\n" not in line for line in lines)
    if lines:
        assert {line[0] for line in lines} & {"-", "+"}


@given(one=JSON, other=JSON)
def test_agreeing_knows_no_sides(one: Any, other: Any) -> None:
    """Which of the two was expected does not matter, unless a part is enough."""
    assert agrees(one, other) is agrees(other, one)


@pytest.mark.parametrize(
    ("expected", "actual", "does"),
    [
        (1, 1.0, True),
        (70.7, 70.70000000000002, True),
        (70.7, 70.7001, False),
        (0, 1e-12, True),
        (True, 1, False),
        (False, 0, False),
        (None, False, False),
        ("1", 1, False),
        ([1, 2], [1], False),
        ({}, [], False),
    ],
)
def test_numbers_are_equal_to_nine_digits_and_booleans_are_none(expected: Any, actual: Any, does: bool) -> None:  # noqa: FBT001 - a table
    """0.1 + 0.2 is 0.3 for an author; true is not 1."""
    assert agrees(expected, actual) is does


def test_what_is_equal_is_shortened_and_what_differs_is_written_out() -> None:
    """The eye falls on the difference, in its place."""
    expected = {"same": {"deep": 1}, "list": [1, {"a": "old"}], "gone": [], "text": "12"}
    actual = {"new": {"b": None}, "list": [1, {"a": "young"}, 3], "same": {"deep": 1}, "text": "twelve"}
    assert difference(expected, actual) == [
        "  same: {...}",
        "  list:",
        "    - 1",
        "    -",
        "-     a: old",
        "+     a: young",
        "+   - 3",
        "- gone: []",
        '- text: "12"',
        "+ text: twelve",
        "+ new:",
        "+   b: null",
    ]


def test_long_texts_are_cut_to_where_they_begin_to_differ() -> None:
    """Nobody compares 500 letters by eye."""
    long = "x" * 500
    assert difference({"text": f"{long}a"}, {"text": f"{long}b and on"}) == [
        f"- text: {'...' + 'x' * 20 + 'a'!r}".replace("'", '"'),
        f"+ text: {'...' + 'x' * 20 + 'b and on'!r}".replace("'", '"'),
    ]


def test_what_could_be_misread_is_quoted() -> None:
    """The text 12 is not the number 12."""
    assert written({"a": "12", "b": 12, "no": "true", "c": "plain text", "d": "a: b", "e": ""}) == [
        'a: "12"',
        "b: 12",
        '"no": "true"',
        "c: plain text",
        'd: "a: b"',
        'e: ""',
    ]
