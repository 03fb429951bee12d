"""Retries, deadlines and breakers in the running engine, in virtual time: hours pass in a moment, and exactly."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from omnibase_core.codec import decode
from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.errors import HandlerError, TargetBusy
from omnibase_core.handlers.compute import ComputeHandler
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.testing import MemoryBroker
from omnibase_core.testing.virtual_time import VirtualClock
from tests.support.commands import ECHO, command, host, node, registry
from tests.support.stage import COMMANDS, EVENTS, LETTERS, RETRIES, Behaviour, Stage, on_stage, play

T = TypeVar("T")

A_BATCH = 100


@asynccontextmanager
async def running(
    behaviour: Behaviour,
    *,
    handlers: str = "{}",
    limits: str = "{}",
    broker: MemoryBroker | None = None,
    **nodes: str,
) -> AsyncIterator[Stage]:
    """Run a host with nodes of these deliveries."""
    texts = {f"{slug}.yaml": node(slug, delivery=delivery) for slug, delivery in nodes.items()}
    loaded = registry({**texts, "host.yaml": f"{host(*nodes, limits=limits)}handlers: {handlers}\n"}).hosts["test-host"]
    async with on_stage(Stage(behaviour, broker), loaded) as stage:
        yield stage


def failing(times: int, code: str = "down", *, retryable: bool = True, retry_after_s: float | None = None) -> Behaviour:
    """Fail this often, and answer from then on."""
    left = times

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        nonlocal left
        if left:
            left -= 1
            raise HandlerError(code, "as told", retryable=retryable, retry_after_s=retry_after_s)
        return request

    return behave


EXACT = "retry: {attempts: 4, initial_s: 1, max_s: 5, multiplier: 3, jitter: 0}"


def test_a_retryable_failure_is_tried_again_with_growing_waits() -> None:
    """The waits are those of the contract; in the end there is one answer and no dead letter."""

    async def scenario() -> None:
        async with running(failing(3), a=f"{{{EXACT}}}") as stage:
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
            moments = [moment for moment, _ in stage.asked]
            assert [round(later - sooner, 6) for sooner, later in pairwise(moments)] == [1, 3, 5]
            assert [it.payload for it in stage.answers("a")] == [{"n": 1}]
            assert stage.letters == []
            figures = stage.runtime.figures["a"]
            assert (figures.commands, figures.retries, figures.answers, figures.degraded) == (1, 3, 1, None)

    play(scenario)


def test_after_its_attempts_a_command_gets_its_error_answer_and_its_dead_letter() -> None:
    """Both say why, and how often it was tried."""

    async def scenario() -> None:
        async with running(failing(9), a=f"{{{EXACT}}}") as stage:
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
            [answer] = stage.answers("a")
            assert (answer.error.code, answer.error.retryable) == ("down", True)
            [letter] = stage.letters
            assert dict(letter.headers)["onex-dlq-attempts"] == b"4"
            assert len(stage.asked) == 4

    play(scenario)


@pytest.mark.parametrize(
    ("retry", "code", "retryable", "attempts"),
    [
        ("attempts: 3", "down", True, 3),
        ("attempts: 3", "down", False, 1),
        ("attempts: 1", "down", True, 1),
        ("attempts: 3, codes: [busy]", "busy", False, 3),
        ("attempts: 3, codes: [busy]", "down", True, 1),
    ],
)
def test_the_contract_says_which_failures_are_tried_again(
    retry: str,
    code: str,
    retryable: bool,  # noqa: FBT001 - a case
    attempts: int,
) -> None:
    """By its codes, or by what the handler says."""

    async def scenario() -> None:
        behaviour = failing(9, code, retryable=retryable)
        async with running(
            behaviour, a=f"{{retry: {{{retry}}}}}", handlers="{scripted: {breaker: {failures: 99}}}"
        ) as stage:
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
            assert len(stage.asked) == attempts

    play(scenario)


def test_a_wait_holds_back_its_own_lane_alone() -> None:
    """While one key waits for its next attempt, others are served; the order of the key is kept."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0 and asyncio.get_running_loop().time() < 100:
            raise HandlerError("down", "until 100 s", retryable=True)
        return request

    async def scenario() -> None:
        delivery = "{max_in_flight: 8, retry: {attempts: 33, initial_s: 9, max_s: 9, jitter: 0}}"
        async with running(behave, a=delivery, handlers="{scripted: {breaker: {failures: 99}}}") as stage:
            stage.send("a", 0, b"stuck")
            await stage.until(lambda: len(stage.asked) == 1)
            stage.send("a", 1, b"stuck")
            stage.send("a", 2, b"free")
            await stage.until(lambda: len(stage.answers("a")) == 1)
            assert asyncio.get_running_loop().time() < 20
            await stage.until(lambda: stage.committed() == 3)
            order = [it.payload["n"] for it in stage.answers("a") if it.payload["n"] < 2]
            assert order == [0, 1]

    play(scenario)


