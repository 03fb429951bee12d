"""A service on a thread of the tests, for nodes of hosts under load: slow, large or failing now and then, by path."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LARGE_BYTES = 800_000
SLOW_S = 0.3
_WELL_S = 2.0
_ILL_S = 3.0
_LOOK_EVERY_S = 0.05
_HEAD = "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"


class HttpService:
    """Answers `/slow` after a while, `/large` with much after a while, and `/flaky` well for two seconds of five."""

    def __init__(self, *, slow_s: float = SLOW_S) -> None:
        """Keep how long what is slow takes."""
        self.port = 0
        self.counts: Counter[str] = Counter()
        self.holding = False
        """Whether nobody is answered for now who asks for what is slow or large."""
        self._slow_s = slow_s
        self._large = json.dumps({"text": "x" * LARGE_BYTES}).encode()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every request of one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode().partition("?")[0]
                self.counts[path] += 1
                status, body = await self._answer(path)
                writer.write(_HEAD.format(status=status, length=len(body)).encode() + body)
                await writer.drain()
        writer.close()

    async def _answer(self, path: str) -> tuple[str, bytes]:
        if path == "/flaky":
            fails = time.monotonic() % (_WELL_S + _ILL_S) > _WELL_S
            return ("503 Service Unavailable" if fails else "200 OK"), b'{"text": "well"}'
        await asyncio.sleep(self._slow_s)
        while self.holding:  # noqa: ASYNC110 - another thread says when
            await asyncio.sleep(_LOOK_EVERY_S)
        return "200 OK", self._large if path == "/large" else b'{"text": "well"}'


@contextmanager
def http_service(*, slow_s: float = SLOW_S) -> Iterator[HttpService]:
    """Serve on a free port while the context is open."""
    service = HttpService(slow_s=slow_s)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    done = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(service.converse, "127.0.0.1", 0, backlog=2000)
        service.port = server.sockets[0].getsockname()[1]
        started.set()
        await done.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
