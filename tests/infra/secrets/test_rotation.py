"""Rotation: what was opened with secrets is replaced when they change, and no call is cut off or lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from omnibase_core.errors import CommandFailed, HandlerError, SecretMissing
from omnibase_core.handlers.local import Echo, LocalHandler
from omnibase_core.testing import RecordingObserver
from omnibase_infra.call_chain.redaction import RedactingHandler
from omnibase_infra.host.settings import EnvironmentSecrets
from omnibase_infra.secrets.current import CurrentSecrets, Reading, ResolvingReader
from omnibase_infra.secrets.redaction import Redactor
from omnibase_infra.secrets.rotation import Rotation
from omnibase_infra.secrets.shared_resource import SharedResource
from omnibase_infra.stores.memory import MemoryStoreFactory
from omnibase_spi import Granted, Handler, HandlerCall, InlineHandler

KEY = frozenset({"KEY"})
CALL = HandlerCall("door", "knock", Echo(message=1), None, 5.0, UUID(int=1))
WITHIN_S = 5.0


class Kept:
    """Secrets as a test sets them. A SecretReader."""

    def __init__(self, **values: str) -> None:
        """Begin with these."""
        self.values: dict[str, str | SecretMissing] = dict(values)
        self.readings = 0

    async def read(self, names: Sequence[str], /, *, anew: bool) -> Reading:  # noqa: ARG002 - it is always new
        """Return each of them."""
        self.readings += 1
        return {name: self.values[name] for name in names}


class Told:
    """An Observer that keeps what it is told."""

    verbose = False

    def __init__(self) -> None:
        """Begin with nothing."""
        self.events: list[tuple[str, Mapping[str, object]]] = []

    def event(self, _level: str, name: str, /, **fields: object) -> None:
        """Keep it."""
        self.events.append((name, fields))

    @property
    def names(self) -> list[str]:
        """The names of the events."""
        return [name for name, _ in self.events]


class Door:
    """A handler that answers with the secret by which it was opened, when the test lets it."""

    def __init__(self, secret: str) -> None:
        """Open."""
        self.secret = secret
        self.is_open = True
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.calls = 0

    async def execute(self, _call: HandlerCall, /) -> Mapping[str, Any]:
        """Answer."""
        self.calls += 1
        await self.goes_on.wait()
        assert self.is_open
        return {"secret": self.secret}


class Building:
    """Opens doors with the current secret. The secret `bad` opens none."""

    def __init__(self, *, watched: frozenset[str] = KEY, drain_s: float = WITHIN_S, **values: str) -> None:
        """Begin without a door."""
        self.kept = Kept(**values)
        self.told = Told()
        self.redactor = Redactor()
        self.secrets = CurrentSecrets(self.kept, self.redactor, observer=RecordingObserver())
        self.rotation = Rotation(self.secrets, observer=self.told, poll_s=0.01)
        self.doors: list[Door] = []
        self._watched = watched
        self._drain_s = drain_s

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Door]:
        """Open one."""
        secret = self.secrets.resolve("KEY")
        if secret == "bad":  # noqa: S105 - a secret of these tests
            raise HandlerError("not_opened", "the key 'bad' does not fit")
        door = Door(secret)
        self.doors.append(door)
        try:
            # As a vendor's client may: what is entered in one task cannot be left in another.
            async with asyncio.timeout(None), asyncio.TaskGroup():
                yield door
        finally:
            door.is_open = False

    @asynccontextmanager
    async def handler(self) -> AsyncIterator[Handler | InlineHandler]:
        """Yield the handler that rotates."""
        await self.secrets.load(self.kept.values)
        async with (
            self.rotation.watching(),
            self.rotation.handler("door", self.open, secrets=self._watched, drain_s=self._drain_s) as handler,
        ):
            yield handler


def play(building: Building, scenario: Callable[[Any], Awaitable[None]]) -> None:
    """Run a scenario with the handler; afterwards no door is open and no task is left."""

    async def whole() -> None:
        async with building.handler() as handler:
            await scenario(handler)
        assert not any(door.is_open for door in building.doors)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - what holds tells nobody
            await asyncio.sleep(0.005)


def test_a_new_secret_opens_a_new_one_and_calls_in_flight_finish_on_the_old() -> None:
    """The old one is closed when its last call has ended, and not before."""
    building = Building(KEY="first-key")

    async def scenario(handler: Handler) -> None:
        building.doors[0].goes_on.clear()
        in_flight = asyncio.create_task(handler.execute(CALL))
        await until(lambda: building.doors[0].calls == 1)
        building.kept.values["KEY"] = "second-key"
        await until(lambda: len(building.doors) == 2)
        assert await handler.execute(CALL) == {"secret": "second-key"}
        assert building.doors[0].is_open
        building.doors[0].goes_on.set()
        assert await in_flight == {"secret": "first-key"}
        await until(lambda: not building.doors[0].is_open)
        assert building.rotation.upkeep["door"].reopened == 1
        assert building.rotation.upkeep["door"].stale is None
        assert building.redactor.redacted("first-key, second-key") == "***, ***"

    play(building, scenario)
    assert building.told.names == ["reopened"]
    assert "key" not in str(building.told.events).replace("KEY", "")


def test_under_load_no_call_fails_while_secrets_change_all_the_time() -> None:
    """Each call ends on the one that it began on, however many changes come meanwhile."""
    building = Building(KEY="key-0")

    async def scenario(handler: Handler) -> None:
        done = 0

        async def caller() -> None:
            nonlocal done
            while len(building.doors) < 8:
                await handler.execute(CALL)
                done += 1
                await asyncio.sleep(0)

        async def changer() -> None:
            number = 0
            while len(building.doors) < 8:
                number += 1
                building.kept.values["KEY"] = f"key-{number}"
                await asyncio.sleep(0.02)

        async with asyncio.timeout(WITHIN_S * 2), asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(caller())
            group.create_task(changer())
        assert done > 1000

    play(building, scenario)


def test_what_cannot_be_reopened_leaves_the_old_one_serving_until_a_secret_fits() -> None:
    """It is told once, stands in health, and a secret that fits is taken without waiting for the next attempt."""
    building = Building(KEY="good")

    async def scenario(handler: Handler) -> None:
        building.kept.values["KEY"] = "bad"
        await until(lambda: "not_reopened" in building.told.names)
        assert await handler.execute(CALL) == {"secret": "good"}
        stale = building.rotation.upkeep["door"].stale
        assert stale is not None
        assert stale.startswith("it cannot be opened with its new secrets: HandlerError: ")
        building.kept.values["KEY"] = "better"
        await until(lambda: len(building.doors) == 2)
        assert await handler.execute(CALL) == {"secret": "better"}
        assert building.rotation.upkeep["door"].stale is None

    play(building, scenario)
    assert building.told.names == ["not_reopened", "reopened"]


def test_what_cannot_be_reopened_is_tried_again() -> None:
    """The secret was right, and the world was not ready: nobody has to change it again."""
    building = Building(KEY="good")

    async def scenario(handler: Handler) -> None:
        building.kept.values["KEY"] = "bad"
        await until(lambda: "not_reopened" in building.told.names)
        building.secrets._values["KEY"] = "now it fits"  # noqa: SLF001 - without a change that the rotation could see
        building.kept.values["KEY"] = "now it fits"
        await until(lambda: len(building.doors) == 2)
        assert await handler.execute(CALL) == {"secret": "now it fits"}

    play(building, scenario)


def test_a_secret_that_cannot_be_read_keeps_its_last_value() -> None:
    """A file that is just being written is no reason to reopen; the fault is told once, and health shows it."""
    building = Building(KEY="good")

    async def scenario(handler: Handler) -> None:
        building.kept.values["KEY"] = SecretMissing("secret KEY is not there")
        await until(lambda: bool(building.secrets.faults))
        readings = building.kept.readings
        await until(lambda: building.kept.readings > readings + 2)
        assert await handler.execute(CALL) == {"secret": "good"}
        assert building.secrets.faults == {"KEY": "secret KEY is not there"}
        building.kept.values["KEY"] = "good"
        await until(lambda: not building.secrets.faults)

    play(building, scenario)
    assert building.told.names == ["secret_unreadable"]
    assert len(building.doors) == 1


def test_a_call_that_outlasts_its_time_does_not_keep_the_old_one_open() -> None:
    """Closing waits for the longest call that there can be, and for no call longer."""
    building = Building(KEY="first", drain_s=0.05)

    async def scenario(handler: Handler) -> None:
        building.doors[0].goes_on.clear()
        in_flight = asyncio.create_task(handler.execute(CALL))
        await until(lambda: building.doors[0].calls == 1)
        building.kept.values["KEY"] = "second"
        await until(lambda: not building.doors[0].is_open)
        building.doors[0].goes_on.set()
        with pytest.raises(AssertionError):
            await in_flight

    play(building, scenario)


def test_another_secret_reopens_nothing_and_what_cannot_be_reopened_is_told() -> None:
    """What the bus was opened with takes a restart, and health says so."""
    building = Building(KEY="k", OTHER="o")
    building.rotation.hold("bus", secrets=frozenset({"OTHER"}))

    async def scenario(_: Handler) -> None:
        building.kept.values["OTHER"] = "changed"
        await until(lambda: building.rotation.upkeep["bus"].stale is not None)

    play(building, scenario)
    assert len(building.doors) == 1
    assert building.told.events == [("restart_needed", {"what": "bus", "secrets": ["OTHER"]})]


def test_a_call_that_was_not_let_in_has_the_secrets_read_at_once() -> None:
    """The server knows of a rotation before the next reading does."""
    building = Building(KEY="old")
    building.rotation = Rotation(building.secrets, observer=building.told, poll_s=3600)

    async def scenario(handler: Handler) -> None:
        await asyncio.sleep(0)
        building.kept.values["KEY"] = "new"

        async def refused(_: HandlerCall) -> Mapping[str, Any]:
            raise HandlerError("credentials_refused", "not let in", retryable=True)

        building.doors[0].execute = refused  # type: ignore[method-assign]
        with pytest.raises(HandlerError):
            await handler.execute(CALL)
        await until(lambda: len(building.doors) == 2)
        assert await handler.execute(CALL) == {"secret": "new"}

    play(building, scenario)


def test_closing_in_the_middle_of_reopening_leaves_nothing_open() -> None:
    """The host may stop at any moment."""
    building = Building(KEY="first")

    async def scenario(_: Handler) -> None:
        building.kept.values["KEY"] = "second"
        await until(lambda: building.kept.readings > 2 or len(building.doors) > 1)

    play(building, scenario)


def test_what_fails_to_open_at_first_is_raised_as_it_is() -> None:
    """A host does not start with a secret that opens nothing."""
    with pytest.raises(HandlerError, match="does not fit"):
        play(Building(KEY="bad"), lambda _: asyncio.sleep(0))


def test_opening_that_is_cancelled_leaves_nothing_open() -> None:
    """Whoever waits for it may stop waiting."""

    async def scenario() -> None:
        closed = asyncio.Event()

        @asynccontextmanager
        async def slow() -> AsyncIterator[None]:
            try:
                await asyncio.sleep(3600)
                yield
            finally:
                closed.set()

        beginning = asyncio.create_task(SharedResource.begin(slow, drain_s=1))
        await asyncio.sleep(0.01)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        assert closed.is_set()

    asyncio.run(scenario())


def test_all_secrets_that_are_missing_are_told_at_once() -> None:
    """And a secret that was not loaded is not given."""

    async def scenario() -> None:
        secrets = CurrentSecrets(
            ResolvingReader(EnvironmentSecrets({"ONEX_SECRET_C": "3"})), Redactor(), observer=RecordingObserver()
        )
        with pytest.raises(SecretMissing, match=r"(?s)secret A is not there.*secret B is not there"):
            await secrets.load(["B", "A", "C"])
        await secrets.load(["C"])
        assert secrets.resolve("C") == "3"
        with pytest.raises(SecretMissing, match="secret A was not loaded"):
            secrets.resolve("A")

    asyncio.run(scenario())


def test_stores_and_inline_handlers_rotate_too() -> None:
    """Whatever is opened with a secret."""

    async def scenario() -> None:
        building = Building(KEY="first")
        await building.secrets.load(["KEY"])
        factory = MemoryStoreFactory()
        openings = 0

        @asynccontextmanager
        async def inline() -> AsyncIterator[InlineHandler]:
            nonlocal openings
            openings += 1
            yield LocalHandler()

        rotation = building.rotation
        async with (
            rotation.watching(),
            rotation.store(
                "idempotency.memory",
                lambda: factory.open(settings=factory.settings(), observer=building.told),
                secrets=KEY,
                drain_s=1,
            ) as store,
            rotation.handler("inline", inline, secrets=KEY, drain_s=1) as handler,
        ):
            assert hasattr(handler, "execute_inline")
            assert isinstance(await store.claim("a", owner="me", lease_s=60), Granted)
            assert not isinstance(await store.claim("a", owner="you", lease_s=60), Granted)
            building.kept.values["KEY"] = "second"
            await until(lambda: rotation.upkeep["idempotency.memory"].reopened == 1 and openings == 2)
            # A store in memory forgets: by that it is seen to be another.
            granted = await store.claim("a", owner="you", lease_s=60)
            assert isinstance(granted, Granted)
            assert await store.record("a", owner="you", answer=b"1", window_s=60)
            await store.release("a", token=granted.token)
            call = HandlerCall("local", "echo", Echo(message=7), None, 5.0, UUID(int=1))
            assert handler.execute_inline(call) == {"message": 7}

    asyncio.run(scenario())


def test_no_error_of_a_handler_tells_a_secret() -> None:
    """Neither message nor details of what it raises on purpose, nor the words of its bugs; its class and code stay."""
    redactor = Redactor()
    redactor.learn("KEY", "hunter-two-22")

    class Leaky:
        def __init__(self, error: Exception) -> None:
            self.error = error

        async def execute(self, _call: HandlerCall, /) -> Mapping[str, Any]:
            raise self.error

    def told(error: Exception) -> Exception:
        handler = RedactingHandler(Leaky(error), redactor)
        with pytest.raises(type(error) if isinstance(error, CommandFailed | TimeoutError) else CommandFailed) as caught:
            asyncio.run(handler.execute(CALL))
        return caught.value

    details = {"body": "Bearer abcdef0123456", "password": "x", "status": 403}
    ours = told(HandlerError("refused", "the key hunter-two-22 is bad", retryable=True, details=details))
    assert isinstance(ours, HandlerError)
    assert (str(ours), ours.code, ours.retryable) == ("the key *** is bad", "refused", True)
    assert ours.details == {"body": "Bearer ***", "password": "***", "status": 403}
    bug = told(KeyError("hunter-two-22"))
    assert isinstance(bug, CommandFailed)
    assert (str(bug), bug.code, bug.__cause__) == ("KeyError: '***'", "internal_error", None)
    assert isinstance(told(TimeoutError()), TimeoutError)
