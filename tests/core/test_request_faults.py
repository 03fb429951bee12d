"""What is said of a request that a handler's model refuses: by value, in words, and without the values."""

from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from omnibase_core.request_faults import faults_of_request


def _checked(text: str) -> str:
    if text == "bad":
        raise ValueError("it is bad; expected a good one")
    return text


Text = Annotated[str, AfterValidator(_checked)]
Scalar = Text | int | float | bool | None


class Inner(BaseModel):
    """A part of a request."""

    model_config = ConfigDict(strict=True)

    size: Annotated[int, Field(le=3)] = 0


class Request(BaseModel):
    """A request as handlers have them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Text
    form: dict[str, Scalar | list[Scalar]] = {}
    parts: list[Inner] = []


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"name": 3}, ["name: found integer, expected string"]),
        ({"name": "bad"}, ["name: it is bad; expected a good one"]),
        ({}, ["name: it is missing"]),
        ({"name": "a", "more": 1}, ["more: there is no such key"]),
        (
            {"name": "a", "form": {"tag": {"secret": 1}}},
            ["form.tag: found object, expected string, integer, number, boolean or list"],
        ),
        (
            {"name": "a", "form": {"tag": ["x", {}]}},
            ["form.tag.1: found object, expected string, integer, number or boolean"],
        ),
        ({"name": "a", "form": {"tag": "bad"}}, ["form.tag: it is bad; expected a good one"]),
        ({"name": "a", "parts": [{"size": 1}, {"size": 9}]}, ["parts.1.size: expected less than or equal to 3"]),
        ({"name": None, "parts": 1}, ["name: found null, expected string", "parts: found integer, expected list"]),
        ([], ["found list, expected object"]),
    ],
)
def test_each_value_is_named_once_with_what_is_wanted(request_: Any, told: list[str]) -> None:
    """Its place is that in the request, and no name of a class or of a union's member."""
    with pytest.raises(ValidationError) as caught:
        Request.model_validate(request_)
    assert faults_of_request(request_, caught.value) == told
