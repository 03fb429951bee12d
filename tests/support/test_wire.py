"""The relay that is in trouble on demand loses no connection itself."""

import asyncio
import socket
import threading

from tests.support.wire import Wire

TURNS = 300


def test_whoever_is_accepted_while_the_wire_goes_away_is_reset() -> None:
    """Of a server that closes in that very moment, asyncio forgets the connection; in debug mode it says so."""
    told: list[str] = []
    done = threading.Event()

    def connect(port: int) -> None:
        while not done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as there:
                    there.sendall(b"x")
            except OSError:
                pass

    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        upstream = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with upstream, Wire(upstream.sockets[0].getsockname()[1]).up() as wire:
            thread = threading.Thread(target=connect, args=(wire.port,))
            thread.start()
            try:
                for _ in range(TURNS):
                    # What a thread gives comes in the same turn of the loop as a connection may.
                    await asyncio.to_thread(lambda: None)
                    await wire.away()
                    await wire.back()
                    await asyncio.sleep(0.001)
            finally:
                done.set()
                await asyncio.to_thread(thread.join)
            return wire.connections

    assert asyncio.run(scenario()) > 0
    assert told == []
