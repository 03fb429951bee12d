"""Commands that pass through an http, a db, a vault and an llm node of one host, while each server has every trouble.

`FLOW_COMMANDS` makes it longer than it is in the ordinary suite.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from uuid import UUID

import psycopg
import pytest

from tests.support.db_member import db_member
from tests.support.flow import MODELS, STEPS, TROUBLED, Flow, flow_nodes
from tests.support.handlers import Member
from tests.support.hosts import Machine
from tests.support.http_member import http_member
from tests.support.llm_member import llm_member
from tests.support.llm_server import LlmServer
from tests.support.openbao import OpenBao
from tests.support.postgres import Postgres
from tests.support.traffic import Reader
from tests.support.vault_member import vault_member
from tests.support.wire import Wire

COMMANDS = int(os.environ.get("FLOW_COMMANDS", "1000"))
A_ROUND = 2000
"""How many commands there are, in a long run, for each time that every server has every trouble."""
FAULT_S = 0.6
CALM_S = 0.4
TIMEOUT_S = {"http": 1.0, "db": 1.0, "vault": 1.0, "llm": 2.0}
BREAKER = {"open_s": 0.2, "open_max_s": 0.5}
Faults = Sequence[tuple[str, str]]


@pytest.fixture
def members(postgres: Postgres, openbao: OpenBao, http_port: int) -> dict[str, Member]:
    """Return all servers but that of the model, with an empty table."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute("drop table if exists flow")
        connection.execute("create table flow (number int primary key)")
    return {"http": http_member(http_port), "db": db_member(postgres), "vault": vault_member(openbao)}