def test_what_the_other_side_asks_for_is_heeded_up_to_the_longest_wait() -> None:
    """`Retry-After` makes a wait longer, and the contract bounds it."""

    async def scenario(asked_s: float, waited_s: float) -> None:
        async with running(failing(1, retry_after_s=asked_s), a=f"{{{EXACT}}}") as stage:
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
            assert round(stage.asked[1][0] - stage.asked[0][0], 6) == waited_s

    play(lambda: scenario(4, 4))
    play(lambda: scenario(600, 5))
    play(lambda: scenario(0.1, 1))


def test_a_deadline_ends_the_attempts_before_their_number_does() -> None:
    """All attempts and waits together: what would end later is not begun."""

    async def scenario() -> None:
        delivery = "{timeout_s: 9, deadline_s: 10, retry: {attempts: 50, initial_s: 0.1, multiplier: 1, jitter: 0}}"
        failing_slowly = failing(999, retry_after_s=3)
        async with running(failing_slowly, a=delivery, handlers="{scripted: {breaker: {failures: 999}}}") as stage:
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
            assert len(stage.asked) == 4

    play(scenario)


def test_a_partition_that_leaves_ends_the_wait_and_nothing_is_committed() -> None:
    """A retry never outlives the ownership of its partition; the next owner does the work."""

    async def scenario() -> None:
        broker = MemoryBroker()
        delivery = "{deadline_s: 9000, retry: {attempts: 4, initial_s: 3000, max_s: 3000}}"
        async with running(failing(9), broker=broker, a=delivery) as first:
            first.send("a", 1)
            await first.until(lambda: len(first.asked) == 1)
            began_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began_s < 1
        assert first.committed() == 0
        async with running(failing(0), broker=broker, a=delivery) as second:
            await second.until(lambda: second.committed() == 1)
            assert [it.payload for it in second.answers("a")] == [{"n": 1}]
        assert len(first.asked) == 1

    play(scenario)


