"""Bytes to OnexEnvelope and back. Total: any bytes give an envelope or one UndecodableEnvelope."""

from collections.abc import Mapping
from datetime import UTC
from math import isfinite
from typing import Any

import msgspec

from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.errors import UndecodableEnvelope

DEPTH_MAX = 512
"""How deep an envelope may be nested at the most: readers and writers of JSON give up at about a thousand."""
_ENVELOPE_LEVELS = 3
_CONTAINERS = frozenset({dict, list})
_SIMPLE = frozenset({str, int, bool})
"""What is neither nested nor a number that JSON may lack."""
_NAMES_MAX = 5
_NAMES_LENGTH_MAX = 200
_OTHER_FORMS = {
    b"\x00": "it begins with a zero byte, as the wire format of a schema registry does",
    b"\x1f\x8b": "it is packed with gzip; a producer packs by its own setting compression.type",
    b"\xef\xbb\xbf": "it begins with a byte order mark; expected UTF-8 without it",
    b"\xff\xfe": "it begins with the mark of UTF-16; expected UTF-8",
    b"\xfe\xff": "it begins with the mark of UTF-16; expected UTF-8",
}
"""What other systems send, by its first bytes."""
_TOO_DEEP = f"nested more than {DEPTH_MAX} levels deep, which no consumer could read"
_NO_NUMBER = "a number that JSON has not: infinite, or none at all"

_decode = msgspec.json.Decoder(OnexEnvelope).decode
_decode_any = msgspec.json.Decoder(Any).decode
_encode = msgspec.json.Encoder().encode


def encode(envelope: OnexEnvelope) -> bytes:
    """Return the envelope as UTF-8 JSON, without the fields that are null.

    Times, UUIDs and decimals within the payload are written as text, as everywhere in JSON. Raises ValueError for a
    payload that holds anything that has no form there.
    """
    try:
        data = _encode(envelope)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if _is_deeper(envelope, data, DEPTH_MAX):
        raise ValueError(_TOO_DEEP)
    # The encoder writes a number that is none, or infinite, as null.
    if b"null" in data and not _is_finite(envelope.payload):
        raise ValueError(_NO_NUMBER)
    return data


def encode_object(value: Mapping[str, Any]) -> bytes:
    """Encode an object as it stands in an envelope. Raises ValueError for what has no form there, as `encode` does."""
    try:
        data = _encode(value)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    # To look through the bytes takes longer than to write them. Most objects hold nothing that it could find.
    if _SIMPLE.issuperset(map(type, value.values())):
        return data
    if data.count(b"{") + data.count(b"[") >= DEPTH_MAX and _has_levels(value, DEPTH_MAX):
        raise ValueError(_TOO_DEEP)
    if b"null" in data and not _is_finite(value):
        raise ValueError(_NO_NUMBER)
    return data


def decode(data: bytes | None, *, depth_max: int = DEPTH_MAX) -> OnexEnvelope:
    """Read an envelope, its times in UTC. Raises UndecodableEnvelope, and nothing else, for any other bytes.

    `depth_max` is how deep objects and lists may be nested within it: what is read has to be written again, and each
    level of nesting is a level of recursion to whatever reads or writes it.
    """
    if not data:
        raise UndecodableEnvelope("empty", "the message has no value; expected an envelope as a JSON object")
    try:
        envelope = _decode(data)
    except (ValueError, RecursionError) as error:
        raise _explain(data, error) from error
    # Most payloads hold no other container, and most metadata nothing: neither is walked through, nor the bytes.
    is_flat = _CONTAINERS.isdisjoint(map(type, envelope.payload.values())) and not envelope.metadata
    if not is_flat and _is_deeper(envelope, data, depth_max):
        raise UndecodableEnvelope("too_deep", f"objects and lists are nested more than {depth_max} levels deep")
    if envelope.timestamp.tzinfo is not UTC or envelope.expires_at is not None:
        return _in_utc(envelope)
    return envelope


def is_json(value: Any) -> bool:
    """Check whether a value has a form in JSON, and can stand within an envelope."""
    try:
        _encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return _is_finite(value) and not _has_levels(value, DEPTH_MAX - _ENVELOPE_LEVELS)


def _in_utc(envelope: OnexEnvelope) -> OnexEnvelope:
    moments = {"timestamp": envelope.timestamp, "expires_at": envelope.expires_at}
    try:
        in_utc = {name: moment and moment.astimezone(UTC) for name, moment in moments.items()}
    except OverflowError as error:
        raise UndecodableEnvelope("invalid_envelope", "a time has no form in UTC") from error
    return msgspec.structs.replace(envelope, **in_utc)


def _is_deeper(envelope: OnexEnvelope, data: bytes, depth_max: int) -> bool:
    """Check whether anything is nested deeper: the envelope itself is the first level."""
    # With fewer brackets than levels it cannot be too deep: only what has more is walked through.
    if data.count(b"{") + data.count(b"[") <= depth_max:
        return False
    parts = [envelope.payload, envelope.metadata, envelope.error.details if envelope.error else {}]
    return any(_has_levels(part, depth_max) for part in parts)


def _has_levels(value: Any, levels: int) -> bool:
    """Check whether objects and lists are nested in at least so many levels; a call for each would not go as deep."""
    level = [value]
    for _ in range(levels):
        level = [part for part in level if isinstance(part, list | tuple | Mapping)]
        if not level:
            return False
        level = [part for it in level for part in (it.values() if isinstance(it, Mapping) else it)]
    return True


def _is_finite(value: Any) -> bool:
    """Look at every number of what the encoder took, however deep: a call for each level would not go as deep."""
    seen = [value]
    for part in seen:  # It grows as it is gone through.
        if isinstance(part, str | int):
            continue
        if isinstance(part, float):
            if not isfinite(part):
                return False
        elif isinstance(part, list | tuple):
            seen.extend(part)
        elif isinstance(part, Mapping):
            seen.extend(part.values())
    return True


def _explain(data: bytes, error: Exception) -> UndecodableEnvelope:
    """Find the most telling reason: it is what an operator reads in the dead letter."""
    try:
        document = _decode_any(data)
    except RecursionError:
        return UndecodableEnvelope("not_json", "objects and lists are nested too deep to be read as JSON")
    except ValueError as syntax:
        form = next((told for begin, told in _OTHER_FORMS.items() if data.startswith(begin)), str(syntax))
        return UndecodableEnvelope("not_json", f"the message is not JSON: {form}")
    if not isinstance(document, dict):
        return UndecodableEnvelope("not_an_object", f"expected a JSON object, found {type(document).__name__}")
    version = document.get("envelope_version")
    if isinstance(version, int) and version != ENVELOPE_VERSION:
        return UndecodableEnvelope(
            "unsupported_version", f"envelope_version {version} is not known here; this host reads {ENVELOPE_VERSION}"
        )
    if version is None:
        names = ", ".join(map(repr, list(document)[:_NAMES_MAX])) or "none"
        what = "it is a CloudEvent" if "specversion" in document else "it has no 'envelope_version'"
        return UndecodableEnvelope(
            "invalid_envelope",
            f"the message is not a valid envelope: {what}; its fields are: {names[:_NAMES_LENGTH_MAX]}",
        )
    return UndecodableEnvelope("invalid_envelope", str(error))
