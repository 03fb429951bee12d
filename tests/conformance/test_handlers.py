"""What every handler promises, run against its real server through a wire that can do what broken networks do.

How a handler joins: write `tests/support/<type>_member.py` with a function that takes the port of the server (or what
it needs) and gives a `Member` (see `tests.support.handlers`, which says what each field is for), and add a line to
`MEMBERS` here. The server is a session fixture of `tests/conftest.py`; nobody stops it: the suite stands between
the two with a `Wire`, by which the server goes away, comes back, hangs, breaks off and talks rubbish in
milliseconds. So a member gives no faults of its own.
A handler that has no server (`port=None`) takes part in the first section alone.

What the suite asks of each:

- It is opened and closed any number of times, several at once too, and nothing stays open: no connection and no task.
- Calls made at the same time get each its own answer. A result is JSON values in the form of the operation's model.
- Wherever a call is cancelled, the handler serves the next one.
- A server that is away at the start, goes in the middle, hangs, breaks off after any byte, or is none at all: each call
  ends with a HandlerError by a code of `Member.trouble`, in its time, retryable unless repeating could do a thing
  twice. When the server is back, the handler works without being opened again. A handler sees at once what it can see;
  one that waits for its server to come back tells it when the call's time is over.
- No secret is in any error, in the text of its models, or in a log record of any level.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from omnibase_infra.host.core_handlers import LocalHandlerFactory
from omnibase_spi import Handler, HandlerError, InlineHandler
from tests.support.brokers import ApacheKafka, Broker
from tests.support.consul_member import consul_member
from tests.support.db_member import db_member
from tests.support.handlers import Ask, HandlerWorld, Member
from tests.support.http_member import http_member
from tests.support.kafka_member import asking_member, kafka_subject, publishing_member
from tests.support.llm_member import llm_member, smollm_member
from tests.support.vault_member import vault_member
from tests.support.wire import Wire

MEMBERS: dict[str, Callable[[pytest.FixtureRequest], Member]] = {
    "db": lambda request: db_member(request.getfixturevalue("postgres")),
    "http": lambda request: http_member(request.getfixturevalue("http_port")),
    "kafka": lambda request: publishing_member(request.getfixturevalue("kafka_with_topics")),
    "kafka-asking": lambda request: asking_member(request.getfixturevalue("kafka_with_topics")),
    "llm-anthropic": lambda request: llm_member("anthropic", request.getfixturevalue("llm_stand_in").port),
    "llm-openai": lambda request: llm_member("openai", request.getfixturevalue("llm_stand_in").port),
    "llm-smollm": lambda request: smollm_member(request.getfixturevalue("smollm_port")),
    "consul": lambda request: consul_member(request.getfixturevalue("consul")),
    "local": lambda _: Member(
        factory=LocalHandlerFactory(),
        ask=lambda n: Ask(operation="echo", request={"message": n}, answers=lambda it: it == {"message": n}),
    ),
    "vault": lambda request: vault_member(request.getfixturevalue("openbao")),
    "vault-login": lambda request: vault_member(request.getfixturevalue("openbao"), logs_in=True),
}
WITH_SERVER = [name for name in MEMBERS if name != "local"]

Use = Callable[[HandlerWorld, Handler | InlineHandler], Awaitable[None]]
Play = Callable[[Callable[[HandlerWorld], Awaitable[None]]], None]
COMES_BACK_S = 5.0
"""How soon after its server a handler works again."""
OVER_S = 1.0
"""By how much a call may outlast its time on a busy machine: far less than its server's silence."""
RUBBISH = (
    b"",
    b"\x00",
    b"\xff" * 5000,
    b"{sent}",
    b"HTTP/1.1 200 OK\r\n{sent}\r\n\r\n",
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
    b"220 mail.example.org ESMTP\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
)


@pytest.fixture(scope="module")
def kafka_with_topics(kafka: Broker) -> Iterator[ApacheKafka]:
    """Yield the broker, with what the members of `kafka` want of it."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"not on {kafka.name}: it cannot be reached by a relay")
    with kafka_subject(kafka) as server:
        yield server


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest) -> Member:
    """Return each handler in turn."""
    return MEMBERS[request.param](request)


@pytest.fixture(params=WITH_SERVER)
def served(request: pytest.FixtureRequest) -> Member:
    """Return each handler that has a server in turn."""
    return MEMBERS[request.param](request)


class Keeper(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.records.append(record)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """Keep every record that anybody logs during the test, at any level."""
    keeper = Keeper()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger().addHandler(keeper)
        yield keeper.records
        logging.getLogger().removeHandler(keeper)


def play(member: Member, log: list[logging.LogRecord], scenario: Callable[[HandlerWorld], Awaitable[None]]) -> None:
    """Run a scenario in the member's world; at its end nothing is open and no secret was told."""

    async def whole() -> None:
        async with Wire(member.port or 0, member.wire_port).up() as wire:
            before = asyncio.all_tasks()
            world = HandlerWorld(member, log, wire)
            await scenario(world)
            await wire.until_idle()
            assert asyncio.all_tasks() - before == set()
            world.assert_nothing_told()

    asyncio.run(whole())