def test_an_open_breaker_lets_commands_wait_and_none_fail() -> None:
    """While a target is away it is hardly asked, no dead letter is written, and all are answered when it is back."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if asyncio.get_running_loop().time() < 600:
            raise HandlerError("down", "until 600 s", retryable=True)
        return request

    async def scenario() -> None:
        delivery = "{max_in_flight: 8, deadline_s: 1000, retry: {attempts: 20, initial_s: 1, max_s: 1}}"
        breaker = "{scripted: {breaker: {failures: 3, open_s: 5, open_max_s: 60}}}"
        async with running(behave, a=delivery, handlers=breaker) as stage:
            for n in range(40):
                stage.send("a", n, b"%d" % n)
            await stage.until(lambda: stage.committed() == 40)
            asked_in_vain = sum(moment < 600 for moment, _ in stage.asked)
            assert asked_in_vain < 30
            assert sorted(it.payload["n"] for it in stage.answers("a")) == list(range(40))
            assert stage.letters == []
            assert asyncio.get_running_loop().time() < 700

    play(scenario)


def busy(times: int, *, retry_after_s: float | None = None, then: Behaviour) -> Behaviour:
    """Let this often nothing through, as limits of the host do."""
    left = times

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        nonlocal left
        if left:
            left -= 1
            raise TargetBusy("as told", retry_after_s=retry_after_s)
        return await then(request)

    return behave


def test_a_call_that_had_no_turn_is_no_attempt() -> None:
    """Its command waits for as long as it takes, past attempts and deadline, and its breaker hears nothing of it."""

    async def scenario() -> None:
        delivery = "{deadline_s: 30, retry: {attempts: 2, initial_s: 1, jitter: 0}}"
        behaviour = busy(50, retry_after_s=7, then=failing(1))
        async with running(behaviour, a=delivery, handlers="{scripted: {breaker: {failures: 2}}}") as stage:
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
            moments = [moment for moment, _ in stage.asked]
            assert [round(later - sooner, 6) for sooner, later in pairwise(moments)] == [7] * 50 + [1]
            assert [it.payload for it in stage.answers("a")] == [{"n": 1}]
            assert stage.runtime.figures["a"].retries == 1
            assert stage.runtime.breakers == {"scripted": "closed"}

    play(scenario)


def test_a_call_that_had_no_turn_gives_its_probe_back() -> None:
    """A breaker that lets one call through does not wait for ever for one that asked nothing."""

    async def scenario() -> None:
        delivery = "{retry: {attempts: 9, initial_s: 1, jitter: 0}}"
        breaker = "{scripted: {breaker: {failures: 1, open_s: 5}}}"

        calls = 0

        async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
            nonlocal calls
            calls += 1
            match calls:
                case 1:
                    raise HandlerError("down", "as told", retryable=True)
                case 2 | 3:
                    raise TargetBusy("as told")
            return request

        async with running(behave, a=delivery, handlers=breaker) as stage:
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 1)
            moments = [round(moment - stage.asked[0][0], 6) for moment, _ in stage.asked]
            assert moments == [0, 5, 5.05, 5.1]
            assert stage.runtime.breakers == {"scripted": "closed"}

    play(scenario)


def test_a_host_that_stops_does_not_wait_for_a_turn() -> None:
    """The command is left to the next host, uncommitted and unanswered."""

    async def scenario() -> None:
        async with running(busy(10**6, retry_after_s=500, then=failing(0)), a="{}") as stage:
            stage.send("a", 1)
            await stage.until(lambda: len(stage.asked) == 1)
            began_s = asyncio.get_running_loop().time()
            await stage.runtime.stop()
            assert asyncio.get_running_loop().time() - began_s < 1
            assert (stage.committed(), stage.answers("a"), stage.broker.messages(LETTERS)) == (0, [], [])

    play(scenario)


def test_a_breaker_is_shared_by_the_nodes_of_one_target_and_by_no_others() -> None:
    """A handler without targets is one target; a slow neighbour on the same one waits too."""

    async def scenario() -> None:
        delivery = "{retry: {attempts: 1}}"
        async with running(
            failing(3), a=delivery, b=delivery, handlers="{scripted: {breaker: {failures: 3, open_s: 50}}}"
        ) as stage:
            for n in range(3):
                stage.send("a", n, b"%d" % n)
            await stage.until(lambda: stage.committed() == 3)
            assert stage.runtime.breakers == {"scripted": "open"}
            opened_s = asyncio.get_running_loop().time()
            stage.send("b", 1)
            await stage.until(lambda: stage.committed() == 4)
            assert asyncio.get_running_loop().time() - opened_s > 45
            assert stage.runtime.breakers == {"scripted": "closed"}

    play(scenario)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_function_that_spins_is_left_alone_and_its_neighbours_are_served(isolation: str) -> None:
    """After an interruption its commands wait in their lanes for its breaker; those of other nodes do not."""

    def score(argument: dict[str, Any]) -> dict[str, Any]:
        asked.append(asyncio.get_running_loop().time())
        if asyncio.get_running_loop().time() < 30:
            raise TimeoutError("interrupted")
        return argument

    asked: list[float] = []

    async def scenario() -> None:
        asked.clear()
        workers = InPlace(score)
        compute = ComputeHandler(lambda _: score, budget=Unbounded(), workers=workers)
        loaded = computing("spin", score, isolation)
        async with on_stage(Stage(failing(0)), loaded, compute=compute, local=LocalHandler()) as stage:
            for n in range(50):
                for slug in ("spin", "echo"):
                    stage.send(slug, n, b"%d" % (n % 7))
            await asyncio.sleep(0.1)
            assert stage.runtime.figures["echo"].answers == 50
            assert stage.runtime.breakers["spin"] == "open"
            await asyncio.sleep(200)
            assert len([moment for moment in asked if moment < 30]) < 8
            figures = stage.runtime.figures["spin"]
            assert (figures.answers + figures.error_answers, stage.runtime.in_flight) == (50, 0)
            assert figures.error_answers == len([moment for moment in asked if moment < 30])
            assert stage.committed() == 100
            codes = {it.error.code for it in stage.answers("spin") if it.error is not None}
            assert codes == {"function_interrupted"}
            assert workers.calls == (len(asked) if isolation == "process" else 0)

    play(scenario)


def computing(slug: str, function: Callable[[Any], Any], isolation: str) -> LoadedHost:
    """Load a host of a node with this function, and of an echo."""
    operations = "{do: {input: {type: object}, logic: 'pkg:score'}}"
    contracts = {
        f"{slug}.yaml": node(slug, operations=operations, delivery=f"{{isolation: {isolation}}}")
        .replace("handler: scripted\n", "")
        .replace("effect", "compute"),
        "echo.yaml": node("echo", handler="local", operations=ECHO),
        "host.yaml": host(slug, "echo") + "logic_packages: [pkg]\n",
    }
    return registry(contracts, import_function=lambda _: function).hosts["test-host"]


class InPlace:
    """Workers that are none: they call the one function that there is, and count."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        """Keep the function."""
        self._function = function
        self.calls = 0

    async def call(self, function: str, argument: Any, /, *, budget_s: float) -> Any:
        """Call it."""
        assert (function, budget_s) == ("pkg:score", 0.1)
        self.calls += 1
        return self._function(argument)


class Unbounded:
    """A budget that lets every function end."""

    def bounded(self, work: Callable[[], T], _seconds: float, /) -> T:
        """Do the work."""
        return work()


def test_a_partition_that_stands_is_told_by_its_age() -> None:
    """The oldest command that is not done counts, however much is done beside it; an idle host stands for no time."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0:
            await asyncio.sleep(50)
        return request

    async def scenario() -> None:
        async with running(behave, a="{timeout_s: 100}") as stage:
            await asyncio.sleep(1000)
            assert stage.runtime.stalled_s == 0
            stage.send("a", 0, b"slow")
            for n in range(1, 30):
                stage.send("a", n, b"slow" if n % 2 else b"%d" % n)
                await asyncio.sleep(1)
            assert 28 <= stage.runtime.stalled_s <= 30
            await stage.until(lambda: stage.committed() == 30)
            assert stage.runtime.stalled_s == 0

    play(scenario)


