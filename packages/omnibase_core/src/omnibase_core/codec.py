"""Bytes to OnexEnvelope and back. Total: any bytes give an envelope or one UndecodableEnvelope."""

from math import isfinite
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.errors import UndecodableEnvelope


def encode(envelope: OnexEnvelope) -> bytes:
    """Give the envelope as UTF-8 JSON, without the fields that are null.

    Raises ValueError for a payload that holds anything but JSON values.
    """
    data = envelope.__pydantic_serializer__.to_json(envelope, exclude_none=True, warnings="error")
    if b"Infinity" in data or b"NaN" in data:
        from_json(data, allow_inf_nan=False)
    return data


def decode(data: bytes | None) -> OnexEnvelope:
    """Read an envelope. Raises UndecodableEnvelope, and nothing else, for any other bytes."""
    if not data:
        raise UndecodableEnvelope("empty", "the message has no value; expected an envelope as a JSON object")
    try:
        envelope = OnexEnvelope.model_validate_json(data)
    except ValidationError as error:
        raise _explain(data, error) from error
    # The parser reads what JSON has not (NaN, Infinity) and, as infinity, numbers beyond its own range.
    written = repr((envelope.payload, envelope.metadata))
    if ("inf" in written or "nan" in written) and not (_is_finite(envelope.payload) and _is_finite(envelope.metadata)):
        raise UndecodableEnvelope("not_json", "the message holds a number that JSON has not: infinite, or none at all")
    return envelope


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return isfinite(value)
        case dict():
            return all(map(_is_finite, value.values()))
        case list():
            return all(map(_is_finite, value))
    return True


def _explain(data: bytes, error: ValidationError) -> UndecodableEnvelope:
    """Find the most telling reason: it is what an operator reads in the dead letter."""
    try:
        document = from_json(data, allow_inf_nan=False)
    except ValueError as syntax:
        return UndecodableEnvelope("not_json", f"the message is not JSON: {syntax}")
    if not isinstance(document, dict):
        return UndecodableEnvelope("not_an_object", f"expected a JSON object, found {type(document).__name__}")
    version = document.get("envelope_version")
    if isinstance(version, int) and version != ENVELOPE_VERSION:
        return UndecodableEnvelope(
            "unsupported_version", f"envelope_version {version} is not known here; this host reads {ENVELOPE_VERSION}"
        )
    faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5])
    return UndecodableEnvelope("invalid_envelope", faults[:1000])