async def eventually_works(world: HandlerWorld, handler: Handler | InlineHandler) -> None:
    """Ask until it works: what fails meanwhile is retryable."""
    async with asyncio.timeout(COMES_BACK_S):
        while True:
            try:
                assert await world.works(handler)
            except HandlerError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


def ask_of(ask: Ask | None, what: str) -> Ask:
    """Return a call that not every handler has, or skip the test."""
    return ask or pytest.skip(f"this handler has no {what} call")


# --- With or without a server -------------------------------------------------------------------------------------


def test_opens_and_closes_any_number_of_times(member: Member, log: list[logging.LogRecord]) -> None:
    """One after the other, used or not, and several at once; closing one leaves the others alone."""

    async def scenario(world: HandlerWorld) -> None:
        for number in range(5):
            async with world.opened():
                pass
            async with world.opened() as handler:
                assert await world.works(handler, number)
        async with world.opened() as first:
            async with world.opened() as second:
                assert await world.works(first, 1)
                assert await world.works(second, 2)
            assert await world.works(first, 3)

    play(member, log, scenario)


def test_calls_at_the_same_time_get_their_own_answers(member: Member, log: list[logging.LogRecord]) -> None:
    """A hundred at once, and then again on what they left behind."""

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            for _ in range(2):
                assert all(await asyncio.gather(*(world.works(handler, number) for number in range(100))))

    play(member, log, scenario)


def test_a_result_is_what_its_model_says_in_json(member: Member, log: list[logging.LogRecord]) -> None:
    """Expressions see exactly what the contract was checked against."""

    async def scenario(world: HandlerWorld) -> None:
        ask = world.member.ask(7)
        async with world.opened() as handler:
            result = await world.result(handler, ask)
        assert ask.answers(result)
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        world.member.factory.description.operations[ask.operation].result.model_validate(result)

    play(member, log, scenario)


# --- Cancelling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True])
def test_cancelling_at_any_await_leaves_the_handler_usable(
    served: Member,
    log: list[logging.LogRecord],
    slow: bool,  # noqa: FBT001 - a case
) -> None:
    """After each number of steps of the loop, on a fresh connection and a used one; cancelling ends it as cancelled."""
    ask = ask_of(served.slow, "slow") if slow else served.ask(1)

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            for steps in range(60):
                if steps % 2:
                    await world.wire.reset()
                tasks = [asyncio.create_task(world.result(handler, ask)) for _ in range(3)]
                for _ in range(steps):
                    await asyncio.sleep(0)
                cancelled = [task for task in tasks if task.cancel()]
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(task.cancelled() for task in cancelled)
                assert all(not isinstance(it, Exception) or isinstance(it, HandlerError) for it in outcomes)
                await eventually_works(world, handler)

    play(served, log, scenario)


# --- Time ---------------------------------------------------------------------------------------------------------


async def timed_out(world: HandlerWorld, handler: Handler | InlineHandler, ask: Ask) -> HandlerError:
    """Do a call that cannot end in its time, and see that it does; gives its error, which says how long it waited."""
    began_s = time.monotonic()
    error = await world.failure(handler, ask, timeout_s=0.25)
    assert time.monotonic() - began_s < 0.25 + OVER_S
    assert error.code in world.member.trouble.silent
    assert "0.25 s" in str(error)
    return error


def test_a_slow_call_ends_in_its_time(served: Member, log: list[logging.LogRecord]) -> None:
    """However long the server takes; others are served meanwhile and afterwards."""
    ask = ask_of(served.slow, "slow")

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            slow = [asyncio.create_task(timed_out(world, handler, ask)) for _ in range(5)]
            assert await world.works(handler, 1)
            assert all(error.retryable for error in await asyncio.gather(*slow))
            await eventually_works(world, handler)

    play(served, log, scenario)


def test_a_server_that_hangs_is_a_timeout(served: Member, log: list[logging.LogRecord]) -> None:
    """At its first connection, and in the middle of its life; when it goes on, so does the handler."""

    async def scenario(world: HandlerWorld) -> None:
        world.wire.stall()
        async with world.opened() as handler:
            assert (await timed_out(world, handler, world.member.ask(1))).retryable
            world.wire.flow()
            await eventually_works(world, handler)
            world.wire.stall()
            assert (await timed_out(world, handler, world.member.ask(1))).retryable
            world.wire.flow()
            await eventually_works(world, handler)

    play(served, log, scenario)


# --- Away, and back -----------------------------------------------------------------------------------------------


def test_a_server_that_is_away_at_the_start_is_waited_for(served: Member, log: list[logging.LogRecord]) -> None:
    """Opening works, calls fail retryable (also those that must not be done twice), and once it is there they work."""

    async def scenario(world: HandlerWorld) -> None:
        await world.wire.away()
        async with world.opened() as handler:
            for ask in filter(None, (world.member.ask(1), world.member.unsafe)):
                error = await world.in_vain(handler, ask)
                assert error.code in world.member.trouble.away | world.member.trouble.silent
                assert error.retryable
            await world.wire.back()
            await eventually_works(world, handler)

    play(served, log, scenario)


