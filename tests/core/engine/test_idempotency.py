"""One effect a key, in the running engine and in virtual time: duplicates, crashes, redrives, a store that is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.codec import decode
from omnibase_core.dead_letters import REDRIVE
from omnibase_core.engine.idempotency import store_key
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import CommandFailed, HandlerError, InvalidContracts, StoreFailed, StoreMissing
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.idempotency_store import Granted, Recorded, Taken
from omnibase_core.testing import MemoryBroker, MemoryStore
from omnibase_core.testing.virtual_time import VirtualClock
from tests.support.commands import host, node, registry
from tests.support.stage import RETRIES, Stage, on_stage, play

BY_ORDER = 'key: "${ payload.order }"'
OPERATIONS = """
  do:
    input: {type: object, required: [order]}
    request: "${ payload }"
    errors:
      - {when: "${ result.said == 'declined' }", code: declined, message: no money}
      - {when: "${ result.said == 'busy' }", code: busy, retryable: true}
    answer: {said: "${ result.said }", "n": "${ result.n }"}
"""
SCOPE = "dev/test/pay/v1"

Pay = Callable[[dict[str, Any]], Awaitable[str]]


class Shaky:
    """A store that a test can take away: for good, after a claim, or for one kind of question."""

    def __init__(self) -> None:
        """Be there."""
        self.inner = MemoryStore(VirtualClock().monotonic_s)
        self.away: set[str] = set()
        self.hangs_after_record = False
        self.asked: list[str] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.away:
            raise StoreFailed("as told")

    async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
        """Claim, if there."""
        self._ask("claim")
        return await self.inner.claim(key, owner=owner, lease_s=lease_s)

    async def record(self, key: str, /, *, owner: str, answer: bytes, window_s: float) -> bool:
        """Record, if there."""
        self._ask("record")
        done = await self.inner.record(key, owner=owner, answer=answer, window_s=window_s)
        if self.hangs_after_record:
            await asyncio.sleep(100_000)
        return done

    async def release(self, key: str, /, *, token: int) -> None:
        """Release, if there."""
        self._ask("release")
        await self.inner.release(key, token=token)


class Shop(Stage):
    """A host with the node `pay`, whose handler says a word about each order."""

    def __init__(self, behaviour: Pay, broker: MemoryBroker | None = None, store: Shaky | None = None) -> None:
        """Keep what the handler says."""

        async def pay(request: dict[str, Any]) -> Mapping[str, Any]:
            return {"said": await behaviour(request), "n": request["n"]}

        self.store = store or Shaky()
        super().__init__(pay, broker, self.store)

    def order(self, n: int, order: Any = "o", *, key: bytes | None = None, **changes: Any) -> UUID:
        """Publish a command; by default each has a key of its own, so that none waits in another's lane."""
        return self.publish("pay", {"order": order, "n": n}, key=key or b"%d" % n, **changes)

    @property
    def begun(self) -> list[Any]:
        """The commands whose effects were begun."""
        return [n for _, n in self.asked]

    @property
    def replies(self) -> list[OnexEnvelope]:
        """The node's answers."""
        return self.answers("pay")

    @property
    def said(self) -> list[Any]:
        """What the answers say: which command's effect they tell of, or which error."""
        return sorted((it.error.code if it.error else it.payload["n"] for it in self.replies), key=str)

    @property
    def figures(self) -> Any:
        """What the node has done."""
        return self.runtime.figures["pay"]


def contract(idempotency: str, *, delivery: str = "{}", handler: str = "scripted") -> str:
    """Write the contract of the node `pay`."""
    written = node("pay", operations=OPERATIONS, delivery=delivery, handler=handler)
    return f"{written}idempotency: {{{idempotency}}}\n"


def host_text(*, limits: str = "{}", more: str = "idempotency: {store: memory}") -> str:
    """Write the contract of its host."""
    return f"{host('pay', limits=limits)}{more}\n"


@asynccontextmanager
async def running(
    behaviour: Pay,
    *,
    idempotency: str = BY_ORDER,
    delivery: str = "{}",
    limits: str = "{}",
    broker: MemoryBroker | None = None,
    store: Shaky | None = None,
) -> AsyncIterator[Shop]:
    """Run a host with the node."""
    files = {"pay.yaml": contract(idempotency, delivery=delivery), "host.yaml": host_text(limits=limits)}
    async with on_stage(Shop(behaviour, broker, store), registry(files).hosts["test-host"]) as shop:
        yield shop