def test_a_bad_command_says_nothing_about_the_target() -> None:
    """What never reached the handler neither closes nor opens its breaker, and does not wait for it."""

    async def behave(_request: dict[str, Any]) -> Mapping[str, Any]:
        raise HandlerError("down", "always", retryable=True)

    async def scenario() -> None:
        breaker = "{scripted: {breaker: {failures: 3, open_s: 3000, open_max_s: 3000}}}"
        async with running(behave, a="{retry: {attempts: 1}}", handlers=breaker) as stage:
            expired = command(COMMANDS.format("a"), "a", {}, key=b"x", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
            for n in range(3):
                stage.send("a", n, b"%d" % n)
                assert stage.broker.append(expired) is None
            await stage.until(lambda: stage.committed() == 6)
            assert stage.runtime.breakers == {"scripted": "open"}
            assert stage.broker.append(expired) is None
            await stage.until(lambda: stage.committed() == 7)
            assert stage.runtime.breakers == {"scripted": "open"}
            assert [it.error.code for it in stage.answers("a")].count("expired") == 4
            assert asyncio.get_running_loop().time() < 100

    play(scenario)


def test_what_is_done_ahead_of_a_slow_command_is_bounded() -> None:
    """Behind a command that takes long, its partition is taken no further than the limit, give or take a batch."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0:
            await asyncio.sleep(50)
        return request

    async def scenario() -> None:
        broker = MemoryBroker(partitions=1)
        async with running(behave, a="{timeout_s: 100}", limits="{ahead_max: 20}", broker=broker) as stage:
            for n in range(1000):
                stage.send("a", n, b"%d" % n)
            await asyncio.sleep(40)
            assert 20 <= len(stage.asked) <= 20 + A_BATCH
            await stage.until(lambda: stage.committed() == 1000)
            assert sorted(n for _, n in stage.asked) == list(range(1000))

    play(scenario)


OVERTAKE = (
    "{on_retry: overtake, deadline_s: 2000, retry: {attempts: 9, initial_s: 1, max_s: 100, multiplier: 4, jitter: 0}}"
)


def test_what_may_be_overtaken_waits_on_the_retry_topic() -> None:
    """Its key goes on at once, its offset is committed, and in the end it is answered as if it had waited in place."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0 and asyncio.get_running_loop().time() < 150:
            raise HandlerError("down", "until 150 s", retryable=True)
        return request

    async def scenario() -> None:
        async with running(behave, a=OVERTAKE, handlers="{scripted: {breaker: {failures: 99}}}") as stage:
            sent = command(COMMANDS.format("a"), "a", {"n": 0}, key=b"k")
            assert stage.broker.append(sent._replace(headers=(("mine", b"1"), ("traceparent", b"t")))) is None
            stage.send("a", 1)
            await stage.until(lambda: len(stage.answers("a")) == 1)
            assert asyncio.get_running_loop().time() < 10
            await stage.until(lambda: len(stage.answers("a")) == 2)
            assert [moment for moment, n in stage.asked if n == 0] == pytest.approx([0, 1, 5, 21, 85, 185], abs=2)
            [last] = [it for it in stage.broker.messages(EVENTS.format("a")) if decode(it.value).payload == {"n": 0}]
            assert (last.key, list(last.headers)) == (b"k", [("traceparent", b"t")])
            aside = stage.broker.messages(RETRIES)
            assert [dict(it.headers)["onex-retry-attempts"] for it in aside] == [b"2", b"3", b"4", b"5"]
            assert all((it.key, it.value, it.headers[0]) == (b"k", sent.value, ("mine", b"1")) for it in aside)
            await stage.until(lambda: stage.committed() == 2 + len(aside))
            assert stage.letters == []

    play(scenario)


def test_at_the_end_its_dead_letter_names_its_first_place() -> None:
    """Attempts are counted across the retry topic, and the deadline too."""

    async def scenario() -> None:
        async with running(failing(99), a=OVERTAKE, handlers="{scripted: {breaker: {failures: 999}}}") as stage:
            stage.send("a", 7)
            await stage.until(lambda: len(stage.letters) == 1)
            [letter] = stage.letters
            facts = dict(letter.headers)
            assert (facts["onex-dlq-topic"], facts["onex-dlq-offset"]) == (COMMANDS.format("a").encode(), b"0")
            assert facts["onex-dlq-attempts"] == b"9"
            assert not any(name.startswith("onex-retry-") for name in facts)
            [answer] = stage.answers("a")
            assert answer.error.code == "down"
            assert len(stage.asked) == 9

    play(scenario)


@pytest.mark.parametrize("skew_s", [-3600.0, -5.0, 0.0, 5.0, 3600.0])
def test_a_clock_that_differs_makes_no_retry_wait_longer_or_end_sooner(skew_s: float) -> None:
    """What one host puts on the retry topic, a host whose clock is an hour off takes up within the policy's wait."""

    async def scenario() -> None:
        broker = MemoryBroker()
        patient = {"a": OVERTAKE, "handlers": "{scripted: {breaker: {failures: 99}}}"}
        async with running(failing(2), broker=broker, **patient) as first:
            first.send("a", 1)
            await first.until(lambda: len(broker.messages(RETRIES)) == 1)
        stage = Stage(failing(0), broker)
        stage.clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=skew_s))
        texts = {"a.yaml": node("a", delivery=OVERTAKE), "host.yaml": host("a")}
        began_s = asyncio.get_running_loop().time()
        async with on_stage(stage, registry(texts).hosts["test-host"]):
            await stage.until(lambda: bool(stage.answers("a")))
            assert asyncio.get_running_loop().time() - began_s <= 5
            assert stage.answers("a")[0].error is None
            assert stage.letters == []

    play(scenario)


