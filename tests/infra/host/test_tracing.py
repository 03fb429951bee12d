"""Spans: what a trace shows of commands and of the calls that they lead to, and what it must not."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from omnibase_core.errors import HandlerError, TargetBusy
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import Delivery, Partition
from omnibase_core.testing import MemoryStore
from omnibase_core.testing.virtual_time import VirtualClock, run
from omnibase_infra.host.tracing import OtelTracer, configured_tracer
from tests.support.commands import ECHO, host, node, registry
from tests.support.stage import COMMANDS, EVENTS, Behaviour, Stage, on_stage

TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = [("traceparent", f"00-{TRACE}-{SENDER}-01".encode()), ("tracestate", b"vendor=told"), ("x", b"1")]
SECRET = "hunter2-and-more"  # noqa: S105 - it must not be seen
RETRIED = "{retry: {attempts: 3, initial_s: 1, jitter: 0}}"


class Traced:
    """A host on a stage, and the spans that it made."""

    def __init__(self, behaviour: Behaviour, provider: TracerProvider | None = None) -> None:
        """Trace into memory."""
        self.stage = Stage(behaviour, store=MemoryStore(VirtualClock().monotonic_s))
        self._exporter = InMemorySpanExporter()
        provider = provider or TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.stage.tracer = OtelTracer(provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Return what has ended, in the order in which it began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda it: it.start_time or 0)

    @asynccontextmanager
    async def running(self, **texts: str) -> AsyncIterator[Stage]:
        """Run a host with these nodes."""
        files = {f"{slug}.yaml": text for slug, text in texts.items()}
        loaded = registry({**files, "host.yaml": f"{host(*texts)}idempotency: {{store: memory}}\n"})
        handlers = {"scripted": self.tracer.traced(self.stage), "local": LocalHandler()}
        async with on_stage(self.stage, loaded.hosts["test-host"], **handlers) as stage:
            yield stage


async def served(traced: Traced, payload: Mapping[str, Any], *, delivery: str = "{}") -> UUID:
    """Let a node with I/O serve one command, and give the command's id."""
    async with traced.running(a=node("a", delivery=delivery)) as stage:
        identity = stage.publish("a", payload, headers=HEADERS)
        await stage.until(lambda: stage.committed() == 1)
    return identity


async def echoed(request: dict[str, Any]) -> Mapping[str, Any]:
    """Answer."""
    return request


def hexed(number: int) -> str:
    """Write the number of a span as headers have it."""
    return f"{number:016x}"


def test_a_command_is_a_span_below_its_senders_and_the_call_is_one_below_it() -> None:
    """Both belong to the trace that the command came with; their names and attributes say what was asked of whom."""
    traced = Traced(echoed)
    identity = run(served(traced, {"n": 1}), seed=0)
    attempt, call = traced.spans
    assert attempt.context is not None
    assert call.context is not None
    assert attempt.parent is not None
    assert call.parent is not None
    assert {hex(it.context.trace_id) for it in traced.spans if it.context} == {hex(int(TRACE, 16))}
    assert hexed(attempt.parent.span_id) == SENDER
    assert call.parent.span_id == attempt.context.span_id
    topic = COMMANDS.format("a")
    assert (attempt.name, attempt.kind) == (f"process {topic}", SpanKind.CONSUMER)
    told = dict(attempt.attributes or {})
    assert told.pop("messaging.message.conversation_id")
    assert told == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": told["messaging.destination.partition.id"],
        "messaging.kafka.offset": 0,
        "messaging.message.id": str(identity),
        "onex.node": "a",
        "onex.attempt": 1,
    }
    assert call.kind is SpanKind.CLIENT
    assert call.name.startswith("scripted ")
    assert (call.attributes or {})["onex.handler"] == "scripted"
    assert [it.status.status_code for it in traced.spans] == [StatusCode.UNSET] * 2


def test_the_answer_carries_the_trace_on() -> None:
    """Below the span of the attempt that gave it; what else is carried stays as it is."""
    traced = Traced(echoed)
    run(served(traced, {"n": 1}), seed=0)
    [answer] = traced.stage.broker.messages(EVENTS.format("a"))
    attempt = traced.spans[0]
    assert attempt.context is not None
    carried = f"00-{TRACE}-{hexed(attempt.context.span_id)}-01".encode()
    assert sorted(answer.headers) == [("traceparent", carried), ("tracestate", b"vendor=told")]


def test_each_attempt_is_a_span_that_tells_how_it_ended() -> None:
    """A failure by its code, on the call and on the attempt; the one that went well by no error."""
    left = ["down", "slow"]

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if left:
            raise HandlerError(left.pop(0), f"as told, with {SECRET}", retryable=True)
        return request

    traced = Traced(behave)
    run(served(traced, {"n": 1}, delivery=RETRIED), seed=0)
    attempts = [it for it in traced.spans if it.kind is SpanKind.CONSUMER]
    calls = [it for it in traced.spans if it.kind is SpanKind.CLIENT]
    assert [(it.attributes or {})["onex.attempt"] for it in attempts] == [1, 2, 3]
    for spans in (attempts, calls):
        assert [(it.attributes or {}).get("error.type") for it in spans] == ["down", "slow", None]
        assert [it.status.is_ok for it in spans] == [False, False, True]