def taking(seconds: float, said: str = "paid") -> Pay:
    """Take a while, and say something."""

    async def behave(_: dict[str, Any]) -> str:
        await asyncio.sleep(seconds)
        return said

    return behave


# --- Duplicates ---------------------------------------------------------------------------------------------------


def test_a_command_whose_key_was_served_gets_the_recorded_answer() -> None:
    """As an answer to itself: of its own id, correlation and cause. The effect is the first one's alone."""

    async def scenario() -> None:
        async with running(taking(1)) as stage:
            first = stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            second = stage.order(2, operation="do", metadata={"mine": 2})
            await stage.until(lambda: stage.committed() == 2)
            by_cause = {it.causation_id: it for it in stage.replies}
            assert set(by_cause) == {first, second}
            assert by_cause[first].payload == by_cause[second].payload == {"said": "paid", "n": 1}
            assert by_cause[second].correlation_id == second
            assert by_cause[second].metadata == {"mine": 2}
            assert by_cause[second].envelope_id != by_cause[first].envelope_id
            assert stage.effects == [1]
            assert (stage.figures.replays, stage.figures.answers, stage.figures.commands) == (1, 2, 2)

    play(scenario)


def test_a_duplicate_waits_while_the_first_is_served() -> None:
    """In a lane of its own; other keys do not wait."""

    async def scenario() -> None:
        async with running(taking(20)) as stage:
            for n in range(4):
                stage.order(n)
            stage.order(9, "another")
            await stage.until(lambda: len(stage.begun) == 2)
            await stage.until(lambda: stage.committed() == 5)
            assert len(stage.effects) == 2
            assert asyncio.get_running_loop().time() < 25
            assert len(set(stage.said)) == 2

    play(scenario)


def test_without_a_key_a_command_that_is_sent_twice_has_one_effect() -> None:
    """Its id is the key; both answers have the same id, so that a consumer discards one."""

    async def scenario() -> None:
        async with running(taking(5), idempotency="") as stage:
            twice = uuid4()
            stage.order(1, envelope_id=twice, key=b"a")
            stage.order(1, envelope_id=twice, key=b"b")
            stage.order(2, key=b"c")
            await stage.until(lambda: stage.committed() == 3)
            assert sorted(stage.effects) == [1, 2]
            assert len(stage.replies) == 3
            assert len({it.envelope_id for it in stage.replies}) == 2

    play(scenario)


def test_a_key_is_served_anew_when_its_window_is_over() -> None:
    """The window begins when the answer is recorded."""

    async def scenario() -> None:
        async with running(taking(5), idempotency=f"{BY_ORDER}, window_s: 60") as stage:
            stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            await asyncio.sleep(58)
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            await asyncio.sleep(3)
            stage.order(3)
            await stage.until(lambda: stage.committed() == 3)
            assert stage.said == [1, 1, 3]

    play(scenario)


def test_operations_have_keys_of_their_own() -> None:
    """To refund an order is not to pay it."""
    assert store_key(SCOPE, "pay", "o") != store_key(SCOPE, "refund", "o")


