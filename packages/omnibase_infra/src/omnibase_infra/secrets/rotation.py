"""Rotation: what a host opened with secrets is opened anew when they change, and the old one finishes its calls."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from omnibase_core.engine.instance import is_inline
from omnibase_core.policies import RetryPolicy
from omnibase_infra.background_tasks import in_background
from omnibase_infra.secrets.current import CurrentSecrets
from omnibase_infra.secrets.shared_resource import Open, SharedResource
from omnibase_spi import (
    Granted,
    Handler,
    HandlerCall,
    HandlerError,
    IdempotencyStore,
    InlineHandler,
    Observer,
    Recorded,
    Taken,
)

T = TypeVar("T")

NOT_LET_IN = frozenset({"credentials_refused", "token_refused"})
"""The codes by which a handler says that it was not let in: perhaps its secrets have changed, if it is retryable."""

_POLL_S = 1.0
_LOOKS_APART_S = 0.1
_OPEN_S = 60.0
_BACKOFF = RetryPolicy(initial_s=1.0, max_s=60.0, jitter=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """How something opened with secrets is: `reopened` so many times since, and why it is `stale`, if it is.

    What is stale still works with the values from before.
    """

    reopened: int
    stale: str | None


class Rotation:
    """Watches the secrets of a host, and reopens with their new values what was opened with the old ones.

    Guarantees: what serves is replaced by what is open already, in one step; a call begun on the old one ends there,
    and it is closed afterwards. What cannot be opened is logged, and tried again for as long as it takes, with pauses
    of one second to one minute; until then the old one serves.
    """

    def __init__(self, secrets: CurrentSecrets, *, observer: Observer, poll_s: float = _POLL_S) -> None:
        """Watch these secrets, by reading them once in `poll_s` seconds."""
        self._secrets = secrets
        self._observer = observer
        self._poll_s = poll_s
        self._kept: dict[str, Kept[Any]] = {}
        self._fixed: dict[str, frozenset[str]] = {}
        self._outdated: set[str] = set()
        self._look = asyncio.Event()

    @property
    def upkeep(self) -> Mapping[str, Upkeep]:
        """How each thing is that was opened with secrets."""
        why = "its secrets have changed; restart the host to use the new ones"
        fixed = {name: Upkeep(reopened=0, stale=why if name in self._outdated else None) for name in self._fixed}
        return {**fixed, **{name: Upkeep(reopened=it.reopened, stale=it.stale) for name, it in self._kept.items()}}

    def hold(self, name: str, *, secrets: frozenset[str]) -> None:
        """Report something that cannot be reopened when its secrets change."""
        if secrets:
            self._fixed[name] = secrets

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch while the context is open."""
        async with in_background("watch of the secrets", self._watch):
            yield

    @asynccontextmanager
    async def handler(
        self, name: str, open_: Open[Handler | InlineHandler], *, secrets: frozenset[str], drain_s: float
    ) -> AsyncIterator[Handler | InlineHandler]:
        """Yield a handler that is reopened when one of these secrets changes; closing it closes every opening of it."""
        async with self._keep(name, open_, secrets, drain_s) as kept:
            inline = is_inline(kept.current.resource)
            yield RotatingInlineHandler(kept) if inline else RotatingHandler(kept, self._look)

    @asynccontextmanager
    async def store(
        self, name: str, open_: Open[IdempotencyStore], *, secrets: frozenset[str], drain_s: float
    ) -> AsyncIterator[IdempotencyStore]:
        """Yield a store likewise."""
        async with self._keep(name, open_, secrets, drain_s) as kept:
            yield RotatingStore(kept)

    @asynccontextmanager
    async def _keep(
        self, name: str, open_: Open[T], secrets: frozenset[str], drain_s: float
    ) -> AsyncIterator["Kept[T]"]:
        kept = Kept(name, open_, secrets, drain_s, self._observer)
        await kept.open()
        self._kept[name] = kept
        try:
            async with in_background(f"rotation of {name}", kept.replace_when_changed):
                yield kept
        finally:
            await kept.close()

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._look.wait()
            anew = self._look.is_set()
            self._look.clear()
            await self._read_again(anew=anew)
            await asyncio.sleep(min(_LOOKS_APART_S, self._poll_s))

    async def _read_again(self, *, anew: bool) -> None:
        before = dict(self._secrets.faults)
        try:
            changed = await self._secrets.refresh(anew=anew)
        except Exception as error:  # noqa: BLE001 - whatever a reader has met, the next reading may go well
            self._observer.event("error", "secrets_unreadable", error=error)
            return
        for name, why in self._secrets.faults.items():
            if before.get(name) != why:
                self._observer.event("warning", "secret_unreadable", secret=name, reason=why)
        for kept in self._kept.values():
            kept.note(changed)
        for name, secrets in self._fixed.items():
            if secrets & changed and name not in self._outdated:
                self._outdated.add(name)
                self._observer.event("warning", "restart_needed", what=name, secrets=sorted(secrets & changed))


