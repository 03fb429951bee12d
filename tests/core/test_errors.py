"""Errors: their fields are what their readers rely on, and their texts have a length."""

from typing import Any

import pytest

from omnibase_core.errors import CommandFailed, CommandRejected, HandlerError, described


@pytest.mark.parametrize("kind", [CommandFailed, CommandRejected, HandlerError])
@pytest.mark.parametrize(
    ("code", "message", "fields", "found"),
    [
        ("", "text", {}, "code: found ''"),
        (7, "text", {}, "code: found 7"),
        ("c" * 201, "text", {}, "expected a text of 1 to 200 characters"),
        ("code", b"text", {}, "message: found bytes"),
        ("code", "text", {"retryable": "yes"}, "retryable: found str"),
        ("code", "text", {"details": "much"}, "details: found str"),
    ],
)
def test_a_field_of_another_type_is_refused_where_it_is_written(
    kind: Any, code: Any, message: Any, fields: dict[str, Any], found: str
) -> None:
    """Not where it is read: there it would end an attempt, a lane or an answer."""
    with pytest.raises((TypeError, ValueError), match=found):
        kind(code, message, **fields)


@pytest.mark.parametrize("seconds", ["5", -1, float("nan"), float("inf"), [5]])
def test_a_wait_that_is_no_number_of_seconds_is_refused(seconds: Any) -> None:
    """The engine reckons with it."""
    with pytest.raises(ValueError, match="retry_after_s: found"):
        HandlerError("busy", "later", retryable=True, retry_after_s=seconds)


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    """What is wrong stands at either, and a command's own text in between."""
    text = "it began" + "x" * 100_000 + "and ended"
    for said in (str(CommandFailed("long", text)), described(ValueError(text))):
        assert len(said) < 1100
        assert "it began" in said
        assert said.endswith("and ended")
