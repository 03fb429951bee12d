"""The engine alone, on a bus that takes no time: how many instructions of Python it spends on a command.

Instructions are counted and not timed, so that the figure is the same on every machine, however busy. What is done in C
counts as the one instruction that calls it.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import Assigned, Batch, Delivery, HandlerCall, Happening, Headers, Message, Partition, Refusal
from tests.benchmarks.load import command
from tests.support.commands import ECHO, loaded_host, node

TRACED: Headers = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
KINDS = ("inline", "traced", "expressions", "awaiting")
_BATCH = 250
_KEYS = 100
_COMPUTED = """
  echo:
    input: {type: object}
    request: {message: "${ payload.n * 2 }"}
    answer: {text: "${ payload.text + 'x' }", twice: "${ result.message }"}
"""


class StubBus:
    """An EnvelopeBus that has its commands at hand and acknowledges at once."""

    message_bytes_max = 1_000_000

    def __init__(self, count: int, headers: Headers) -> None:
        """Deliver so many commands."""
        self.done = asyncio.Event()
        self._headers = headers
        self._count = count
        self._values = [command("echo", n)[1] for n in range(count)]
        self._answers = 0

    async def receive(self, topics: Sequence[str]) -> AsyncGenerator[Happening, None]:
        """Return the commands of the one node in batches, and then nothing more."""
        [topic] = [it for it in topics if ".cmd.node." in it]
        partition = Partition(topic, 0)
        yield Assigned(frozenset({partition}))
        for begin in range(0, self._count, _BATCH):
            numbers = range(begin, min(begin + _BATCH, self._count))
            values, headers = self._values, self._headers
            yield Batch([Delivery(partition, n, b"%d" % (n % _KEYS), values[n], headers, 0) for n in numbers])
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    def publish(self, messages: Sequence[Message], /) -> "asyncio.Future[Sequence[Refusal]]":
        """Acknowledge."""
        done: asyncio.Future[Sequence[Refusal]] = asyncio.get_running_loop().create_future()
        done.set_result(())
        self._answers += len(messages)
        if self._answers == self._count:
            self.done.set()
        return done

    def transact(self, messages: Sequence[Message], offsets: Mapping[Partition, int], /) -> Any:
        """Fail: the host is one of at least once."""
        raise AssertionError(messages, offsets)

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Take note of nothing."""

    def pause(self, partitions: Iterable[Partition], /) -> None:
        """Deliver the rest all the same: it is no more than the host may hold."""

    def resume(self, partitions: Iterable[Partition], /) -> None:
        """Go on."""

    def rewind(self, partition: Partition, offset: int, /) -> None:
        """Fail: there is room for all commands."""
        raise AssertionError(partition, offset)


class FixedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Return one moment."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        """Return it again."""
        return 0.0


class Quiet:
    """An observer to whom nothing of what each command does is of use."""

    verbose = False

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Keep nothing."""


class Yielding:
    """A handler that awaits, and has its result in the loop's next turn."""

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Return back what it was sent."""
        await asyncio.sleep(0)
        return call.request.model_dump()


def instructions(kind: str, count: int) -> int:
    """Serve so many commands of a kind, and give how many instructions that took."""
    counted = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal counted
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        counted += event == "opcode"
        return trace

    async def serve() -> None:
        nonlocal counted
        operations = _COMPUTED if kind == "expressions" else ECHO
        loaded = loaded_host({"echo": node("echo", handler=_HANDLERS.get(kind, "local"), operations=operations)})
        bus = StubBus(count, TRACED if kind == "traced" else ())
        runtime = NodeRuntime(loaded.contract, bus=bus, clock=FixedClock(), observer=Quiet())
        runtime.register_handler("local", LocalHandler())
        runtime.register_handler("scripted", Yielding())
        runtime.load_nodes(loaded.nodes)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            await runtime.start()
            await bus.done.wait()
        finally:
            sys.settrace(before)
        await runtime.stop()

    asyncio.run(serve())
    return counted


_HANDLERS = {"awaiting": "scripted"}


def instructions_each(kind: str) -> float:
    """Return how many instructions one more command of a kind takes: what a start takes does not count."""
    few, many = 250, 750
    return (instructions(kind, many) - instructions(kind, few)) / (many - few)


if __name__ == "__main__":
    for it in KINDS:
        print(f"{it}: {instructions_each(it):.0f} instructions a command")
