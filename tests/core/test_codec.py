"""The codec: a round trip for every envelope, one typed error for any other bytes."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from omnibase_core.codec import decode, encode, is_json
from omnibase_core.envelope import EnvelopeError, OnexEnvelope
from omnibase_core.errors import UndecodableEnvelope

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
json_objects = st.dictionaries(text, json_values, max_size=4)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001 - bounds are naive
envelopes = st.builds(
    OnexEnvelope,
    envelope_version=st.just(1),
    envelope_id=st.uuids(),
    correlation_id=st.uuids(),
    causation_id=st.none() | st.uuids(),
    node_slug=text,
    handler_type=st.none() | text,
    operation=st.none() | text,
    payload=json_objects,
    metadata=json_objects,
    timestamp=moments,
    expires_at=st.none() | moments,
    error=st.none() | st.builds(EnvelopeError, code=text, message=text, retryable=st.booleans(), details=json_objects),
)


def whole(**changes: Any) -> dict[str, Any]:
    """Return a valid command as its JSON document, with changes."""
    document = {
        "envelope_version": 1,
        "envelope_id": "00000000-0000-4000-8000-000000000001",
        "correlation_id": "00000000-0000-4000-8000-000000000002",
        "node_slug": "echo",
        "payload": {},
        "timestamp": "2026-01-01T00:00:00Z",
    }
    return {**document, **changes}


@given(envelopes)
def test_an_envelope_reads_back(envelope: OnexEnvelope) -> None:
    """Encoding and decoding are inverse, null within a payload included."""
    assert decode(encode(envelope)) == envelope


def refusal_of(data: bytes) -> UndecodableEnvelope | None:
    """Describe why bytes are no envelope."""
    try:
        decode(data)
    except UndecodableEnvelope as error:
        return error
    return None


@given(st.binary() | text.map(str.encode) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_envelope_or_one_error(data: bytes) -> None:
    """Decoding is total."""
    if (error := refusal_of(data)) is not None:
        assert error.code in {"empty", "not_json", "not_an_object", "unsupported_version", "invalid_envelope"}
        assert str(error)


@given(json_objects, st.sampled_from(sorted(whole())), json_values)
def test_a_damaged_envelope_is_refused_or_valid(extra: dict[str, Any], field: str, value: Any) -> None:
    """Any change of a valid document gives an envelope or the one error."""
    changed = json.dumps(whole(**{**extra, field: value})).encode()
    assert refusal_of(changed) is not None or decode(encode(decode(changed))) == decode(changed)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"[1,2]", "not_an_object"),
        (b'{"envelope_version": 1, "pay', "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": "\\ud800"}', "not_json"),
        (b"[" * 100_000, "not_json"),
        (json.dumps(whole(envelope_version=2)).encode(), "unsupported_version"),
        (json.dumps(whole(envelope_version="1")).encode(), "invalid_envelope"),
        (json.dumps(whole(surprise=1)).encode(), "invalid_envelope"),
        (json.dumps(whole(timestamp="2026-01-01T00:00:00")).encode(), "invalid_envelope"),
        (json.dumps(whole(timestamp=0)).encode(), "invalid_envelope"),
        (json.dumps(whole(payload=[])).encode(), "invalid_envelope"),
        (json.dumps(whole(payload={"a": float("inf")})).encode(), "not_json"),
        (json.dumps(whole(metadata={"a": [float("nan")]})).encode(), "not_json"),
        (json.dumps(whole()).replace("{}", '{"a": 1e999}').encode(), "not_json"),
        (json.dumps(whole()).replace("{}", '{"a": 1%s.5}' % ("0" * 400)).encode(), "not_json"),
    ],
)
def test_the_reason_is_told(data: bytes | None, code: str) -> None:
    """Each way to be no envelope has its own code."""
    with pytest.raises(UndecodableEnvelope) as caught:
        decode(data)
    assert caught.value.code == code


@pytest.mark.parametrize("depth", [1, 100, 507])
def test_what_can_be_read_can_be_written(depth: int) -> None:
    """However deep it is nested: what a sender may send, a node may give back."""
    nested = "[" * depth + "null" + "]" * depth
    envelope = decode(json.dumps(whole()).replace("{}", f'{{"a": {nested}}}').encode())
    assert decode(encode(envelope)) == envelope
    assert is_json(envelope.payload)


@pytest.mark.parametrize("place", ["payload", "metadata"])
def test_what_is_nested_deeper_than_allowed_is_not_decoded(place: str) -> None:
    """The envelope is the first level; brackets within texts are none."""
    for levels, is_read in ((63, True), (64, False), (900, False)):
        value = "[" * (levels - 1) + "]" * (levels - 1)
        data = json.dumps(whole(**{place: "HERE", "node_slug": "a" + "[{" * 99})).replace('"HERE"', f'{{"a": {value}}}')
        if is_read:
            assert decode(data.encode(), depth_max=64)
            continue
        with pytest.raises(UndecodableEnvelope) as caught:
            decode(data.encode(), depth_max=64)
        assert caught.value.code == "too_deep"


def test_what_could_not_be_read_again_is_not_written() -> None:
    """An answer that is nested deeper than any reader goes has no form as an envelope, and details are none of JSON."""
    value: list[Any] = []
    for _ in range(600):
        value = [value]
    envelope = replace(decode(json.dumps(whole()).encode()), payload={"a": value})
    with pytest.raises(ValueError, match="levels deep"):
        encode(envelope)
    assert not is_json(value)


def test_what_is_nested_too_deeply_is_no_json() -> None:
    """Too deep for the encoder, or within itself: that is said as of anything else that has no form there."""
    endless: list[Any] = []
    endless.append(endless)
    envelope = replace(decode(json.dumps(whole()).encode()), payload={"a": endless})
    assert not is_json(endless)
    with pytest.raises(ValueError, match="recursion"):
        encode(envelope)


def test_times_are_brought_to_utc() -> None:
    """A time with another offset is the same moment in UTC."""
    envelope = decode(json.dumps(whole(timestamp="2026-01-01T02:00:00+02:00")).encode())
    assert envelope.timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert envelope.timestamp.tzinfo is UTC


def test_an_envelope_cannot_be_changed() -> None:
    """Envelopes are frozen."""
    envelope = decode(json.dumps(whole()).encode())
    with pytest.raises(AttributeError):
        envelope.node_slug = "other"  # type: ignore[misc]


def test_an_answer_is_tied_to_its_command() -> None:
    """The answer's id follows from the command: a repeat has the same one; another command has another."""
    command = decode(json.dumps(whole()).encode())
    now = datetime(2026, 1, 2, tzinfo=UTC)
    first, again = (command.answer(now=now, node_slug="echo", handler_type="local") for _ in range(2))
    assert first.envelope_id == again.envelope_id
    assert first.envelope_id.version == 5
    assert first.correlation_id == command.correlation_id
    assert first.causation_id == command.envelope_id
    other = replace(command, envelope_id=UUID(int=7))
    assert other.answer(now=now, node_slug="echo", handler_type="local").envelope_id != first.envelope_id


