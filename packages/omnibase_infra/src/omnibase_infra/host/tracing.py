"""Spans of OpenTelemetry: one of each attempt at a command, and within it one of each call of a handler.

A host imports this only where OpenTelemetry is set up in its process: who does not trace pays nothing. No span holds a
payload, a request, a key, or the message of an error: what it holds is named here.
"""

from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, Span, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from omnibase_core.errors import CommandFailed, CommandRejected
from omnibase_core.ports import Delivery, Handler, HandlerCall, Headers

_SCOPE = "omnibase_infra"
_W3C = TraceContextTextMapPropagator()


def configured_tracer() -> "OtelTracer | None":
    """Return a tracer where somebody has set up a provider of them, and None where the library is merely imported."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, ProxyTracerProvider) else OtelTracer(provider)


def current_context() -> Headers:
    """Return the headers that carry the span which is current here, none where there is no span."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return [(name, value.encode("latin-1")) for name, value in carrier.items()]


class OtelTracer:
    """Tells of attempts and calls by OpenTelemetry. A Tracer."""

    def __init__(self, provider: TracerProvider) -> None:
        """Take who makes the spans."""
        self._tracer = provider.get_tracer(_SCOPE)

    @contextmanager
    def attempt(
        self, delivery: Delivery, /, *, node: str, number: int, command_id: UUID, correlation_id: UUID
    ) -> Iterator["AttemptSpan"]:
        """Open the span of an attempt, below the one that the command's `traceparent` names.

        Names and keys are those of OpenTelemetry's conventions for messaging, where there are such.
        """
        topic, partition = delivery.partition
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": delivery.offset,
            "messaging.message.id": str(command_id),
            "messaging.message.conversation_id": str(correlation_id),
            "onex.node": node,
            "onex.attempt": number,
        }
        carrier = {name: value.decode("latin-1") for name, value in delivery.headers if value is not None}
        parent, kind = _W3C.extract(carrier), SpanKind.CONSUMER
        with (
            self._tracer.start_as_current_span(
                f"process {topic}", parent, kind, attributes, record_exception=False, set_status_on_exception=False
            ) as span,
            _ended_with_its_code(span),
        ):
            yield AttemptSpan(span)

    def traced(self, handler: Handler) -> Handler:
        """Return a handler each of whose calls is a span."""
        return _TracedHandler(handler, self._tracer)


@dataclass(frozen=True, slots=True)
class AttemptSpan:
    """The span of one attempt. A Span."""

    span: Span

    def carried(self, headers: Headers, /) -> Headers:
        """Return the headers with this span as the context of the trace."""
        context: dict[str, str] = {}
        _W3C.inject(context, trace.set_span_in_context(self.span))
        if not context:
            return headers
        own = [(name, value.encode("latin-1")) for name, value in context.items()]
        return [*(it for it in headers if it[0] not in _W3C.fields), *own]

    def failed(self, code: str, /) -> None:
        """Record the code of the failure."""
        _fail(self.span, code)


class _TracedHandler:
    """Does what a handler does, as a span. A Handler."""

    def __init__(self, handler: Handler, tracer: trace.Tracer) -> None:
        self._handler = handler
        self._tracer = tracer

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the call."""
        asked = {"onex.handler": call.handler_type, "onex.operation": call.operation, "onex.node": call.node}
        attributes = asked if call.target is None else {**asked, "onex.target": call.target}
        name, kind = f"{call.handler_type} {call.operation}", SpanKind.CLIENT
        with (
            self._tracer.start_as_current_span(
                name, None, kind, attributes, record_exception=False, set_status_on_exception=False
            ) as span,
            _ended_with_its_code(span),
        ):
            return await self._handler.execute(call)


@contextmanager
def _ended_with_its_code(span: Span) -> Iterator[None]:
    try:
        yield
    except (CommandFailed, CommandRejected) as error:
        _fail(span, error.code)
        raise
    except CancelledError:
        _fail(span, "cancelled")
        raise
    except BaseException:
        _fail(span, "internal_error")
        raise


def _fail(span: Span, code: str) -> None:
    # The message may hold what came with the command or from the server: the log has it, redacted.
    span.set_status(StatusCode.ERROR, code)
    span.set_attribute("error.type", code)