def test_a_server_that_goes_in_the_middle_of_calls_is_told(served: Member, log: list[logging.LogRecord]) -> None:
    """What was under way fails at once (or in its time) and retryable, and what is asked next too; then it is back."""

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            assert await world.works(handler)
            if served.slow is None:
                world.wire.stall()  # Now each call is slow.
            world.wire.arrived.clear()
            under_way = asyncio.create_task(world.in_vain(handler, served.slow or served.ask(1)))
            await world.wire.arrived.wait()
            await asyncio.sleep(0.05)
            await world.wire.away()
            world.wire.flow()
            for error in (await under_way, await world.in_vain(handler, world.member.ask(1))):
                assert error.code in world.member.trouble.away | world.member.trouble.broken
                assert error.retryable
            await world.wire.back()
            await eventually_works(world, handler)

    play(served, log, scenario)


def test_connections_that_ended_while_idle_cost_no_call_for_good(served: Member, log: list[logging.LogRecord]) -> None:
    """A server that was restarted between two calls is at most one retryable failure."""

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            for _ in range(3):
                await asyncio.gather(*(world.works(handler, number) for number in range(4)))
                await world.wire.reset()
                await eventually_works(world, handler)

    play(served, log, scenario)


def test_what_may_have_been_done_is_not_retryable(served: Member, log: list[logging.LogRecord]) -> None:
    """A call that changes something, and whose answer never came, is not to be repeated blindly."""
    ask = ask_of(served.unsafe, "unsafe")

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            await eventually_works(world, handler)
            world.wire.stall()
            assert not (await timed_out(world, handler, ask)).retryable
            world.wire.flow()
            await eventually_works(world, handler)
            await world.wire.reset()
            world.wire.rubbish = b""
            assert not (await world.failure(handler, ask)).retryable

    play(served, log, scenario)


# --- Rubbish ------------------------------------------------------------------------------------------------------


def test_a_port_that_answers_rubbish_is_told(served: Member, log: list[logging.LogRecord]) -> None:
    """Whoever listens there in the server's place, and whatever they repeat, the call ends as a retryable error."""

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            for rubbish in (*RUBBISH, *world.member.rubbish):
                await world.wire.reset()
                world.wire.rubbish = rubbish
                world.wire.arrived.clear()
                error = await world.in_vain(handler, world.member.ask(1))
                assert error.code in world.member.trouble.broken | world.member.trouble.silent, rubbish
                assert error.retryable, rubbish
                assert world.wire.arrived.is_set(), rubbish
            world.wire.rubbish = None
            await eventually_works(world, handler)

    play(served, log, scenario)


def test_an_answer_that_breaks_off_after_any_byte_is_told(served: Member, log: list[logging.LogRecord]) -> None:
    """No part of an answer is taken for the whole."""

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            assert await world.works(handler)
            for bytes_ in world.member.cuts:
                await world.wire.reset()
                world.wire.cut_after = bytes_
                world.wire.arrived.clear()
                error = await world.in_vain(handler, world.member.ask(1))
                assert error.code in world.member.trouble.broken | world.member.trouble.away, bytes_
                assert error.retryable, bytes_
                assert world.wire.arrived.is_set(), bytes_
            world.wire.cut_after = None
            await eventually_works(world, handler)

    play(served, log, scenario)


# --- What the server itself says ----------------------------------------------------------------------------------


def test_what_the_server_refuses_is_not_asked_again(served: Member, log: list[logging.LogRecord]) -> None:
    """It is the call's fault, and no retry would help; the error has its code."""
    if served.refused is None:
        pytest.skip("this handler's server refuses no call")
    ask, code = served.refused

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened() as handler:
            error = await world.failure(handler, ask)
            assert (error.code, error.retryable) == (code, False)
            assert await world.works(handler)

    play(served, log, scenario)


# --- The suite itself ---------------------------------------------------------------------------------------------


class LeakyFactory:
    """A handler that does what none may: it tells a secret in its error, and in its log."""

    def __init__(self, inner: Any, secret: str) -> None:
        """Stand in front of a real one."""
        self._inner, self._secret = inner, secret
        self.description = inner.description

    def open(self, **opening: Any) -> Any:
        """Log what nobody may see."""
        logging.getLogger("leaky").debug("opening with %s", self._secret)
        return self._inner.open(**opening)


def test_the_suite_sees_a_secret_in_a_log(log: list[logging.LogRecord]) -> None:
    """A guard that is broken is caught: a handler which logs its secret does not pass."""
    secret = "a-secret-of-the-suite"  # noqa: S105 - it opens nothing
    leaky = Member(
        factory=LeakyFactory(LocalHandlerFactory(), secret),
        ask=lambda _: Ask(operation="echo", request={"message": 1}),
        secrets=(secret,),
    )

    async def scenario(world: HandlerWorld) -> None:
        async with world.opened():
            pass

    with pytest.raises(AssertionError):
        play(leaky, log, scenario)
