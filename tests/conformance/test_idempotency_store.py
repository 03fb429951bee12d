"""What every store of recorded answers promises, run against the one in memory and the one in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from omnibase_core.engine.memory_store import MemoryStore
from omnibase_core.idempotency_store import Granted, IdempotencyStore, Recorded, Taken
from omnibase_core.testing import FixedClock
from omnibase_infra.postgres.store import postgres_store
from tests.support.postgres import Postgres

LONG_S = 100.0
SHORT_S = 0.2


class World:
    """An empty store, and a way to let time pass for it."""

    def __init__(self, store: IdempotencyStore, let_pass: Callable[[float], Awaitable[None]]) -> None:
        """Take both."""
        self.store = store
        self.let_pass = let_pass

    async def claim(self, owner: str, *, key: str = "k", lease_s: float = LONG_S) -> Granted | Recorded | Taken:
        """Claim a key."""
        return await self.store.claim(key, owner=owner, lease_s=lease_s)

    async def granted(self, owner: str, *, key: str = "k", lease_s: float = LONG_S) -> int:
        """Claim a key that is free, and give the token."""
        found = await self.claim(owner, key=key, lease_s=lease_s)
        assert isinstance(found, Granted)
        return found.token

    async def record(self, owner: str, answer: bytes = b"done", *, key: str = "k", window_s: float = LONG_S) -> bool:
        """Record an answer."""
        return await self.store.record(key, owner=owner, answer=answer, window_s=window_s)


OpenWorld = Callable[[], AbstractAsyncContextManager[World]]


@asynccontextmanager
async def _in_memory() -> AsyncIterator[World]:
    clock = FixedClock()

    async def let_pass(seconds: float) -> None:
        clock.advance(seconds)

    yield World(MemoryStore(clock.monotonic_s), let_pass)


@pytest.fixture(params=["memory", "postgres"])
def open_world(request: pytest.FixtureRequest, unique_slug: str) -> OpenWorld:
    """Yield the way to an empty store."""
    if request.param == "memory":
        return _in_memory
    server: Postgres = request.getfixturevalue("postgres")
    dsn = server.create_database(unique_slug)

    @asynccontextmanager
    async def in_postgres() -> AsyncIterator[World]:
        async with postgres_store(dsn, timeout_s=10, connections_max=4) as store:
            yield World(store, asyncio.sleep)

    return in_postgres


def play(open_world: OpenWorld, scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario in an empty store."""

    async def run() -> None:
        async with open_world() as world:
            await scenario(world)

    asyncio.run(run())


def test_a_free_key_is_granted_and_then_taken(open_world: OpenWorld) -> None:
    """Another owner hears for how long; other keys are none of its affair."""

    async def scenario(world: World) -> None:
        await world.granted("a")
        found = await world.claim("b", lease_s=1)
        assert isinstance(found, Taken)
        assert LONG_S - 20 < found.lease_s <= LONG_S
        await world.granted("b", key="other")

    play(open_world, scenario)


def test_its_owner_is_granted_a_key_again_under_another_token_and_a_new_lease(open_world: OpenWorld) -> None:
    """So does a command that is delivered again after a crash, and one that tries again."""

    async def scenario(world: World) -> None:
        first = await world.granted("a", lease_s=SHORT_S)
        second = await world.granted("a")
        assert first != second
        await world.let_pass(SHORT_S * 1.5)
        assert isinstance(await world.claim("b"), Taken)

    play(open_world, scenario)


def test_what_is_recorded_is_given_to_whoever_claims(open_world: OpenWorld) -> None:
    """To its own command too, byte by byte."""

    async def scenario(world: World) -> None:
        answer = bytes(range(256)) * 4000
        await world.granted("a")
        assert await world.record("a", answer)
        assert await world.claim("a") == Recorded(answer)
        assert await world.claim("b") == Recorded(answer)

    play(open_world, scenario)


def test_a_key_is_free_again_when_its_window_is_over(open_world: OpenWorld) -> None:
    """The window counts from the record."""

    async def scenario(world: World) -> None:
        await world.granted("a")
        assert await world.record("a", window_s=SHORT_S)
        assert await world.claim("b") == Recorded(b"done")
        await world.let_pass(SHORT_S * 1.5)
        await world.granted("b")
        assert await world.record("b", b"again")
        assert await world.claim("a") == Recorded(b"again")

    play(open_world, scenario)


def test_another_takes_over_when_a_lease_is_over(open_world: OpenWorld) -> None:
    """The first one can neither record nor release then."""

    async def scenario(world: World) -> None:
        first = await world.granted("a", lease_s=SHORT_S)
        await world.let_pass(SHORT_S * 1.5)
        await world.granted("b")
        assert not await world.record("a", b"late")
        await world.store.release("k", token=first)
        assert isinstance(await world.claim("c"), Taken)
        assert await world.record("b")
        assert not await world.record("a", b"late")
        assert await world.claim("c") == Recorded(b"done")

    play(open_world, scenario)


def test_an_owner_whose_lease_is_over_may_record_while_nobody_has_taken_over(open_world: OpenWorld) -> None:
    """Its effect has happened: better late than never."""

    async def scenario(world: World) -> None:
        await world.granted("a", lease_s=SHORT_S)
        await world.let_pass(SHORT_S * 1.5)
        await world.granted("b", key="other")
        assert await world.record("a")
        assert await world.claim("b") == Recorded(b"done")

    play(open_world, scenario)


def test_a_released_key_is_free(open_world: OpenWorld) -> None:
    """Whoever comes next may have it."""

    async def scenario(world: World) -> None:
        token = await world.granted("a")
        await world.store.release("k", token=token)
        await world.granted("b")

    play(open_world, scenario)


def test_a_release_counts_for_its_own_claim_alone(open_world: OpenWorld) -> None:
    """Not for a later claim, even of the same owner, and not for what is recorded."""

    async def scenario(world: World) -> None:
        old = await world.granted("a")
        new = await world.granted("a")
        await world.store.release("k", token=old)
        assert isinstance(await world.claim("b"), Taken)
        assert await world.record("a")
        await world.store.release("k", token=new)
        await world.store.release("unknown", token=new)
        assert await world.claim("b") == Recorded(b"done")

    play(open_world, scenario)


def test_one_of_many_that_claim_at_once_is_granted(open_world: OpenWorld) -> None:
    """The others hear that it is taken; so it is when the lease of the one before has just ended."""

    async def scenario(world: World) -> None:
        for turn in range(5):
            # On a busy machine, twelve of them take a while: the first lease must outlast the last claim.
            found = await asyncio.gather(*(world.claim(f"{turn}/{n}", lease_s=3 * SHORT_S) for n in range(12)))
            assert sum(isinstance(it, Granted) for it in found) == 1
            assert sum(isinstance(it, Taken) for it in found) == 11
            await world.let_pass(SHORT_S * 4.5)

    play(open_world, scenario)


def test_a_question_that_is_cancelled_leaves_the_store_well(open_world: OpenWorld) -> None:
    """Whether or not it was carried out: the same owner asks again."""

    async def scenario(world: World) -> None:
        for n in range(10):
            asking = asyncio.ensure_future(world.claim("a", key=f"k{n}"))
            await asyncio.sleep(0.0005 * n)
            asking.cancel()
            await asyncio.wait({asking})
            await world.granted("a", key=f"k{n}")

    play(open_world, scenario)