def test_each_redrive_of_a_command_has_an_answer_of_its_own() -> None:
    """A consumer that discards repeats still takes the answer of a redrive; without one, the id is as it ever was."""
    command = decode(json.dumps(whole()).encode())
    options: dict[str, Any] = {"now": datetime(2026, 1, 2, tzinfo=UTC), "node_slug": "echo", "handler_type": "local"}
    assert command.answer(**options).envelope_id == UUID("3a2b7070-ca98-5aeb-9b13-41b626c0fe0e")
    assert command.answer(**options, generation=0).envelope_id == command.answer(**options).envelope_id
    identities = [command.answer(**options, generation=number).envelope_id for number in (0, 1, 1, 2)]
    assert identities[1] == identities[2]
    assert len(set(identities)) == 3
    assert all(it.version == 5 for it in identities)


@given(st.uuids(), st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True), st.integers(0, 20))
def test_the_id_of_an_answer_is_one_that_anybody_can_reckon(identity: UUID, slug: str, generation: int) -> None:
    """It is a UUID of version 5, of the command's id and the node, in our name space."""
    command = OnexEnvelope(
        envelope_version=1, envelope_id=identity, correlation_id=identity, node_slug=slug, timestamp=datetime.now(UTC)
    )
    answer = command.answer(now=command.timestamp, node_slug=slug, handler_type="local", generation=generation)
    name = f"{identity}/{slug}/{generation}" if generation else f"{identity}/{slug}"
    assert answer.envelope_id == uuid5(UUID("6f2d5c1e-3f0b-5d0e-9a55-0c6f4f1f2a77"), name)


@pytest.mark.parametrize("value", [float("inf"), [float("nan")], object()])
def test_only_json_is_encoded(value: Any) -> None:
    """What JSON has no form for is refused, never bent into something else."""
    command = decode(json.dumps(whole()).encode())
    answer = command.answer(
        now=datetime(2026, 1, 2, tzinfo=UTC), node_slug="echo", handler_type="local", payload={"a": value}
    )
    with pytest.raises(ValueError, match=r".+"):
        encode(answer)


@pytest.mark.parametrize("name", ["node_slug", "handler_type", "operation"])
def test_names_have_a_length(name: str) -> None:
    """A name of a megabyte would be in each error, each line of the log and each answer."""
    assert decode(json.dumps(whole(**{name: "é" * 200})).encode())
    with pytest.raises(UndecodableEnvelope) as raised:
        decode(json.dumps(whole(**{name: "é" * 201})).encode())
    assert raised.value.code == "invalid_envelope"
    assert str(raised.value) == f"Expected `str` of length <= 200 - at `$.{name}`"
