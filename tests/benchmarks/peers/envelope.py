"""Our envelope's fields as a pydantic model, for those peers that have no model of their own."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict

ANSWERS = UUID("6f2d5c1e-3f0b-5d0e-9a55-0c6f4f1f2a77")


class Envelope(BaseModel):
    """A command or an answer."""

    model_config = ConfigDict(extra="forbid")

    envelope_version: int
    envelope_id: UUID
    correlation_id: UUID
    causation_id: UUID | None = None
    node_slug: str
    handler_type: str | None = None
    operation: str | None = None
    payload: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    timestamp: AwareDatetime
    expires_at: AwareDatetime | None = None
    error: dict[str, Any] | None = None

    def echo(self) -> "Envelope":
        """Build the answer, without checking what was checked when the command came in."""
        return Envelope.model_construct(
            envelope_version=1,
            envelope_id=uuid5(ANSWERS, f"{self.envelope_id}/{self.node_slug}"),
            correlation_id=self.correlation_id,
            causation_id=self.envelope_id,
            node_slug=self.node_slug,
            handler_type="local",
            operation=self.operation,
            payload=self.payload,
            metadata=self.metadata,
            timestamp=datetime.now(UTC),
            expires_at=None,
            error=None,
        )


def echo(command: bytes) -> bytes:
    """Return the answer to a command, bytes to bytes: pydantic reads and writes the JSON itself, its fastest way."""
    return Envelope.model_validate_json(command).echo().model_dump_json(exclude_none=True).encode()