def test_what_is_too_large_for_the_retry_topic_is_retried_in_its_place() -> None:
    """With what has to be known of it, it would not fit: no dead letter comes of that."""

    async def scenario() -> None:
        broker = MemoryBroker(message_bytes_max=3000)
        patient = {"a": OVERTAKE, "handlers": "{scripted: {breaker: {failures: 99}}}"}
        async with running(failing(4), broker=broker, **patient) as stage:
            stage.publish("a", {"n": 1, "blob": "x" * 2450})
            await stage.until(lambda: bool(stage.answers("a")))
            assert stage.answers("a")[0].error is None
            assert broker.messages(RETRIES) == []
            assert stage.letters == []

    play(scenario)


def test_a_host_that_stops_leaves_what_is_not_due_to_the_next() -> None:
    """Waiting for the time is no work: it is not drained, and nothing is committed past it."""

    async def scenario() -> None:
        broker = MemoryBroker()
        behaviour = failing(4)
        patient = {"a": OVERTAKE, "handlers": "{scripted: {breaker: {failures: 99}}}"}
        async with running(behaviour, broker=broker, **patient) as first:
            first.send("a", 1)
            await first.until(lambda: len(broker.messages(RETRIES)) == 2)
            began_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began_s < 1
        async with running(behaviour, broker=broker, **patient) as second:
            await second.until(lambda: [it.payload for it in second.answers("a")] == [{"n": 1}])

    play(scenario)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("onex-retry-topic", b"onex.app.dev.test.cmd.node.a.v1"),),
        tuple(
            (f"onex-retry-{name}", b"x")
            for name in ("topic", "partition", "offset", "attempts", "first-failed-at", "due")
        ),
    ],
    ids=["bare", "half", "rubbish"],
)
def test_what_no_host_put_on_the_retry_topic_gets_a_dead_letter(headers: tuple[tuple[str, bytes], ...]) -> None:
    """Nobody can tell whose command it is; what follows is served."""

    async def scenario() -> None:
        async with running(failing(0), a=OVERTAKE) as stage:
            sent = command(RETRIES, "a", {"n": 1}, key=b"k")._replace(headers=headers)
            assert stage.broker.append(sent) is None
            stage.send("a", 2)
            await stage.until(lambda: stage.committed() == 2)
            [letter] = stage.letters
            facts = dict(letter.headers)
            assert (letter.value, facts["onex-dlq-code"], facts["onex-dlq-topic"]) == (
                sent.value,
                b"not_for_retry",
                RETRIES.encode(),
            )
            assert [it.payload for it in stage.answers("a")] == [{"n": 2}]

    play(scenario)


