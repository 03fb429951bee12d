"""Watches: what is read of a handler again and again, and sent to a node as a command whenever it has changed.

Publish before going on: a change counts as sent once the broker has acknowledged its command. One that the broker
refuses is sent again, after a backoff, until it is acknowledged or a newer result has taken its place. A host that
begins to watch does not know what was sent before, and sends what is now: so nothing is lost when a host dies.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

from omnibase_core.codec import encode
from omnibase_core.contracts.compiler.watches import CompiledWatch
from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.errors import PublishFailed
from omnibase_core.policies import RetryPolicy
from omnibase_core.ports import Handler, HandlerCall, Message, Observer, Partition, Refusal
from omnibase_core.topics import Namespace
from omnibase_spi import HandlerError

Publish = Callable[[Sequence[Message]], Awaitable[Sequence[Refusal]]]
_DUTY_S = 0.5
"""How soon a host notices that a partition, and with it a watch, has come or gone."""
_BACKOFF_FIRST_S = 0.5
_GRACE_S = 1.0
"""By how much a call may outlast its time before it is cut off: a handler that keeps to it says what it waited for."""


class Watcher:
    """Runs one watch. `state` says how it is: `standby`, `watching`, or the error that reading or sending meets.

    One host of a pool watches at a time: the one that serves the first partition of the node's commands. While it is
    handed over two may do it, and a change then comes twice.
    """

    def __init__(
        self,
        compiled: CompiledWatch,
        handler: Handler,
        *,
        names: Namespace,
        publish: Publish,
        observer: Observer,
    ) -> None:
        """Keep what the watch needs."""
        self.name = compiled.name
        self.state = "standby"
        self._compiled = compiled
        self._watch = compiled.watch
        self._handler = handler
        self._publish = publish
        self._observer = observer
        self._topic = names.command(compiled.watch.node, compiled.major)
        self._backoff = RetryPolicy(initial_s=_BACKOFF_FIRST_S, max_s=compiled.watch.backoff_max_s)

    async def run(self, assigned: Callable[[], Sequence[Partition]], now: Callable[[], datetime]) -> None:
        """Watch whenever it is this host's turn, until cancelled."""
        duty = Partition(self._topic, 0)
        while True:
            while duty not in assigned():  # noqa: ASYNC110 - what the runtime serves tells nobody that it changes
                await asyncio.sleep(_DUTY_S)
            watching = asyncio.create_task(self._follow(now))
            try:
                while duty in assigned() and not watching.done():
                    await asyncio.wait({watching}, timeout=_DUTY_S)
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
                self.state = "standby"

    async def _follow(self, now: Callable[[], datetime]) -> None:
        """Ask, send what has changed, ask for what comes after it."""
        request, sent, failures, refused = self._compiled.request, None, 0, False
        while True:
            try:
                result, following = await self._ask(request)
                if not refused:  # A result that is still refused is not yet "watching" again.
                    self._reads()
                if result != sent:
                    await self._send(result, now())
                    sent = result
            except (HandlerError, PublishFailed) as error:
                failures += 1
                refused = isinstance(error, PublishFailed)
                self._fails(error)
                # What is now is asked for, which answers at once: a server that comes back may have gone back too, and
                # a result that was refused is either sent again or replaced.
                request = self._compiled.request
                await asyncio.sleep(self._pause_s(failures, error))
                continue
            failures, refused, request = 0, False, following
            self._reads()
            # Also where nothing has changed: a server that does not wait as it was asked to must not be asked in a row.
            await asyncio.sleep(self._watch.interval_s)

    async def _ask(self, request: Any) -> tuple[Mapping[str, Any], Any]:
        """Return the result, and the request for what comes after it. Raises HandlerError and nothing else."""
        watch = self._watch
        call = HandlerCall(watch.handler, watch.call, request, watch.target, watch.timeout_s, uuid4())
        try:
            async with asyncio.timeout(watch.timeout_s + _GRACE_S):
                result = await self._handler.execute(call)
            return result, self._compiled.following(request, result)
        except HandlerError:
            raise
        except TimeoutError as error:
            raise HandlerError("timeout", f"no result within {watch.timeout_s:g} s", retryable=True) from error
        except Exception as error:
            # A handler's bug ends neither the host nor the watch.
            raise HandlerError("internal_error", f"{type(error).__name__}: {error}") from error

    def _pause_s(self, failures: int, error: HandlerError | PublishFailed) -> float:
        retry_after_s = error.retry_after_s if isinstance(error, HandlerError) else None
        # The random share spreads load, and hides nothing.
        return self._backoff.delay_s(failures, chance=random.random(), retry_after_s=retry_after_s)  # noqa: S311

    async def _send(self, result: Mapping[str, Any], now: datetime) -> None:
        """Publish the command, and wait for as long as the broker takes. Raises PublishFailed where it is refused."""
        try:
            value = encode(self._command(result, now))
        except ValueError as error:
            raise PublishFailed("publish_refused", f"the result has no form in JSON: {error}") from error
        for refusal in await self._publish([Message(self._topic, self.name.encode(), value)]):
            raise refusal.error

    def _command(self, result: Mapping[str, Any], now: datetime) -> OnexEnvelope:
        identity = uuid4()
        return OnexEnvelope(
            envelope_version=ENVELOPE_VERSION,
            envelope_id=identity,
            correlation_id=identity,
            node_slug=self._watch.node,
            operation=self._watch.operation,
            payload=dict(result),
            metadata={"watch": self.name},
            timestamp=now,
        )

    def _fails(self, error: HandlerError | PublishFailed) -> None:
        if self.state == (state := f"{error.code}: {error}"):
            return
        self.state = state
        if isinstance(error, PublishFailed):
            self._observer.event("error", "watch_publish_failed", watch=self.name, topic=self._topic, error=str(error))
        else:
            self._observer.event("warning", "watch_failed", watch=self.name, code=error.code, error=str(error))

    def _reads(self) -> None:
        if self.state != "watching":
            self.state = "watching"
            self._observer.event("info", "watch_recovered", watch=self.name)