@given(st.text(min_size=1) | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_stored_key_is_short_and_equal_for_equal_values(value: str | float) -> None:
    """Whatever a sender writes: no text of its own stands in it."""
    found = store_key(SCOPE, "do", value)
    assert found == store_key(SCOPE, "do", value)
    assert found.startswith(f"{SCOPE}/do/")
    assert len(found) == len(f"{SCOPE}/do/") + 64


def test_equal_numbers_are_one_key_and_digits_are_another() -> None:
    """JSON writes one number in many ways; text is text."""
    assert store_key(SCOPE, "do", 1) == store_key(SCOPE, "do", 1.0)
    assert store_key(SCOPE, "do", 1) != store_key(SCOPE, "do", "1")


@pytest.mark.parametrize("value", [None, True, "", [], {}])
def test_what_is_neither_text_nor_number_is_no_key(value: Any) -> None:
    """All commands without an order would be one."""
    with pytest.raises(CommandFailed, match="expected text or a number"):
        store_key(SCOPE, "do", value)


def test_a_command_without_a_usable_key_has_no_effect() -> None:
    """It gets an error answer and a dead letter, and its neighbours are served."""

    async def scenario() -> None:
        async with running(taking(1)) as stage:
            stage.order(1, None)
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            assert stage.said == [2, "idempotency_key_invalid"]
            assert len(stage.letters) == 1
            assert stage.effects == [2]

    play(scenario)


# --- What is recorded ---------------------------------------------------------------------------------------------


def test_an_error_that_the_contract_declares_is_recorded() -> None:
    """The card was asked, and said no: it is not asked again."""

    async def scenario() -> None:
        async with running(taking(1, "declined")) as stage:
            stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            assert stage.said == ["declined", "declined"]
            assert {it.error.message for it in stage.replies if it.error} == {"no money"}
            assert stage.effects == [1]
            assert stage.letters == []

    play(scenario)


def test_what_is_also_a_dead_letter_is_not_recorded_and_a_redrive_runs() -> None:
    """So does another command of the key; once one has succeeded, it is recorded."""

    async def scenario() -> None:
        broken = True

        async def behave(_: dict[str, Any]) -> str:
            if broken:
                raise HandlerError("no_such_account", "not yet")
            return "paid"

        async with running(behave) as stage:
            sent = stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            assert len(stage.letters) == 1
            assert len(stage.store.inner) == 0
            broken = False
            stage.order(1, envelope_id=sent, headers=[(REDRIVE, b"1")])
            await stage.until(lambda: stage.committed() == 2)
            stage.order(2)
            await stage.until(lambda: stage.committed() == 3)
            assert stage.said == [1, 1, "no_such_account"]
            assert stage.effects == [1]

    play(scenario)


def test_a_command_that_is_rejected_claims_nothing() -> None:
    """It has no effect, so that whoever does it right is served."""

    async def scenario() -> None:
        async with running(taking(1)) as stage:
            stage.order(1, operation="dance")
            await stage.until(lambda: stage.committed() == 1)
            assert stage.store.asked == []
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            assert stage.said == [2, "unknown_operation"]

    play(scenario)


def test_a_claim_is_held_while_a_command_is_tried_again() -> None:
    """What it did before it failed is not known: another command of the key waits for how it ends."""

    async def scenario() -> None:
        left = 3

        async def behave(_: dict[str, Any]) -> str:
            nonlocal left
            left -= 1
            if left > 0:
                raise HandlerError("down", "as told", retryable=True)
            return "paid" if left == 0 else "twice"

        async with running(behave, delivery="{retry: {attempts: 5, initial_s: 30, max_s: 30, jitter: 0}}") as stage:
            stage.order(1)
            await stage.until(lambda: len(stage.begun) == 1)
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            assert stage.begun == [1, 1, 1]
            assert stage.said == [1, 1]

    play(scenario)


def test_a_command_that_is_put_aside_holds_up_no_other_of_its_key() -> None:
    """Another one is tried meanwhile; when the first comes back by the retry topic, it finds that one's answer."""

    async def behave(request: dict[str, Any]) -> str:
        if request["n"] == 1:
            raise HandlerError("down", "as told", retryable=True)
        return "paid"

    async def scenario() -> None:
        delivery = "{on_retry: overtake, retry: {attempts: 9, initial_s: 10, max_s: 10, jitter: 0}}"
        async with running(behave, delivery=delivery) as stage:
            stage.order(1)
            await stage.until(lambda: stage.broker.messages(RETRIES) != [])
            assert len(stage.store.inner) == 0
            stage.order(2)
            await stage.until(lambda: len(stage.replies) == 1)
            assert asyncio.get_running_loop().time() < 5
            await stage.until(lambda: len(stage.replies) == 2)
            assert stage.begun == [1, 2]
            assert stage.said == [2, 2]

    play(scenario)


def test_a_recorded_answer_that_does_not_fit_the_new_one_is_said_to_be_too_large() -> None:
    """Metadata of the second command count too; it is no second effect."""

    async def scenario() -> None:
        async with running(taking(1, "x" * 1000), broker=MemoryBroker(message_bytes_max=2000)) as stage:
            stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            stage.order(2, metadata={"long": "x" * 800})
            await stage.until(lambda: stage.committed() == 2)
            assert stage.said == [1, "answer_too_large"]
            assert stage.effects == [1]

    play(scenario)


def test_a_record_that_cannot_be_read_is_no_reason_for_a_second_effect() -> None:
    """A host of a later version may have written it: the command is dead-lettered, for a redrive."""

    async def scenario() -> None:
        async with running(taking(1)) as stage:
            await stage.store.inner.record(store_key(SCOPE, "do", "o"), owner="x", answer=b"{", window_s=100)
            stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            assert stage.said == ["recorded_answer_unreadable"]
            assert len(stage.letters) == 1
            assert stage.begun == []

    play(scenario)


# --- Crashes ------------------------------------------------------------------------------------------------------


def test_a_command_whose_host_died_amid_its_effect_is_served_again_at_once() -> None:
    """Its own claim does not hold it up; cancelling has neither recorded nor released anything."""

    async def scenario() -> None:
        broker, store = MemoryBroker(), Shaky()
        async with running(taking(50), limits="{drain_s: 0}", broker=broker, store=store) as first:
            first.order(1)
            await first.until(lambda: first.begun == [1])
        assert store.asked == ["claim"]
        assert len(store.inner) == 1
        began_s = asyncio.get_running_loop().time()
        async with running(taking(1), broker=broker, store=store) as second:
            await second.until(lambda: second.committed() == 1)
            assert asyncio.get_running_loop().time() - began_s < 3
            assert second.said == [1]

    play(scenario)


def test_an_answer_that_was_recorded_and_not_published_is_published_later_with_its_id() -> None:
    """A crash between the two repeats nothing; nor does it when the command has expired meanwhile."""

    async def scenario() -> None:
        broker, store = MemoryBroker(), Shaky()
        expires_at = VirtualClock().now() + timedelta(seconds=60)
        async with running(taking(1), limits="{drain_s: 0}", broker=broker, store=store) as first:
            store.hangs_after_record = True
            sent = first.order(1, expires_at=expires_at)
            await first.until(lambda: "record" in store.asked)
            await asyncio.sleep(1)
        assert first.replies == []
        store.hangs_after_record = False
        await asyncio.sleep(100)
        async with running(taking(1), broker=broker, store=store) as second:
            await second.until(lambda: second.committed() == 1)
            [answer] = second.replies
            recorded = await store.inner.claim(store_key(SCOPE, "do", "o"), owner="x", lease_s=1)
            assert isinstance(recorded, Recorded)
            assert answer.payload == {"said": "paid", "n": 1}
            assert answer.envelope_id == decode(recorded.answer).envelope_id
            assert answer.causation_id == sent
            assert second.begun == []

    play(scenario)


def test_a_command_that_expired_unserved_is_rejected_and_leaves_its_key_free() -> None:
    """Nothing is recorded of it."""

    async def scenario() -> None:
        async with running(taking(1)) as stage:
            stage.order(1, expires_at=VirtualClock().now() - timedelta(seconds=1))
            await stage.until(lambda: stage.committed() == 1)
            assert len(stage.store.inner) == 0
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            assert stage.said == [2, "expired"]

    play(scenario)


def test_a_claim_whose_command_never_comes_back_is_taken_over_after_its_lease() -> None:
    """The lease is the command's deadline and half a minute."""

    async def scenario() -> None:
        async with running(taking(1), delivery="{deadline_s: 100}") as stage:
            await stage.store.inner.claim(store_key(SCOPE, "do", "o"), owner="gone", lease_s=130)
            stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            assert 130 <= asyncio.get_running_loop().time() < 135
            assert stage.effects == [1]

    play(scenario)


def test_one_whose_claim_was_taken_over_says_so_and_leaves_the_record_alone() -> None:
    """Its answer is true, and goes out; what is recorded is the other's."""

    async def scenario() -> None:
        key = store_key(SCOPE, "do", "o")

        async with running(taking(100), delivery="{timeout_s: 200}") as stage:
            stage.order(1)
            await stage.until(lambda: stage.begun == [1])
            inner = stage.store.inner
            claimed = await inner.claim(key, owner=_owner_of(inner, key), lease_s=0)
            assert isinstance(claimed, Granted)
            await inner.claim(key, owner="another", lease_s=1000)
            await inner.record(key, owner="another", answer=b"theirs", window_s=1000)
            await stage.until(lambda: stage.committed() == 1)
            assert stage.said == [1]
            assert len(stage.observer.named("idempotency_claim_lost")) == 1
            assert await inner.claim(key, owner="x", lease_s=1) == Recorded(b"theirs")

    play(scenario)


def _owner_of(store: MemoryStore, key: str) -> str:
    return store._entries[key].owner  # noqa: SLF001 - the port has no need to tell


# --- The store is away --------------------------------------------------------------------------------------------


def test_while_the_store_is_away_commands_wait() -> None:
    """No effect, no dead letter, and the breaker spares the store; when it is back, all are served."""

    async def scenario() -> None:
        store = Shaky()
        store.away = {"claim"}
        async with running(taking(1), store=store) as stage:
            for n in range(20):
                stage.order(n, f"o{n}")
            await asyncio.sleep(3600)
            assert (stage.begun, stage.replies, stage.letters) == ([], [], [])
            assert stage.runtime.breakers["idempotency.memory"] != "closed"
            assert len(store.asked) < 200
            assert stage.figures.degraded.startswith("idempotency_store_failed")
            assert stage.observer.named("idempotency_waits")
            store.away.clear()
            await stage.until(lambda: stage.committed() == 20)
            assert len(stage.effects) == 20
            assert stage.figures.unprotected == 0
            assert stage.figures.degraded is None

    play(scenario)


def test_with_open_commands_are_served_unprotected_and_that_is_told() -> None:
    """By an event and a figure; nothing of them is recorded."""

    async def scenario() -> None:
        store = Shaky()
        store.away = {"claim", "record", "release"}
        async with running(taking(1), idempotency=f"{BY_ORDER}, on_store_failure: open", store=store) as stage:
            for n in range(9):
                stage.order(n)
            await stage.until(lambda: stage.committed() == 9)
            assert sorted(stage.effects) == list(range(9))
            assert stage.figures.unprotected == 9
            assert stage.observer.named("idempotency_waits")
            assert "record" not in store.asked

    play(scenario)


def test_an_effect_whose_record_finds_the_store_away_is_not_repeated() -> None:
    """Its answer waits, until it is recorded."""

    async def scenario() -> None:
        store = Shaky()
        store.away = {"record"}
        async with running(taking(1), store=store) as stage:
            stage.order(1)
            await asyncio.sleep(1000)
            assert (stage.effects, stage.replies) == ([1], [])
            store.away.clear()
            await stage.until(lambda: stage.committed() == 1)
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            assert (stage.effects, stage.said) == ([1], [1, 1])

    play(scenario)


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_an_answer_that_cannot_be_recorded_is_published_in_the_end(policy: str) -> None:
    """At once with open; with closed when the partition leaves, for the next owner would do it all again."""

    async def scenario() -> None:
        store = Shaky()
        store.away = {"record"}
        async with running(taking(1), idempotency=f"{BY_ORDER}, on_store_failure: {policy}", store=store) as stage:
            stage.order(1)
            await asyncio.sleep(100)
            assert len(stage.replies) == (policy == "open")
        assert (stage.effects, stage.said, stage.committed()) == ([1], [1], 1)
        assert stage.figures.unprotected == 1
        assert stage.observer.named("answer_not_recorded")

    play(scenario)


def test_a_store_with_a_bug_is_a_store_that_is_away() -> None:
    """It ends neither the host nor its nodes."""

    class Broken(Shaky):
        async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
            if len(self.asked) < 3:
                self.asked.append("claim")
                raise ZeroDivisionError
            return await super().claim(key, owner=owner, lease_s=lease_s)

    async def scenario() -> None:
        async with running(taking(1), store=Broken()) as stage:
            stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            assert stage.said == [1]

    play(scenario)


def test_a_host_stops_at_once_while_commands_wait_for_the_store() -> None:
    """What waits is left to the next owner."""

    async def scenario() -> None:
        store = Shaky()
        store.away = {"claim"}
        async with running(taking(1), store=store) as stage:
            stage.order(1)
            await asyncio.sleep(100)
            began_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began_s < 1
        assert stage.committed() == 0

    play(scenario)


# --- Nodes and hosts ----------------------------------------------------------------------------------------------


def test_a_node_that_is_served_inline_goes_through_lanes_and_keeps_its_promise() -> None:
    """As `local` does: its answer is at hand, but the store has to be asked."""

    async def scenario() -> None:
        operations = (
            '{echo: {input: {type: object}, request: {message: "${ payload }"}, answer: "${ result.message }"}}'
        )
        text = node("pay", handler="local", operations=operations) + f"idempotency: {{{BY_ORDER}}}\n"
        loaded = registry({"pay.yaml": text, "host.yaml": host_text()}).hosts["test-host"]
        async with on_stage(Shop(taking(0)), loaded, local=LocalHandler()) as stage:
            stage.order(1)
            await stage.until(lambda: stage.committed() == 1)
            stage.order(2)
            await stage.until(lambda: stage.committed() == 2)
            assert stage.said == [1, 1]

    play(scenario)


def _problems(pay: str, host_contract: str | None = None) -> list[str]:
    with pytest.raises(InvalidContracts) as raised:
        registry({"pay.yaml": pay, "host.yaml": host_contract or host_text()})
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("key: order", "found 'order', expected an expression: write ${ order }"),
        ('key: "${ payloat.order }"', "expression: 'payloat' is not known here; did you mean 'payload'?"),
        ('key: "${ result.n }"', "is the same for every command; read one of: payload, metadata, envelope"),
        ("key: \"${ 'a' }\"", "the key \"${ 'a' }\" is the same for every command"),
        ("window_s: 0", "found 0, expected a number above 0"),
        ("window_s: 1 day", "found '1 day', expected a number"),
        ("on_store_failure: closd", "found 'closd', expected 'closed' or 'open'; did you mean 'closed'?"),
        ("ttl_s: 4", "unknown key 'ttl_s'"),
    ],
)
def test_a_fault_in_the_contract_is_told_with_its_place(written: str, problem: str) -> None:
    """And with what to write instead."""
    found = _problems(contract(written))
    assert any(problem in it and it.startswith("pay.yaml:") for it in found), found


