"""Answers are spliced for speed, and are what the encoder writes, byte for byte."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.codec import DEPTH_MAX, encode
from omnibase_core.engine.response_encoder import ResponseEncoder
from omnibase_core.envelope import OnexEnvelope

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PARTS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.datetimes() | st.uuids()
PAYLOADS = st.dictionaries(
    TEXT, st.recursive(PARTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
)
MOMENTS = st.datetimes(timezones=st.just(UTC))


def written(command: OnexEnvelope, payload: Any, now: datetime, generation: int) -> Any:
    """Return the spliced answer, or what is raised in its place."""
    try:
        return ResponseEncoder("echo", 'lo"cal', ["do"]).write(command, payload, now, generation)
    except ValueError as error:
        return str(error)


def encoded(command: OnexEnvelope, payload: Any, now: datetime, generation: int) -> Any:
    """Return the answer as the encoder writes it, or what is raised in its place."""
    answer = command.answer(now=now, payload=payload, node_slug="echo", handler_type='lo"cal', generation=generation)
    try:
        return encode(answer)
    except ValueError as error:
        return str(error)


@given(
    st.uuids(),
    st.uuids(),
    st.sampled_from([None, "do", 'an "other"']),
    PAYLOADS,
    PAYLOADS.filter(lambda it: "null" not in str(it)),
    MOMENTS,
    st.sampled_from([0, 0, 1, 12]),
)
def test_an_answer_is_what_the_encoder_writes(
    identity: UUID,
    correlation: UUID,
    operation: str | None,
    payload: dict[str, Any],
    metadata: dict[str, Any],
    now: datetime,
    generation: int,
) -> None:
    """Whatever the command was and whatever the answer holds; and what is refused is refused in the same words."""
    metadata = {key: value for key, value in metadata.items() if isinstance(value, str | int)}
    command = OnexEnvelope(
        envelope_version=1,
        envelope_id=identity,
        correlation_id=correlation,
        node_slug="echo",
        operation=operation,
        metadata=metadata,
        timestamp=now,
    )
    assert written(command, payload, now, generation) == encoded(command, payload, now, generation)


@pytest.mark.parametrize("levels", [DEPTH_MAX - 2, DEPTH_MAX - 1, DEPTH_MAX, 2000])
def test_what_is_nested_too_deep_is_refused_by_both(levels: int) -> None:
    """The envelope is one level, and what is in the payload stands in it."""
    payload: dict[str, Any] = {}
    for _ in range(levels - 1):
        payload = {"a": payload}
    now = datetime(2026, 1, 1, tzinfo=UTC)
    command = OnexEnvelope(
        envelope_version=1, envelope_id=UUID(int=1), correlation_id=UUID(int=2), node_slug="echo", timestamp=now
    )
    assert written(command, payload, now, 0) == encoded(command, payload, now, 0)
    assert isinstance(written(command, payload, now, 0), str) == (levels >= DEPTH_MAX)


def test_moments_are_not_mixed_up() -> None:
    """A writer remembers the text of a moment, and that moment alone."""
    writer = ResponseEncoder("echo", "local", ["do"])
    moments = [datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in (1, 1, 2, 1)]
    command = OnexEnvelope(
        envelope_version=1, envelope_id=UUID(int=1), correlation_id=UUID(int=2), node_slug="echo", timestamp=moments[0]
    )
    for now in moments:
        assert writer.write(command, {}, now) == encode(command.answer(now=now, node_slug="echo", handler_type="local"))
