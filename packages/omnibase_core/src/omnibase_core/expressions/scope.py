"""What the expressions of one command can read."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct
from pydantic_core import to_json

from omnibase_core.envelope import OnexEnvelope
from omnibase_core.expressions.input_bounds import PARTS_MAX, check_parts
from omnibase_core.expressions.types import DYNAMIC, FieldType, Type, object_of, scalar
from omnibase_core.expressions.values import Coercion, engine_fault, holds_nul, plain, within_64_bits

REQUEST_NAMES = ("payload", "metadata", "envelope")
"""What an expression may read before the handler has answered."""
ANSWER_NAMES = (*REQUEST_NAMES, "result")
"""What an expression may read afterwards."""
FAILURE_NAMES = (*REQUEST_NAMES, "error")
"""What an expression may read where the handler has failed."""
ALL_NAMES = (*ANSWER_NAMES, "error")
"""What there is to read at all; no expression reads all of it."""

_TEXT, _PERHAPS_TEXT = FieldType(scalar("string"), required=True), FieldType(scalar("string", "null"), required=True)
_ENVELOPE = {
    "envelope_id": _TEXT,
    "correlation_id": _TEXT,
    "causation_id": _PERHAPS_TEXT,
    "node_slug": _TEXT,
    "operation": _PERHAPS_TEXT,
    "timestamp": _TEXT,
    "expires_at": _PERHAPS_TEXT,
}
_METADATA = object_of({}, extra=DYNAMIC)


FAILURE_TYPE = object_of({"code": _TEXT, "message": _TEXT, "details": FieldType(_METADATA, required=True)})
"""The type of `error`. What `details` holds is the handler's affair, and differs from failure to failure."""


def request_types(payload: Type) -> Mapping[str, Type]:
    """Return the types of what may be read before the handler has answered."""
    return {"payload": payload, "metadata": _METADATA, "envelope": object_of(_ENVELOPE)}


class Coercions(NamedTuple):
    """What brings the payload and the result to the types of their schemas, for the engine; None where nothing has to.

    A leaf that only reads a field gets the value as it came, and a whole number as an integer where it is one.
    """

    payload: Coercion | None = None
    result: Coercion | None = None


_NO_COERCIONS = Coercions()


class Scope(Struct, eq=False):
    """What the expressions of one command can read: the command and, after the handler, its result or its failure.

    The engine's view of it is built only if it is needed, and shows the envelope from the first time that one reads it.
    `activation` is the engine's own form of the view, once it was asked for.
    """

    # A struct, since two of them are made for each command: it is made in C.
    command: OnexEnvelope
    result: Mapping[str, Any] | None = None
    coercions: Coercions = _NO_COERCIONS
    activation: Any = None
    narrowed: bool = False
    shows_envelope: bool = False
    _view: dict[str, Any] | None = None
    failure: Mapping[str, Any] | None = None

    def with_failure(self, failure: Mapping[str, Any]) -> "Scope":
        """Return the scope of the same command once its handler has failed."""
        return Scope(self.command, None, self.coercions, failure=failure)

    def with_result(self, result: Mapping[str, Any]) -> "Scope":
        """Return the scope of the same command once its result is known."""
        return Scope(self.command, result, self.coercions)

    def view(self, *, envelope: bool) -> dict[str, Any]:
        """Return names with their values, for the engine. Raises ValueError for what it cannot take."""
        if self._view is None:
            command, (of_payload, of_result) = self.command, self.coercions
            view: dict[str, Any] = {
                "payload": command.payload if of_payload is None else of_payload(command.payload),
                "metadata": command.metadata,
            }
            if self.result is not None:
                view["result"] = self.result if of_result is None else of_result(self.result)
            if self.failure is not None:
                view["error"] = self.failure
            written = to_json(view, fallback=_no_text)
            if self.result is not None and (fault := engine_fault(view["result"])) is not None:
                raise ValueError(fault)
            if len(written) > PARTS_MAX:  # Each part takes a character at least.
                check_parts(view)
            if b"\\u0000" in written and holds_nul(view):
                raise ValueError("an expression cannot read text with the character U+0000")
            self._view = view
        if envelope and not self.shows_envelope:
            self._view["envelope"] = envelope_view(self.command)
            self.shows_envelope = True
        return self._view

    def narrow(self) -> None:
        """Take integers beyond 64 bits, which the engine refuses as a whole, out of the view."""
        self._view = within_64_bits(self.view(envelope=self.shows_envelope))
        self.activation, self.narrowed = None, True


def _no_text(_: object) -> None:
    """Stand in for what JSON has no form for, without asking it for anything."""


def envelope_view(envelope: OnexEnvelope) -> dict[str, Any]:
    """Return what expressions may read of an envelope."""
    return {
        "envelope_id": str(envelope.envelope_id),
        "correlation_id": str(envelope.correlation_id),
        "causation_id": None if envelope.causation_id is None else str(envelope.causation_id),
        "node_slug": envelope.node_slug,
        "operation": envelope.operation,
        "timestamp": plain(envelope.timestamp),
        "expires_at": plain(envelope.expires_at),
    }


READERS: Mapping[str, Callable[[Scope], Any]] = {
    "payload": attrgetter("command.payload"),
    "metadata": attrgetter("command.metadata"),
    "envelope": lambda scope: envelope_view(scope.command),
    "result": attrgetter("result"),
    "error": attrgetter("failure"),
}
"""How what a name stands for is read, as it came."""