@pytest.mark.parametrize(
    ("error", "on_call", "on_attempt"),
    [
        (ZeroDivisionError(SECRET), "internal_error", "internal_error"),
        (TargetBusy(SECRET), "target_busy", "target_busy"),
        (None, "cancelled", "timeout"),
    ],
)
def test_a_span_ends_however_its_call_does(error: Exception | None, on_call: str, on_attempt: str) -> None:
    """A bug, a turn that never came, and a handler that would wait for ever."""
    once = [True]

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if not once:
            return request
        once.clear()
        if error is None:
            await asyncio.Event().wait()
        assert error is not None
        raise error

    traced = Traced(behave)
    run(served(traced, {"n": 1}, delivery="{timeout_s: 1}"), seed=0)
    attempt, call = traced.spans[:2]
    assert (attempt.attributes or {})["error.type"] == on_attempt
    assert (call.attributes or {})["error.type"] == on_call


@pytest.mark.parametrize("fails", [False, True])
def test_no_span_tells_of_payloads_keys_or_messages(fails: bool) -> None:  # noqa: FBT001 - a case
    """Not even where the message of an error holds them."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if fails:
            raise HandlerError("down", f"the password is {SECRET}", details={"password": SECRET})
        return request

    async def scenario(traced: Traced) -> None:
        async with traced.running(a=node("a")) as stage:
            stage.publish("a", {"n": 1, "password": SECRET}, key=SECRET.encode(), headers=[("x", SECRET.encode())])
            await stage.until(lambda: stage.committed() == 1)

    traced = Traced(behave)
    run(scenario(traced), seed=0)
    assert len(traced.spans) == 2
    assert SECRET not in "".join(it.to_json() for it in traced.spans)


@pytest.mark.parametrize("more", ["", 'idempotency: {key: "${ payload.text }", window_s: 60}\n'])
def test_a_node_that_has_its_answer_at_hand_makes_no_span(more: str) -> None:
    """Its whole command takes less than the span would; also where it waits its turn in a lane, for the store."""

    operations = ECHO.replace("{type: object}", "{type: object, required: [text], properties: {text: {type: string}}}")

    async def scenario(traced: Traced) -> None:
        async with traced.running(pure=node("pure", handler="local", operations=operations) + more) as stage:
            stage.publish("pure", {"text": "hallo"}, headers=HEADERS)
            await stage.until(lambda: stage.committed() == 1)

    traced = Traced(echoed)
    run(scenario(traced), seed=0)
    assert traced.spans == []
    assert len(traced.stage.answers("pure")) == 1


def test_what_is_not_sampled_is_carried_on_as_such() -> None:
    """Whoever comes after does not sample it either."""
    traced = Traced(echoed, TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    run(served(traced, {"n": 1}), seed=0)
    [answer] = traced.stage.broker.messages(EVENTS.format("a"))
    assert traced.spans == []
    carried = dict(answer.headers)["traceparent"] or b""
    assert carried.startswith(f"00-{TRACE}-".encode())
    assert carried.endswith(b"-00")


NAMES = st.sampled_from(["traceparent", "tracestate"]) | st.text(max_size=5)
VALUES = st.none() | st.binary(max_size=80) | st.sampled_from([it for _, it in HEADERS])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_no_header_breaks_an_attempt(headers: list[tuple[str, bytes | None]]) -> None:
    """Whatever a sender wrote for a trace: the attempt has a span, and what is carried on is one context at most."""
    tracer = OtelTracer(TracerProvider(shutdown_on_exit=False))
    delivery = Delivery(Partition("t", 0), 0, None, None, headers, 0)
    with tracer.attempt(delivery, node="a", number=1, command_id=UUID(int=1), correlation_id=UUID(int=2)) as span:
        carried = span.carried(headers)
    assert [name for name, _ in carried].count("traceparent") == 1
    assert [it for it in carried if not it[0].startswith("trace")] == [it for it in headers if it[0][:5] != "trace"]


def test_a_library_that_is_merely_imported_traces_nothing() -> None:
    """Others import it too; what counts is whether somebody has set up a provider."""
    assert configured_tracer() is None


def test_a_host_imports_nothing_of_opentelemetry_by_itself() -> None:
    """Who does not trace pays nothing, in time or in memory."""
    program = (
        "import sys, omnibase_infra.host.resources as it, omnibase_infra.host.process, omnibase_infra.cli\n"
        "assert it.configured_tracer() is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
