"""What `omnibase_core` exports, used as a program would that has core alone: read, serve one command, run a loop."""

import asyncio
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path, PurePath
from uuid import uuid4

import pytest

import omnibase_core
from omnibase_core import (
    EnvelopeError,
    FileRegistry,
    NodeContract,
    NodeInstance,
    NodeKind,
    NodeRuntime,
    OnexEnvelope,
    RuntimeHostContract,
    decode,
    encode,
)
from omnibase_core.errors import UnknownNode
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import ContractDocument, Message
from omnibase_core.testing import FixedClock, MemoryBroker, MemoryBus, RecordingObserver
from tests.support.commands import node

PICKY = """
  choose:
    input: {type: object, required: [count], properties: {count: {type: integer}}}
    request: {message: "${ payload }"}
    errors: [{when: "${ payload.count > 9 }", code: too_many}]
    answer: "${ result.message }"
"""
HOST = {
    "contract": "host/v1",
    "name": "embedded",
    "version": "1.0.0",
    "description": "A host in another program.",
    "environment": "dev",
    "tenant": "test",
    "pool": "pool",
    "nodes": ["picky"],
}
FOLDER = PurePath("contracts")


def _read(path: PurePath, /) -> Iterable[ContractDocument]:
    """Read as a program may: from anywhere."""
    assert path == FOLDER
    return [ContractDocument(path / "picky.yaml", node("picky", handler="local", operations=PICKY))]


def _command(count: int) -> OnexEnvelope:
    identity = uuid4()
    return OnexEnvelope(
        envelope_version=1,
        envelope_id=identity,
        correlation_id=identity,
        node_slug="picky",
        payload={"count": count},
        timestamp=datetime.now(UTC),
    )


def _runtime() -> tuple[NodeRuntime, MemoryBus, MemoryBroker, RuntimeHostContract]:
    broker = MemoryBroker(partitions=1)
    bus = MemoryBus(broker, group="group")
    host = RuntimeHostContract.model_validate(HOST)
    return NodeRuntime(host, bus=bus, clock=FixedClock(), observer=RecordingObserver()), bus, broker, host


def test_every_public_name_is_there_and_nothing_else_is_public() -> None:
    """`from omnibase_core import *` gives what `__all__` lists."""
    assert {it for it in omnibase_core.__all__ if not hasattr(omnibase_core, it)} == set()
    assert set(omnibase_core.__all__) <= set(dir(omnibase_core))
    with pytest.raises(AttributeError, match="no attribute 'OnexEnvelop'"):
        omnibase_core.__getattr__("OnexEnvelop")


def test_importing_core_imports_none_of_what_it_exports() -> None:
    """A program that needs an envelope does not wait for the engine."""
    script = (
        "import sys, omnibase_core; omnibase_core.OnexEnvelope; print('omnibase_core.engine.runtime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_contracts_are_found_by_name() -> None:
    """All of them, or one; a name that is not there comes with the nearest."""
    registry = FileRegistry(FOLDER, read=_read)
    assert list(registry.load_all()) == ["picky"]
    contract = registry.get("picky").contract
    assert isinstance(contract, NodeContract)
    assert contract.kind is NodeKind.EFFECT
    with pytest.raises(UnknownNode, match="did you mean 'picky'"):
        registry.get("piky")


def test_an_instance_answers_an_envelope() -> None:
    """A result and an error, without a bus."""
    runtime, *_ = _runtime()
    runtime.register_handler("local", LocalHandler())
    runtime.load_nodes(FOLDER, read=_read)
    instance = runtime.instance("picky")
    assert isinstance(instance, NodeInstance)

    async def scenario() -> None:
        command = _command(3)
        answer = await instance.handle(command)
        assert (answer.payload, answer.causation_id, answer.error) == ({"count": 3}, command.envelope_id, None)
        refused = await instance.handle(_command(10))
        assert refused.error == EnvelopeError(code="too_many", message="too many")
        off = await instance.handle(OnexEnvelope(**{**_fields(command), "payload": {"count": "three"}}))
        assert off.error is not None
        assert off.error.code == "payload_invalid"

    asyncio.run(scenario())


def _fields(envelope: OnexEnvelope) -> dict[str, object]:
    return {name: getattr(envelope, name) for name in envelope.__struct_fields__}


def test_a_runtime_serves_a_folder_of_contracts() -> None:
    """On the memory bus, from a command's bytes to its answer's."""
    runtime, bus, broker, host = _runtime()
    runtime.register_handler("local", LocalHandler())
    runtime.load_nodes(FOLDER, read=_read)
    names = host.namespace

    async def scenario() -> None:
        command = _command(4)
        await runtime.start()
        await bus.publish([Message(names.command("picky", 1), None, encode(command))])
        async with asyncio.timeout(5):
            while not broker.messages(names.event("picky", 1)):  # noqa: ASYNC110 - the memory bus tells nobody
                await asyncio.sleep(0.01)
        [answer] = broker.messages(names.event("picky", 1))
        assert decode(answer.value).causation_id == command.envelope_id
        await runtime.stop()

    asyncio.run(scenario())


def test_a_folder_needs_somebody_who_reads_it() -> None:
    """Core opens no file."""
    runtime, *_ = _runtime()
    with pytest.raises(TypeError, match="`read`"):
        runtime.load_nodes(Path("contracts"))
