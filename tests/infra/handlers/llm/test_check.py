"""What `check` says of a contract that asks a model: what decides who speaks is fixed, each place has its value."""

from typing import Any

import pytest

from omnibase_infra.handlers.llm.prompts import faults_of_chat, faults_of_embedding

FINE = {
    "model": "m",
    "system": "Be kind.",
    "conversation": "${ payload.turns }",
    "messages": [{"role": "user", "text": "Say {{it}}", "values": {"it": "${ payload.it }"}}],
    "tools": [{"name": "t", "description": "A tool.", "parameters": {"type": "object"}}],
    "output": {"type": "object"},
}


def test_a_request_that_is_fixed_is_fine() -> None:
    """Values of commands stand in values and in the conversation."""
    assert list(faults_of_chat(FINE)) == []
    assert list(faults_of_embedding({"model": "m", "texts": "${ payload.texts }"})) == []


@pytest.mark.parametrize(
    ("change", "at", "told"),
    [
        ({"model": "${ payload.m }"}, ("model",), "'model' is fixed by the contract"),
        ({"system": "${ payload.s }"}, ("system",), "'system' is fixed by the contract"),
        ({"tools": "${ payload.t }"}, ("tools",), "'tools' is fixed"),
        ({"tools": [{"name": "${ payload.t }"}]}, ("tools", 0, "name"), "'tools' is fixed"),
        ({"output": {"type": "${ payload.t }"}}, ("output", "type"), "'output' is fixed"),
        ({"output": {"type": "objekt"}}, ("output", "type"), "not a JSON Schema"),
        ({"messages": "${ payload.m }"}, ("messages",), "'messages' is fixed"),
        ({"messages": ["${ payload.m }"]}, ("messages", 0), "a message is fixed"),
        ({"messages": [{"role": "${ payload.r }", "text": "x"}]}, ("messages", 0, "role"), "the role of a message"),
        ({"messages": [{"text": "${ payload.r }"}]}, ("messages", 0, "text"), "the text of a message"),
        ({"messages": [{"text": "x", "values": "${ payload }"}]}, ("messages", 0, "values"), "'values' is fixed"),
        ({"messages": [{"text": "{{a}}"}]}, ("messages", 0, "text"), "{{a}} has no value"),
        ({"messages": [{"text": "x", "values": {"a": 1}}]}, ("messages", 0, "text"), "'a' has no place"),
    ],
)
def test_what_a_command_could_decide_is_told(change: dict[str, Any], at: tuple[Any, ...], told: str) -> None:
    """At its place, before any command."""
    [(path, error)] = faults_of_chat({**FINE, **change})
    assert path == at
    assert told in str(error)


def test_a_request_that_is_one_expression_is_told() -> None:
    """A command must not bring the whole of it."""
    [(path, _)] = faults_of_chat("${ payload }")
    assert path == ()
    [(path, _)] = faults_of_embedding({"model": "${ payload.m }", "texts": ["a"]})
    assert path == ("model",)
