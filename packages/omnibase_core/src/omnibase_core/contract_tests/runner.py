"""The stage of a node's tests: the real runtime, a bus in memory, and time that passes when all wait."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from omnibase_core.codec import decode, encode
from omnibase_core.contract_tests.scripted_handler import RealHandler, Record, ScriptedHandler, SentRecord
from omnibase_core.contracts.compiler.compiled import CompiledNode, CompiledOperation
from omnibase_core.contracts.host import RuntimeHostContract, StoreBinding
from omnibase_core.contracts.tests import Case, Given
from omnibase_core.dead_letters import split_headers
from omnibase_core.engine.memory_store import MemoryStore
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.expressions import Scope, Template
from omnibase_core.ports import HandlerDescription, InlineHandler, Message, Partition, Refusal
from omnibase_core.testing.memory_bus import MemoryBroker, MemoryBus
from omnibase_core.testing.virtual_time import SimulationStuck, VirtualClock, run

LONGEST_S = 7 * 86_400.0
"""For how long a case may go on, in virtual seconds. No contract lets a command's attempts go on for longer."""

_SEED = 1


class Stage:
    """Plays the cases of one node, each from the same beginning: the same case goes the same way every time.

    The commands of a case have the ids 1, 2, 3, ... and the time starts at 2026-01-01T00:00:00Z. They go through one
    partition. With such ids the random share of a wait between two attempts is nothing.
    """

    def __init__(
        self, node: CompiledNode, *, handlers: Mapping[str, HandlerDescription], pure: Mapping[str, InlineHandler]
    ) -> None:
        """Take the node, what its handler offers, and the handlers that run as they do in production."""
        self._rules: set[tuple[str, int, bool]] = set()
        self._node = _noting(node, self._note)
        self._handlers = handlers
        self._pure = pure
        self._host = RuntimeHostContract(
            contract="host/v1",
            name="contract-test",
            version="1.0.0",
            description="Hosts one node for its tests.",
            environment="test",
            tenant="test",
            pool="test",
            nodes=[node.contract.name],
            idempotency=StoreBinding(store="memory"),
        )

    def rehearse(self, case: Case) -> Record:
        """Play a case to its end, and tell what happened."""
        record = Record([SentRecord() for _ in case.sent], rules=self._rules)
        self._rules.clear()
        try:
            run(self._play(case, record), seed=_SEED)
        except SimulationStuck as stuck:
            record.crash = f"SimulationStuck: {stuck}"
        record.rules = set(self._rules)
        return record

    def _note(self, operation: str, index: int, holds: Any) -> None:
        self._rules.add((operation, index, holds is True))

    async def _play(self, case: Case, record: Record) -> None:
        contract, names = self._node.contract, self._host.namespace
        bus = _NotingBus(
            commands=names.command(contract.name, contract.major),
            events=names.event(contract.name, contract.major),
            letters=names.dead_letter(self._host.pool),
            retries=names.retry(self._host.pool),
            record=record,
        )
        runtime = NodeRuntime(self._host, bus=bus, clock=VirtualClock(), observer=_Deaf())
        self._cast(runtime, case, record)
        runtime.register_store(MemoryStore(VirtualClock().monotonic_s))
        runtime.load_nodes([self._node])
        await runtime.start()
        sending = asyncio.create_task(self._send(bus, case, record))
        ended = [asyncio.create_task(it) for it in (runtime.wait(), bus.done.wait())]
        await asyncio.wait(ended, timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, *ended):
            task.cancel()
        record.crash = _crash_of(ended[0])
        await runtime.stop()
        record.state = "degraded" if runtime.figures[contract.name].degraded else "ok"
        record.breaker = next(iter(runtime.breakers.values()))  # That of the node's handler comes first.

    def _cast(self, runtime: NodeRuntime, case: Case, record: Record) -> None:
        """Let the node's handler be played, unless it is pure."""
        handler_type = self._node.handler_type
        if handler_type in self._pure:
            runtime.register_handler(handler_type, RealHandler(self._pure[handler_type]))
        elif handler_type in self._handlers:
            scripts = {_id(index): sent.handler for index, (_, sent) in enumerate(case.sent)}
            records = {_id(index): it for index, it in enumerate(record.sent)}
            double = ScriptedHandler(self._handlers[handler_type].operations, scripts, records)
            runtime.register_handler(handler_type, double)

    async def _send(self, bus: "_NotingBus", case: Case, record: Record) -> None:
        """Send each command when it is due; those of one moment in the order in which they are written."""
        loop = asyncio.get_running_loop()
        due = sorted((sent.given.after_s, index) for index, (_, sent) in enumerate(case.sent))
        for after_s, index in due:
            given = case.sent[index][1].given
            if (wait_s := after_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            record.sent[index].sent_s = loop.time()
            bus.send(given.key, encode(self._command(_id(index), given)))

    def _command(self, identity: UUID, given: Given) -> OnexEnvelope:
        now = VirtualClock().now()
        expires_at = None if given.expires_in_s is None else now + timedelta(seconds=given.expires_in_s)
        return OnexEnvelope(
            envelope_version=ENVELOPE_VERSION,
            envelope_id=identity,
            correlation_id=identity,
            node_slug=self._node.contract.name,
            operation=given.operation,
            payload=given.payload,
            metadata=given.metadata,
            timestamp=now,
            expires_at=expires_at,
        )


class _NotingBus(MemoryBus):
    """A bus in memory that notes what is published for each command, and when all of them are done."""

    def __init__(self, *, commands: str, events: str, letters: str, retries: str, record: Record) -> None:
        self.done = asyncio.Event()
        self._own = MemoryBroker(partitions=1)
        self._commands, self._events, self._letters, self._retries = commands, events, letters, retries
        self._record = record
        super().__init__(self._own, group=_GROUP)

    def send(self, key: str | None, value: bytes) -> None:
        """Put a command on the node's topic."""
        self._own.append(Message(self._commands, None if key is None else key.encode(), value))

    def publish(self, messages: Sequence[Message], /) -> "asyncio.Future[Sequence[Refusal]]":
        """Publish, and note what it is."""
        for message in messages:
            self._note(message)
        return super().publish(messages)

    def commit(self, offsets: Mapping[Partition, int], /) -> None:
        """Commit, and see whether all is done: every command, and what was put aside for a while."""
        super().commit(offsets)
        committed = self._own.committed(_GROUP)
        expected = {self._commands: len(self._record.sent), self._retries: len(self._own.messages(self._retries))}
        if all(committed.get(Partition(topic, 0), 0) == count for topic, count in expected.items()):
            self.done.set()

    def _note(self, message: Message) -> None:
        if message.topic == self._events:
            answer = decode(message.value)
            index = answer.causation_id.int - 1 if answer.causation_id else 0
            if not self._record.sent[index].answers:
                self._record.order.append(index)
            self._record.sent[index].answers.append((asyncio.get_running_loop().time(), answer))
        elif message.topic == self._letters:
            facts = split_headers(message.headers)[1]
            said = {"code": (facts["code"] or b"").decode(), "attempts": int(facts["attempts"] or 0)}
            self._record.sent[decode(message.value).envelope_id.int - 1].letters.append(said)


class _Deaf:
    """An observer that listens to nothing: what matters is what was published."""

    verbose = False

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Forget the event."""


_GROUP = "contract-test"


def _id(index: int) -> UUID:
    return UUID(int=index + 1)


def _crash_of(task: "asyncio.Task[Any]") -> str | None:
    if not task.done() or task.cancelled():
        return None
    error = task.exception()
    return "the loop of the runtime ended" if error is None else f"{type(error).__name__}: {error}"


def _noting(node: CompiledNode, note: Callable[[str, int, Any], None]) -> CompiledNode:
    """Return the same node, whose error rules tell what they say: the one thing that no message shows."""
    operations = {name: _noting_operation(operation, note) for name, operation in node.operations.items()}
    return replace(node, operations=operations)


def _noting_operation(operation: CompiledOperation, note: Callable[[str, int, Any], None]) -> CompiledOperation:
    rules, failure_rules = (
        tuple(replace(it, when=_noted(it.when, partial(note, operation.name, it.index))) for it in rules)
        for rules in (operation.rules, operation.failure_rules)
    )
    return replace(operation, rules=rules, failure_rules=failure_rules)


def _noted(when: Template, note: Callable[[Any], None]) -> Template:
    def asked(scope: Scope) -> Any:
        holds = when(scope)
        note(holds)
        return holds

    return asked