class Kept(Generic[T]):
    """Something that is open, and is replaced when its secrets change."""

    def __init__(self, name: str, open_: Open[T], secrets: frozenset[str], drain_s: float, observer: Observer) -> None:
        """Open nothing yet."""
        self.reopened = 0
        self.stale: str | None = None
        self._name = name
        self._open = open_
        self._secrets = secrets
        self._drain_s = drain_s
        self._observer = observer
        self._changed = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    current: SharedResource[T]

    async def open(self) -> None:
        """Open it for the first time. Raises what opening raises."""
        self.current = await SharedResource.begin(self._open, drain_s=self._drain_s)

    async def close(self) -> None:
        """Close it, and what it replaced."""
        retired = [asyncio.create_task(self.current.retire()), *self._closing]
        await asyncio.gather(*retired)

    def note(self, changed: frozenset[str]) -> None:
        """Take notice of secrets that have changed."""
        if changed & self._secrets:
            self.stale = self.stale or "its secrets have changed, and it is being opened with them"
            self._changed.set()

    async def replace_when_changed(self) -> None:
        """Replace it whenever its secrets have changed, until cancelled."""
        while True:
            await self._changed.wait()
            attempt = 0
            while self._changed.is_set() or attempt:
                self._changed.clear()
                attempt = 0 if await self._replaced() else attempt + 1
                if attempt:
                    await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        """Wait before the next attempt. Another change of the secrets ends the wait: it may be the cure."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_BACKOFF.delay_s(attempt, chance=0.0)):
                await self._changed.wait()

    async def _replaced(self) -> bool:
        try:
            async with asyncio.timeout(_OPEN_S):
                fresh = await SharedResource.begin(self._open, drain_s=self._drain_s)
        except Exception as error:  # noqa: BLE001 - whatever a vendor raises, the old one goes on serving
            self.stale = f"it cannot be opened with its new secrets: {type(error).__name__}: {error}"
            self._observer.event("warning", "not_reopened", what=self._name, reason=self.stale)
            return False
        former, self.current = self.current, fresh
        self.reopened += 1
        self.stale = None
        self._observer.event("info", "reopened", what=self._name, secrets=sorted(self._secrets))
        closing = asyncio.create_task(self._close(former))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return True

    async def _close(self, former: SharedResource[T]) -> None:
        try:
            await former.retire()
        except Exception as error:  # noqa: BLE001 - nobody uses it any more
            self._observer.event("warning", "not_closed", what=self._name, error=error)


class RotatingHandler:
    """The handler that is current at the time of each call. A Handler."""

    def __init__(self, kept: Kept[Any], look: asyncio.Event) -> None:
        """Take what is kept, and by what the secrets are read again at once."""
        self._kept = kept
        self._look = look

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Let the current one do the call, to its end."""
        opening = self._kept.current
        opening.enter()
        try:
            result: Mapping[str, Any] = await opening.resource.execute(call)
        except HandlerError as error:
            if error.retryable and error.code in NOT_LET_IN:
                self._look.set()
            raise
        finally:
            opening.leave()
        return result


class RotatingInlineHandler:
    """The handler that is current at the time of each call. An InlineHandler."""

    def __init__(self, kept: Kept[Any]) -> None:
        """Take what is kept."""
        self._kept = kept

    def execute_inline(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Let the current one compute the result."""
        result: Mapping[str, Any] = self._kept.current.resource.execute_inline(call)
        return result


class RotatingStore:
    """The store that is current at the time of each question. An IdempotencyStore."""

    def __init__(self, kept: Kept[IdempotencyStore]) -> None:
        """Take what is kept."""
        self._kept = kept

    async def claim(self, key: str, /, *, owner: str, lease_s: float) -> Granted | Recorded | Taken:
        """Ask the current one."""
        async with self._current() as store:
            return await store.claim(key, owner=owner, lease_s=lease_s)

    async def record(self, key: str, /, *, owner: str, answer: bytes, window_s: float) -> bool:
        """Ask the current one."""
        async with self._current() as store:
            return await store.record(key, owner=owner, answer=answer, window_s=window_s)

    async def release(self, key: str, /, *, token: int) -> None:
        """Ask the current one."""
        async with self._current() as store:
            await store.release(key, token=token)

    @asynccontextmanager
    async def _current(self) -> AsyncIterator[IdempotencyStore]:
        opening = self._kept.current
        opening.enter()
        try:
            yield opening.resource
        finally:
            opening.leave()
