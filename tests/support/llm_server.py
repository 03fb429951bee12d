"""A server of models that can be in any trouble: a stand-in that speaks OpenAI's and Anthropic's interface.

What it does, the name of the model says: `echo` repeats what it was told last, and the others are below. It notes what
it was asked. The real model is `tests.support.smollm`.
"""

import asyncio
import gzip
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

NAME = "stand-in for servers of models (OpenAI's and Anthropic's interface, with faults)"
_STARTS_S = 10
_FAULTS: Mapping[str, tuple[int, Mapping[str, str], Any]] = {
    "rate-limited": (429, {"retry-after": "7"}, {"error": {"type": "rate_limit_error", "message": "slower"}}),
    "soon": (429, {"retry-after-ms": "1500"}, {"error": {"type": "rate_limit_error", "message": "slower"}}),
    "dated": (503, {"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}, {"error": {"message": "later"}}),
    "broke": (429, {}, {"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "pay"}}),
    "broken": (500, {}, {"error": {"type": "server_error", "message": "oh"}}),
    "overloaded": (529, {"retry-after": "3"}, {"error": {"type": "overloaded_error", "message": "busy"}}),
    "unknown": (404, {}, {"error": {"type": "not_found_error", "message": "no such model"}}),
    "html": (502, {"content-type": "text/html"}, "<html>bad gateway</html>"),
}
ODD: Sequence[Any] = (
    5,
    "text",
    [],
    {},
    {"choices": 5},
    {"choices": [5]},
    {"choices": [{"delta": 5}]},
    {"choices": [{"delta": {"content": 5}}]},
    {"choices": [{"delta": {"tool_calls": [{"function": None}]}}]},
    {"type": 5},
    {"type": "message_start", "message": 5},
    {"type": "content_block_delta", "index": "x", "delta": {"type": "text_delta"}},
)
"""Events that are JSON, and in the form of no interface."""
ODD_COUNTS: Sequence[Any] = (10**400, 10**10, -5, 1.5, "many", None, [], {}, 1e999, -1e999, math.nan)
"""What is no count of tokens, yet stands in the place of one: for the models `counts-0` and so on."""
ODD_USAGES: Sequence[Any] = (5, "text", [], {}, True, None)
"""What stands in the place of all counts: for the models `usage-0` and so on."""

_HI = ({"content": "hi"}, None)
_STOP: tuple[Any, str] = ({}, "stop")
_BERN, _CHUR = '{"town": "Bern"}', '{"town": "Chur"}'


def _calls(*calls: Any) -> tuple[Any, None]:
    return {"tool_calls": list(calls)}, None


def _tool(arguments: str, **more: Any) -> dict[str, Any]:
    return {**more, "function": {"name": "weather", "arguments": arguments}}


def _more(arguments: str, **more: Any) -> dict[str, Any]:
    return {**more, "function": {"arguments": arguments}}


DIALECTS: Mapping[str, Sequence[Any]] = {
    "ids": (_calls(_tool(_BERN, id="a")), _calls(_tool(_CHUR, id="b")), _STOP),
    "ids-at-once": (_calls(_tool(_BERN, id="a"), _tool(_CHUR, id="b")), _STOP),
    "ids-in-parts": (
        _calls(_tool(_BERN[:4], id="a")),
        _calls(_more(_BERN[4:])),
        _calls(_tool(_CHUR[:4], id="b")),
        _calls(_more(_CHUR[4:])),
        _STOP,
    ),
    "ids-mixed": (
        _calls(_tool(_BERN[:4], id="a"), _tool(_CHUR[:4], id="b")),
        _calls(_more(_BERN[4:], id="a")),
        _calls(_more(_CHUR[4:], id="b")),
        _STOP,
    ),
    "names-alone": (_calls(_tool(_BERN), _tool(_CHUR)), _STOP),
    "parts": (
        ({"content": [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "h"}]}, None),
        ({"content": [{"type": "text", "text": "i"}]}, None),
        _STOP,
    ),
    "numbered": (b"id: 1\n", _HI, b": ping\n\n", b"id: 2\n\n", b"event: chunk\n", _STOP, b"data: [DONE]\n\n"),
    "keep-alive": (b"retry: 3000\n\n", b": ping\n\n", _HI, b"event: keep-alive\n\n", _STOP, b": ping\n\n"),
    "no-done": (_HI, _STOP),
    "cut-whole": (_HI, _STOP),
}
"""Streams of OpenAI's interface as other servers speak it: bytes as they are, and deltas with why the answer ends."""


@dataclass
class LlmServer:
    """Where it listens, and the bodies and headers of what it was asked."""

    port: int
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)


@contextmanager
def llm_server() -> Iterator[LlmServer]:
    """Serve on a free port of the loopback while the context is open."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        served = LlmServer(listener.getsockname()[1])
        config = uvicorn.Config(_application(served), log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            # What a test left waiting is of no interest any more.
            server.should_exit = server.force_exit = True
            thread.join(_STARTS_S)


def _application(served: LlmServer) -> Starlette:
    async def chat(request: Request) -> Response:
        return await _answered(served, request, _openai_events)

    async def messages(request: Request) -> Response:
        return await _answered(served, request, _anthropic_events)

    async def embeddings(request: Request) -> Response:
        asked = await _noted(served, request)
        model = asked["model"]
        first = 10**400 if model == "vast" else 1.0
        data = [{"index": index, "embedding": [float(len(it)), first]} for index, it in enumerate(asked["input"])]
        usage = _usage(model, {"prompt_tokens": 3, "total_tokens": 3})
        body = json.dumps({"data": data[::-1], "model": model, "usage": usage})
        return Response(body, media_type="application/json")

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/messages", messages, methods=["POST"]),
            Route("/v1/embeddings", embeddings, methods=["POST"]),
        ]
    )


async def _noted(served: LlmServer, request: Request) -> dict[str, Any]:
    asked: dict[str, Any] = await request.json()
    served.asked.append(asked)
    served.headers.append(dict(request.headers))
    return asked


async def _answered(served: LlmServer, request: Request, events: Any) -> Response:
    asked = await _noted(served, request)
    model = asked["model"]
    if model in _FAULTS:
        status, headers, body = _FAULTS[model]
        content = body if isinstance(body, str) else json.dumps(body)
        return Response(content, status_code=status, headers={"content-type": "application/json", **headers})
    match model:
        case "locked":
            return JSONResponse({"error": {"message": "not you", "sent": dict(request.headers)}}, status_code=401)
        case "elsewhere":
            return RedirectResponse("http://127.0.0.1:1/latest/meta-data/", status_code=307)
        case "packed":
            body = gzip.compress(b"0" * 1_000_000)
            headers = {"content-encoding": "gzip", "set-cookie": "a=b", "content-type": "text/event-stream"}
            return Response(body, headers=headers)
        case "huge":
            return Response(b"x" * 1_000_000, status_code=400)
        case "slow":
            while not await request.is_disconnected():  # noqa: ASYNC110 - that is how Starlette tells it
                await asyncio.sleep(0.05)
            return Response()
    return StreamingResponse(
        _told(asked, events, request), media_type="text/event-stream", headers={"set-cookie": f"id={model}"}
    )


async def _told(asked: dict[str, Any], events: Any, request: Request) -> AsyncIterator[bytes]:
    model = asked["model"]
    if model == "line":
        while not await request.is_disconnected():
            yield b"data: " + b"x" * 65_536
    if model == "rubbish":
        yield b"event: content_block_delta\ndata: {{{\n\n"
    if model == "deep":
        yield b"event: content_block_delta\ndata: " + b"[" * 2_000 + b"\n\n"
    if model.startswith("odd-"):
        yield b"data: " + json.dumps(ODD[int(model[4:])]).encode() + b"\n\n"
        return
    if model in DIALECTS:
        for block in DIALECTS[model]:
            yield block if isinstance(block, bytes) else _chunk(model, *block)
        if model == "cut-whole":
            raise ConnectionResetError("the stand-in breaks off")
        return
    pieces, calls = _script(asked)
    said = events(model, pieces, calls, finished=model not in ("unfinished", "cut", "fails", "endless"))
    for number, event in enumerate(said):
        yield event
        if model == "stalls" and number == 2:
            while not await request.is_disconnected():
                # It keeps the connection alive, and says nothing.
                yield b": ping\n\n"
                await asyncio.sleep(0.02)
    if model == "fails":
        yield b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}\n\n'
    if model == "endless":
        while not await request.is_disconnected():
            for event in events(model, ["and so on "] * 50, [], finished=False):
                yield event
    if model == "cut":
        raise ConnectionResetError("the stand-in breaks off")


def _script(asked: dict[str, Any]) -> tuple[Sequence[str], Sequence[Any]]:
    """Describe what is answered: pieces of text, and calls of tools."""
    last = asked["messages"][-1]["content"]
    text = last if isinstance(last, str) else " ".join(it.get("text", it.get("content", "")) for it in last)
    rounds = sum(message["role"] == "assistant" for message in asked["messages"])
    match asked["model"]:
        case "learns":
            # Nonsense at first, then JSON that does not fit, then an answer in a fence.
            return [('{"n": 1', '{"n": "one"}', '```json\n{"n": 1}\n```')[min(rounds, 2)]], []
        case "stubborn":
            return ["I would rather talk about cheese."], []
        case "calls":
            return [], [("call_a", "weather", '{"town": "Bern"}'), ("call_b", "weather", '{"town": "Chur"}')]
        case "calls-badly":
            return [], [("call_a", "weather", '{"town": 5}' if not rounds else '{"town": "Bern"}')]
        case "calls-wildly":
            return [], [("call a!", "rm", "{")]
    if asked.get("response_format") or asked.get("output_config"):
        return [*json.dumps({"n": int(text)})], []
    return [f"{word} " for word in text.split(" ")], []


def _openai_events(model: str, pieces: Sequence[str], calls: Sequence[Any], *, finished: bool) -> Iterator[bytes]:
    def chunk(delta: Any, reason: str | None = None) -> bytes:
        return _chunk(model, delta, reason)

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces:
        yield chunk({"content": piece})
    for index, (id_, name, arguments) in enumerate(calls):
        yield chunk({"tool_calls": [{"index": index, "id": id_, "type": "function", "function": {"name": name}}]})
        for part in (arguments[:4], arguments[4:]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    if finished:
        yield chunk({}, "length" if model == "short" else "tool_calls" if calls else "stop")
        if model != "uncounted":
            counts = {"prompt_tokens": 10, "completion_tokens": len(pieces) + len(calls), "total_tokens": 0}
            usage = _usage(model, counts)
            yield _event({"id": "c", "object": "chat.completion.chunk", "model": model, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _anthropic_events(model: str, pieces: Sequence[str], calls: Sequence[Any], *, finished: bool) -> Iterator[bytes]:
    usage = _usage(model, {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 0})
    message = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    yield _event({"type": "message_start", "message": message})
    yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for piece in pieces:
        yield _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
    yield _event({"type": "content_block_stop", "index": 0})
    for index, (id_, name, arguments) in enumerate(calls, start=1):
        block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
        yield _event({"type": "content_block_start", "index": index, "content_block": block})
        for part in (arguments[:4], arguments[4:]):
            delta = {"type": "input_json_delta", "partial_json": part}
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    if finished:
        reason = "max_tokens" if model == "short" else "tool_use" if calls else "end_turn"
        usage = _usage(model, {"output_tokens": len(pieces) + len(calls)})
        yield _event({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage})
        yield _event({"type": "message_stop"})


def _chunk(model: str, delta: Any, reason: str | None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    return _event({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": choices})


def _usage(model: str, counts: Mapping[str, int]) -> Any:
    """Return the counts, or what the name of the model says in their place."""
    kind, _, number = model.partition("-")
    match kind:
        case "counts":
            return dict.fromkeys(counts, ODD_COUNTS[int(number)])
        case "usage":
            return ODD_USAGES[int(number)]
        case "whole":
            return {name: float(count) for name, count in counts.items()}
        case "quoted":
            return {name: str(count) for name, count in counts.items()}
    return counts


def _event(data: Mapping[str, Any]) -> bytes:
    named = f"event: {data['type']}\n" if "type" in data else ""
    return f"{named}data: {json.dumps(data)}\n\n".encode()
