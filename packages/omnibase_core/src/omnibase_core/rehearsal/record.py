"""What happened in a case. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omnibase_core.envelope import OnexEnvelope


@dataclass(slots=True)
class SentRecord:
    """What became of one command. Times are seconds from the start of the case; a request is as JSON."""

    sent_s: float = 0.0
    requests: list[Any] = field(default_factory=list)
    answers: list[tuple[float, OnexEnvelope]] = field(default_factory=list)
    letters: list[Mapping[str, Any]] = field(default_factory=list)
    """The facts of its dead letters: `code` and `attempts`."""
    handler_failed: bool = False


@dataclass(slots=True)
class Record:
    """What happened to the commands of a case, in their order, and how the node and its breaker were afterwards."""

    sent: list[SentRecord]
    order: list[int] = field(default_factory=list)
    """The commands as they were answered."""
    rules: set[tuple[str, int, bool]] = field(default_factory=set)
    """Which error rules were asked, by operation and place in `errors`, and what each of them said."""
    state: str = "ok"
    breaker: str = "closed"
    crash: str | None = None
    """Why the runtime itself ended, if it did."""
