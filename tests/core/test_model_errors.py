"""What a model refuses is said in words of the contract, whichever type of error pydantic has for it."""

from typing import Annotated, Any, get_args

import pytest
from pydantic import AfterValidator, BaseModel, Field, JsonValue, ValidationError
from pydantic_core import core_schema

from omnibase_core.model_errors import EXPECTED, place_in, refusals_of

OTHERS = frozenset(
    {"value_error", "assertion_error", "missing", "extra_forbidden", "string_pattern_mismatch", "enum", "literal_error"}
    | {"union_tag_invalid", "union_tag_not_found"}
)
"""Types whose words depend on more than their numbers."""
OF_PYTHON = frozenset(
    {"no_such_attribute", "needs_python_object", "frozen_field", "frozen_instance", "get_attribute_error"}
    | {"default_factory_not_called", "iteration_error", "missing_sentinel_error", "ellipsis_error", "is_instance_of"}
    | {"is_subclass_of", "callable_type", "missing_argument", "unexpected_keyword_argument"}
    | {"missing_keyword_only_argument", "unexpected_positional_argument", "missing_positional_only_argument"}
    | {"multiple_argument_values"}
)
"""Types that no JSON value meets: those of attributes, of calls and of objects of Python."""


def test_every_type_of_error_has_words() -> None:
    """A release of pydantic that adds one fails here."""
    assert set(get_args(core_schema.ErrorType)) == EXPECTED.keys() | OTHERS | OF_PYTHON


class Model(BaseModel):
    """Has a field of each kind that models of contracts have."""

    text: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    number: Annotated[float, Field(gt=0, le=9)] = 1.0
    names: list[Annotated[str, Field(pattern="^a$")]] = Field(default_factory=list)
    anything: JsonValue = None
    either: str | int | None = None
    encoded: Annotated[str, AfterValidator(str.encode)] = ""


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"text": 7}, "expected text"),
        ({"text": "a"}, "expected a length of at least 2"),
        ({"text": "abcd"}, "expected a length of at most 3"),
        ({"number": "x"}, "expected a number"),
        ({"number": 0}, "expected a number above 0"),
        ({"number": 10}, "expected 9 or less"),
        ({"names": 7}, "expected a list"),
        ({"names": ["b"]}, "expected text that matches ^a$"),
        ({"either": []}, "expected text or an integer"),
        ({"encoded": "\ud800"}, "expected text that has a form in UTF-8"),
        ({"anything": object()}, "expected a JSON value"),
    ],
)
def test_a_fault_is_said_in_a_sentence(written: dict[str, Any], told: str) -> None:
    """What was expected, with its bound."""
    with pytest.raises(ValidationError) as raised:
        Model.model_validate(written)
    assert [it for _, it in refusals_of(raised.value, written)] == [told]


def test_a_place_leaves_out_the_names_of_members_of_a_union() -> None:
    """They are in no contract."""
    assert place_in({"path": ["a", "b"]}, ("path", "segments", 1)) == ("path", 1)
    assert place_in({"path": "a"}, ("path", "text")) == ("path",)
    assert place_in(None, ("a",)) == ()
