"""The envelope: what travels as a command and comes back as an answer. Values only; `codec` turns them into bytes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha1
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

ENVELOPE_VERSION: Literal[1] = 1

_ANSWERS = UUID("6f2d5c1e-3f0b-5d0e-9a55-0c6f4f1f2a77")
"""Name space of answer ids (RFC 9562, version 5). Changing it changes the id of every answer."""
_UUID_MASK = ~(0xF000 << 64 | 0xC000 << 48)
_UUID_VERSION_5 = 0x5000 << 64 | 0x8000 << 48


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.utcoffset() else moment


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
JsonObject = dict[str, JsonValue]


class EnvelopeError(BaseModel):
    """Why a command has no result. `code` is stable and `retryable` says whether the same command may succeed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    code: str
    message: str
    retryable: bool = False
    details: JsonObject = Field(default_factory=dict)


class OnexEnvelope(BaseModel):
    """One command or one answer. Frozen; unknown fields are refused.

    - `causation_id` is null on a root; an answer's is its command's `envelope_id`.
    - `handler_type` may be left out by a sender: the contract decides.
    - `operation` may be left out where the node has one.
    - Times are aware and in UTC. A command served after `expires_at` gets the error answer `expired`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    envelope_version: Literal[1]
    envelope_id: UUID
    correlation_id: UUID
    causation_id: UUID | None = None
    node_slug: str
    handler_type: str | None = None
    operation: str | None = None
    payload: JsonObject = Field(default_factory=dict)
    metadata: JsonObject = Field(default_factory=dict)
    timestamp: UtcDatetime
    expires_at: UtcDatetime | None = None
    error: EnvelopeError | None = None

    def answer(
        self,
        *,
        now: datetime,
        node_slug: str,
        handler_type: str,
        payload: Mapping[str, Any] | None = None,
        error: EnvelopeError | None = None,
        generation: int = 0,
    ) -> "OnexEnvelope":
        """Build the answer to this command, a result or an error.

        The id follows from the command, the node and how often the command was redriven, and from nothing else: so a
        consumer can tell a repeat and discard it, and still takes the answer of a redrive.
        """
        name = f"{self.envelope_id}/{node_slug}"
        fields = {
            "envelope_version": ENVELOPE_VERSION,
            "envelope_id": _answer_id(f"{name}/{generation}" if generation else name),
            "correlation_id": self.correlation_id,
            "causation_id": self.envelope_id,
            "node_slug": node_slug,
            "handler_type": handler_type,
            "operation": self.operation,
            "payload": payload or {},
            "metadata": self.metadata,
            "timestamp": now,
            "expires_at": None,
            "error": error,
        }
        return _trusted(fields)


def _answer_id(name: str) -> UUID:
    """Give uuid5(_ANSWERS, name), at a third of what the standard library takes for it."""
    digest = int.from_bytes(sha1(_ANSWERS.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    return UUID(int=digest & _UUID_MASK | _UUID_VERSION_5)


def _trusted(fields: dict[str, Any]) -> OnexEnvelope:
    """Build an envelope from fields that are known to be valid, as `model_construct` does in six times its time."""
    envelope = OnexEnvelope.__new__(OnexEnvelope)
    object.__setattr__(envelope, "__dict__", fields)
    object.__setattr__(envelope, "__pydantic_fields_set__", _FIELDS)
    object.__setattr__(envelope, "__pydantic_extra__", None)
    object.__setattr__(envelope, "__pydantic_private__", None)
    return envelope


_FIELDS = set(OnexEnvelope.model_fields)
