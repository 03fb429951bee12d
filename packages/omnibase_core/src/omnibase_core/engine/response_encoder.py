"""The bytes of a node's answers, spliced from what is known beforehand: one is written for each command."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha1
from typing import Any

from msgspec import json

from omnibase_core.codec import encode_object
from omnibase_core.envelope import ANSWER_IDS, ENVELOPE_VERSION, OnexEnvelope

_HEAD = b'{"envelope_version":%d,"envelope_id":"' % ENVELOPE_VERSION
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_ID = sha1(ANSWER_IDS, usedforsecurity=False)
_encode = json.Encoder().encode


class ResponseEncoder:
    """Writes the results of one node: byte for byte what `codec.encode(command.answer(...))` gives, for less than half.

    Error answers are rare, and take that way.
    """

    __slots__ = ("_middle", "_middles", "_moment", "_moment_text", "_named")

    def __init__(self, slug: str, handler_type: str, operations: Iterable[str]) -> None:
        """Prepare what all answers of a node have in common, and those to each of its operations."""
        self._named = b"/" + slug.encode()
        self._middle = b',"node_slug":' + _encode(slug) + b',"handler_type":' + _encode(handler_type)
        self._middles = {operation: self._middle_of(operation) for operation in (None, *operations)}
        self._moment: datetime | None = None
        self._moment_text = b""

    def write(self, command: OnexEnvelope, payload: Mapping[str, Any], now: datetime, generation: int = 0) -> bytes:
        """Return the answer to a command. Raises ValueError for a payload that has no form in JSON."""
        if now is not self._moment:
            # Commands of a run share their moment.
            self._moment, self._moment_text = now, b',"timestamp":' + _encode(now) + b"}"
        causation = _encode(command.envelope_id)
        named = self._named if not generation else b"%b/%d" % (self._named, generation)
        # A UUID of RFC 9562, version 5, as `OnexEnvelope.answer` reckons it.
        digest_of = _ID.copy()  # It takes less than to begin one.
        digest_of.update(causation[1:-1] + named)
        digest = digest_of.hexdigest()
        identity = (
            f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{_VARIANTS[digest[16]]}{digest[17:20]}-{digest[20:32]}"
        )
        return b"".join(
            (
                _HEAD,
                identity.encode(),
                b'","correlation_id":',
                _encode(command.correlation_id),
                b',"causation_id":',
                causation,
                self._middles.get(command.operation) or self._middle_of(command.operation),
                encode_object(payload) if payload else b"{}",
                b',"metadata":' + encode_object(command.metadata) if command.metadata else b',"metadata":{}',
                self._moment_text,
            )
        )

    def _middle_of(self, operation: str | None) -> bytes:
        named = b"" if operation is None else b',"operation":' + _encode(operation)
        return self._middle + named + b',"payload":'
