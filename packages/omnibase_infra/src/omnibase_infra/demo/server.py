"""The greetings service of the demo: a small server inside the host, for the example `http` nodes to call.

    GET /greetings/{name}?language=xx  ->  200 {"greeting": "Hello, Ada", "language": "en"}
    GET /about                         ->  200, a page of HTML with an entity tag; 304 for who knows it

A language it does not speak is 404, and so is any other path. It speaks HTTP/1.1 through h11, on the loopback only.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs, unquote

import h11

_ABOUT = "<!doctype html><title>About</title><p>This service greets.</p>"
_ABOUT_TAG = '"1"'
_WORDS: Mapping[str, str] = {"de": "Hallo", "en": "Hello", "fr": "Bonjour"}


@asynccontextmanager
async def demo_server() -> AsyncIterator[str]:
    """Serve on a free port of the loopback while the context is open; gives the base URL."""
    conversations: set[_Conversation] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Conversation(conversations), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for conversation in tuple(conversations):
            await conversation.end()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: Mapping[str, str] | str
    """JSON, or a page."""
    headers: tuple[tuple[str, str], ...] = ()


def _answer(request: h11.Request) -> _Answer:
    """Decide what to answer. Pure."""
    if request.method not in (b"GET", b"HEAD"):
        return _Answer(405, {"error": "method_not_allowed"}, (("allow", "GET, HEAD"),))
    path, _, query = request.target.decode("ascii").partition("?")
    match path.split("/"):
        case ["", "greetings", name] if name:
            return _greet(unquote(name), parse_qs(query).get("language", ["en"])[-1])
        case ["", "about"]:
            is_known = (b"if-none-match", _ABOUT_TAG.encode()) in list(request.headers)
            return _Answer(304 if is_known else 200, "" if is_known else _ABOUT, (("etag", _ABOUT_TAG),))
    return _Answer(404, {"error": "not_found"})


def _greet(name: str, language: str) -> _Answer:
    if language not in _WORDS:
        return _Answer(404, {"error": "unknown_language", "language": language})
    return _Answer(200, {"greeting": f"{_WORDS[language]}, {name}", "language": language})


class _Conversation(asyncio.Protocol):
    """One connection: h11 reads the requests, and each is answered as soon as it is whole."""

    def __init__(self, conversations: set["_Conversation"]) -> None:
        self._conversations = conversations
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._ended = asyncio.Event()

    async def end(self) -> None:
        """Break the connection off, and wait until it is."""
        self._transport.abort()
        await self._ended.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._conversations.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._conversations.discard(self)
        self._ended.set()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        try:
            while self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._send(_Answer(error.error_status_hint, {"error": "bad_request"}), with_body=True)
            self._transport.close()

    def _take(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> bool:
        """Act on one event. False: nothing more can be read now."""
        match event:
            case h11.Request():
                self._request = event
            case h11.EndOfMessage() if self._request is not None:
                self._send(_answer(self._request), with_body=self._request.method != b"HEAD")
                return self._is_kept()
            case h11.Data():
                pass  # A body is of no interest here, and is not kept.
            case _:
                if self._http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                return False
        return True

    def _send(self, answer: _Answer, *, with_body: bool) -> None:
        page = answer.content if isinstance(answer.content, str) else None
        body = (json.dumps(answer.content, ensure_ascii=False) if page is None else page).encode()
        kind = "application/json" if page is None else "text/html; charset=utf-8"
        headers = [("content-type", kind), ("content-length", str(len(body))), *answer.headers]
        self._write(h11.Response(status_code=answer.status, headers=headers))
        if with_body:
            self._write(h11.Data(data=body))
        self._write(h11.EndOfMessage())

    def _write(self, event: h11.Event) -> None:
        self._transport.write(self._http.send(event) or b"")

    def _is_kept(self) -> bool:
        """Keep the connection for the next request, unless one of the two wants its end."""
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
            return False
        self._http.start_next_cycle()
        return True