def test_a_compute_node_has_no_effect_to_protect() -> None:
    """It gives the same answer each time; the key is refused with its place."""
    text = """
contract: node/v1
name: pay
kind: compute
version: 1.0.0
description: A node of a test.
operations: {do: {input: {}, answer: {}}}
idempotency: {}
"""
    assert _problems(text) == ["pay.yaml:8:1: a compute node has no effect that could happen twice; remove it"]


def test_a_host_without_a_store_is_told_what_to_write() -> None:
    """At the node that needs one."""
    [found] = _problems(contract(BY_ORDER), host_text(more=""))
    assert found == (
        "host.yaml:9:9: node 'pay' has idempotency, and this host has no store for its answers; "
        "write idempotency: {store: ...} with one of: memory"
    )


def test_a_store_that_is_not_known_is_refused() -> None:
    """With the nearest that is."""
    [found] = _problems(contract(BY_ORDER), host_text(more="idempotency: {store: memroy}"))
    assert found.endswith("store 'memroy' is not known; did you mean 'memory'?")


def test_the_engine_takes_no_node_whose_store_is_not_registered() -> None:
    """Whoever composes a host hears so before it starts."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        return request

    async def scenario() -> None:
        loaded = registry({"pay.yaml": contract(BY_ORDER), "host.yaml": host_text()}).hosts["test-host"]
        with pytest.raises(StoreMissing, match="'pay'"):
            Stage(behave).host(loaded)

    play(scenario)


def test_a_store_in_memory_that_is_full_refuses_rather_than_forgets() -> None:
    """Until some of its keys are over."""

    async def scenario() -> None:
        told: list[str] = []
        store = MemoryStore(VirtualClock().monotonic_s, bytes_max=1000, full=told.append)
        for key in ("a", "b"):
            assert isinstance(await store.claim(key, owner="x", lease_s=10), Granted)
        for _ in range(2):
            with pytest.raises(StoreFailed, match="full: 2 keys"):
                await store.claim("c", owner="x", lease_s=10)
        assert store.used >= 1
        assert len(told) == 1
        assert isinstance(await store.claim("b", owner="x", lease_s=20), Granted)
        await asyncio.sleep(11)
        assert isinstance(await store.claim("c", owner="x", lease_s=10), Granted)
        assert len(store) == 2
        assert await store.record("b", owner="x", answer=b"x" * 1000, window_s=10)
        with pytest.raises(StoreFailed, match="full"):
            await store.claim("d", owner="x", lease_s=10)
        assert len(told) == 2
        await asyncio.sleep(11)
        assert isinstance(await store.claim("d", owner="x", lease_s=10), Granted)
        assert 0 < store.used < 1
        held_bytes = store.size_bytes
        await store.release("d", token=4711)
        assert store.size_bytes == held_bytes

    play(scenario)
