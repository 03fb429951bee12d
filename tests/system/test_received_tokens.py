"""A server that repeats the access token it was sent: nothing that the host says afterwards holds it."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from urllib.parse import quote
from uuid import uuid4

from tests.support.commands import command
from tests.support.hosts import POOL, Machine
from tests.support.scripted_http import Seen, Server, reply
from tests.support.traffic import Reader, create_topics, publish

TOKEN = "of/the+issuer~0123=abc"  # noqa: S105 - it opens nothing
CALLER = """
contract: node/v1
name: calls
kind: effect
version: 1.0.0
description: Calls a server that refuses.
handler: http
target: main
operations:
  call:
    input: {type: object, required: [number], properties: {number: {type: integer}}}
    request: {path: /, expect: [200]}
    answer: {status: "${ result.status }"}
delivery: {timeout_s: 5, retry: {attempts: 1}}
"""


def spellings() -> list[str]:
    """Spell the token as servers do."""
    percent = quote(TOKEN, safe="")
    encoded = b64encode(TOKEN.encode()).decode().rstrip("=")
    return [TOKEN, percent, percent.replace("%2F", "%2f"), escape_html(TOKEN), quote(percent), encoded]


def escape_html(text: str) -> str:
    """Escape each sign by its number."""
    return "".join(it if it.isalnum() else f"&#x{ord(it):X};" for it in text)


@contextmanager
def servers() -> Iterator[tuple[int, int]]:
    """Run an issuer of tokens and a server that refuses them, on a thread; gives their ports."""

    async def issue(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        grant = {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600}
        writer.write(reply(json.dumps(grant).encode(), "content-type: application/json"))

    async def refuse(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(f"not for {' '.join(spellings())}".encode(), status="403 Forbidden"))

    ports: list[int] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            issuer = await stack.enter_async_context(Server(issue).listen())
            api = await stack.enter_async_context(Server(refuse).listen())
            ports.extend([issuer.port, api.port])
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield ports[0], ports[1]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def test_neither_answer_nor_dead_letter_nor_log_nor_health_repeats_an_access_token(machine: Machine) -> None:
    """In no spelling in which the server has put it into its error."""
    names = f"onex.app.test.{machine.tenant}"
    commands, answers = f"{names}.cmd.node.calls.v1", f"{names}.evt.node.calls.v1"
    letters = f"{names}.dlq.runtime.{POOL}.v1"
    create_topics(machine.broker, [commands, answers])
    with servers() as (issuer, api):
        auth = {"type": "oauth2", "token_url": f"http://127.0.0.1:{issuer}/token", "client_id": "ada"}
        auth |= {"client_secret": "secret-of-the-client"}
        target = {"base_url": f"http://127.0.0.1:{api}", "auth": auth}
        machine.write({"calls": CALLER}, handlers={"http": {"targets": {"main": target}}})
        host = machine.start()
        host.until_ready(partitions=4)
        sent = uuid4()
        publish(machine.broker, [command(commands, "calls", {"number": 1}, key=b"1", envelope_id=sent)])
        with Reader(machine.broker, [answers]) as reader:
            reader.until_answered({sent}, within_s=30)
            answered = str([it.value().decode() for it in reader.messages])
        with Reader(machine.broker, [letters]) as reader:
            lettered = str([(it.value().decode(), it.headers()) for it in reader.until(bool, within_s=30)])
        health = json.dumps(host.health())
        assert host.child.stop() == 0
    assert "not for ***" in answered
    assert "http_status" in lettered
    for said in (answered, lettered, health, host.child.log.read_text()):
        assert not [it for it in spellings() if it in said]