def test_a_flood_of_failures_is_told_by_its_first_lines() -> None:
    """The log says how many it left out; the figures count each."""

    async def scenario() -> None:
        async with running(failing(999, retryable=False), a="{}") as stage:
            for n in range(100):
                stage.send("a", n, b"%d" % n)
            await stage.until(lambda: stage.committed() == 100)
            await asyncio.sleep(2)
            stage.send("a", 100)
            await stage.until(lambda: stage.committed() == 101)
            told = stage.observer.named("command_failed")
            assert len(told) + sum(it["suppressed"] or 0 for it in told) == 101  # type: ignore[misc]
            assert len(told) <= 21
            assert told[-1]["suppressed"]
            assert stage.runtime.figures["a"].error_answers == 101

    play(scenario)


def nested(depth: int) -> Any:
    """Return null in so many lists."""
    return None if not depth else [nested(depth - 1)]


@pytest.mark.parametrize(
    "error",
    [
        HandlerError("odd", "\udc80", details={"when": datetime(2026, 1, 1, tzinfo=UTC)}),
        HandlerError("odd", "x", details={"n": float("inf")}),
        ValueError("\ud800 has no form"),
        HandlerError("odd\udc80", "x"),
        HandlerError("odd", "x", details={"deep": ["\ud800"]}),
        HandlerError("odd", "x", details={"deep": nested(700)}),  # deeper than any answer may be
    ],
)
def test_an_odd_error_is_told_all_the_same(error: Exception) -> None:
    """A handler may raise anything: its node gives an answer and a dead letter, and the host goes on."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0:
            raise error
        return request

    async def scenario() -> None:
        async with running(behave, a="{}") as stage:
            stage.send("a", 0)
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 2)
            assert [it.error is None for it in stage.answers("a")] == [False, True]
            assert len(stage.letters) == 1

    play(scenario)


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt()])
def test_a_handler_that_would_end_the_process_ends_its_command_alone(end: BaseException) -> None:
    """Whatever it raises: what the loop would end for never gets there."""

    async def behave(request: dict[str, Any]) -> Mapping[str, Any]:
        if request["n"] == 0:
            raise end
        return request

    async def scenario() -> None:
        async with running(behave, a="{}") as stage:
            stage.send("a", 0)
            stage.send("a", 1)
            await stage.until(lambda: stage.committed() == 2)
            refused, answered = stage.answers("a")
            assert refused.error is not None
            assert (refused.error.code, answered.payload) == ("internal_error", {"n": 1})
            assert refused.error.message.startswith(type(end).__name__)
            assert len(stage.letters) == 1

    play(scenario)


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_a_function_that_would_end_the_process_ends_its_command_alone(end: BaseException) -> None:
    """On the loop itself: neither the loop nor the tasks of its neighbours hear of it."""

    def leave(argument: dict[str, Any]) -> dict[str, Any]:
        if argument["n"] == 0:
            raise end
        return argument

    async def scenario() -> None:
        compute = ComputeHandler(lambda _: leave, budget=Unbounded(), workers=InPlace(leave))
        loaded = computing("leave", leave, "inline")
        async with on_stage(Stage(failing(0)), loaded, compute=compute, local=LocalHandler()) as stage:
            for n in range(3):
                stage.send("leave", n)
                stage.send("echo", n)
            await stage.until(lambda: stage.committed() == 6)
            refused, *answered = stage.answers("leave")
            assert refused.error is not None
            assert (refused.error.code, refused.error.message) == ("internal_error", f"{type(end).__name__}: {end}")
            assert [it.payload["n"] for it in (*answered, *stage.answers("echo"))] == [1, 2, 0, 1, 2]
            assert len(stage.letters) == 1

    play(scenario)


def test_a_command_that_expires_at_an_open_breaker_is_not_served() -> None:
    """Whoever waited for it has long gone."""

    async def scenario() -> None:
        breaker = "{scripted: {breaker: {failures: 1, open_s: 100, open_max_s: 100}}}"
        async with running(failing(1), a="{retry: {attempts: 1}}", handlers=breaker) as stage:
            stage.send("a", 0, b"x")
            await stage.until(lambda: stage.committed() == 1)
            soon = VirtualClock().now() + timedelta(seconds=20)
            assert stage.broker.append(command(COMMANDS.format("a"), "a", {"n": 1}, key=b"y", expires_at=soon)) is None
            await stage.until(lambda: stage.committed() == 2)
            assert sorted(it.error.code for it in stage.answers("a")) == ["down", "expired"]
            assert len(stage.asked) == 1

    play(scenario)