@pytest.mark.timeout(300 + COMMANDS / 10)
def test_every_command_of_a_flow_under_faults_has_its_answer_or_a_dead_letter(
    machine: Machine, members: dict[str, Member], llm_stand_in: LlmServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one in a hundred each, the model learns, is stubborn, unpaid or cut off; all other answers are their own."""
    random = Random(5)  # noqa: S311 - an order that can be had again
    every = [(step, fault) for step in STEPS for fault in ("away", "hang", "slow", "reset", "cut", "rubbish")]
    faults = [it for _ in range(max(1, COMMANDS // A_ROUND)) for it in random.sample(every, len(every))]
    flow = Flow(machine)
    members["llm"] = llm_member("openai", llm_stand_in.port)
    retries = asyncio.run(_run(machine, flow, members, COMMANDS, faults, TIMEOUT_S))
    with capsys.disabled():
        print(_told(flow, COMMANDS, faults, retries))
    _all_is_accounted_for(flow, members, COMMANDS)
    assert sum(retries.values()) > 0  # on a quiet machine, PostgreSQL's pool may ride out what it meets
    for n, payload in flow.done.items():
        assert payload["text"].strip() == ('```json\n{"n": 1}\n```' if TROUBLED.get(n % 100) else f"say {n}")
    assert flow.codes("llm", "stubborn")["output_invalid"] > 0
    assert flow.codes("llm", "broke")["quota_exhausted"] > 0
    assert flow.codes("llm", "cut")["protocol_error"] > 0


def test_every_command_of_a_flow_to_a_real_model_has_its_answer_or_a_dead_letter(
    machine: Machine, members: dict[str, Member], smollm_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fifty commands; each server is away, hangs and is cut off once."""
    faults = [(step, fault) for fault in ("away", "hang", "cut") for step in STEPS]
    flow = Flow(machine, model="smollm2")
    members["llm"] = llm_member("openai", smollm_port)
    retries = asyncio.run(_run(machine, flow, members, 50, faults, TIMEOUT_S | {"llm": 30.0}))
    with capsys.disabled():
        print(_told(flow, 50, faults, retries))
    _all_is_accounted_for(flow, members, 50)
    assert all(payload["text"] for payload in flow.done.values())


async def _run(
    machine: Machine,
    flow: Flow,
    members: Mapping[str, Member],
    commands: int,
    faults: Faults,
    timeout_s: Mapping[str, float],
) -> dict[str, int]:
    """Pass the commands on while the wires to the servers fail; gives how many calls each node made again."""
    async with AsyncExitStack() as stack:
        wires = {step: await stack.enter_async_context(Wire(members[step].port or 0).up()) for step in STEPS}
        targets = {step: dict(members[step].target(wires[step].port)) for step in STEPS}
        targets["llm"]["models"] = {model: {} for model in MODELS}
        bound = {step: {"targets": {"main": targets[step]}, "breaker": BREAKER} for step in STEPS}
        machine.write(flow_nodes(timeout_s), handlers=bound)
        host = machine.start()
        await asyncio.to_thread(host.until_ready, partitions=4 * len(STEPS))
        with Reader(machine.broker, flow.topics) as reader:
            torment = asyncio.create_task(_torment(wires, members, flow, commands, faults))
            within_s = 60 + 2 * len(faults) + commands / 20
            await asyncio.to_thread(reader.until, lambda them: flow.take(them) == commands, within_s=within_s)
            await torment
            nodes = (await asyncio.to_thread(host.health))["nodes"]
            assert await asyncio.to_thread(host.child.stop) == 0
            await asyncio.to_thread(reader.until_quiet)
            flow.take(reader.messages)
    return {step: nodes[step]["retries"] for step in STEPS}


async def _torment(
    wires: Mapping[str, Wire], members: Mapping[str, Member], flow: Flow, commands: int, faults: Faults
) -> None:
    """Begin a share of the commands with each fault, so that there is always something for it to meet."""
    for turn, (step, fault) in enumerate(faults):
        await asyncio.to_thread(flow.begin, range(turn, commands, len(faults)))
        rubbish = members[step].rubbish
        await _fail(wires[step], fault, rubbish[turn % len(rubbish)])
        await asyncio.sleep(CALM_S)


async def _fail(wire: Wire, fault: str, rubbish: bytes) -> None:
    match fault:
        case "away":
            await wire.away()
            await asyncio.sleep(FAULT_S)
            await wire.back()
        case "hang" | "slow":
            for _ in range(pieces := 1 if fault == "hang" else 5):
                wire.stall()
                await asyncio.sleep(FAULT_S / pieces)
                wire.flow()
                await asyncio.sleep(0.01)
        case "reset":
            for _ in range(5):
                await wire.reset()
                await asyncio.sleep(FAULT_S / 5)
        case "cut" | "rubbish":
            # Both are of new connections alone.
            wire.cut_after, wire.rubbish = (100, None) if fault == "cut" else (None, rubbish)
            await wire.reset()
            await asyncio.sleep(FAULT_S)
            wire.cut_after = wire.rubbish = None
            await wire.reset()


def _told(flow: Flow, commands: int, faults: Faults, retries: Mapping[str, int]) -> str:
    """Describe what came of the commands."""
    codes = ", ".join(
        f"{number:,} {step} {code}" for step in STEPS for code, number in sorted(flow.codes(step).items())
    )
    lost = commands - len(flow.done.keys() | flow.letters.keys())
    return (
        f"\n{commands:,} commands through {len(STEPS)} nodes, {len(faults)} faults: {len(flow.done):,} answered,"
        f" {len(flow.letters):,} dead letters ({codes}), {lost} lost, {flow.counts.total() - len(flow.counts)} repeats;"
        f" calls made again: {', '.join(f'{number:,} {step}' for step, number in retries.items())}"
    )


def _all_is_accounted_for(flow: Flow, members: Mapping[str, Member], commands: int) -> None:
    """See that each command ended in one way, that its dead letter says why, and that each insert is as it was told."""
    assert flow.done.keys() | flow.letters.keys() == set(range(commands))
    assert not flow.done.keys() & flow.letters.keys()
    assert flow.failed.keys() == flow.letters.keys()
    for n, payload in flow.done.items():
        assert (payload["number"], payload["secret"]) == (n, n % 100)
    for n, (step, facts) in flow.letters.items():
        failed_at, error = flow.failed[n]
        assert (step, facts["node"], facts["code"]) == (failed_at, STEPS[step], error.code)
        assert len(facts["message"]) > len(facts["code"])
        assert int(facts["attempts"]) == 5 if error.retryable else int(facts["attempts"]) >= 1
    with psycopg.connect(f"postgresql://postgres@127.0.0.1:{members['db'].port}/postgres") as connection:
        there = {number for (number,) in connection.execute("select number from flow").fetchall()}
    unknown = {n for n, (_, facts) in flow.letters.items() if facts["code"] == "commit_unknown"}
    stored = {n for n in range(commands) if UUID(int=n * len(STEPS) + STEPS.index("vault")) in flow.counts}
    # Whoever came as far as the vault was stored; and nothing else was but what nobody could know of.
    assert stored <= there <= stored | unknown
