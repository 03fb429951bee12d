"""What the conformance suite of handlers has to know of each: a `Member`, and the world in which it is tested."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from omnibase_core.contracts.host import TargetLimits
from omnibase_core.engine.instance import is_inline
from omnibase_infra.call_chain.limits import LimitedHandler
from omnibase_infra.call_chain.metrics import MeasuredHandler
from omnibase_spi import Handler, HandlerCall, HandlerError, HandlerFactory, InlineHandler
from tests.support.wire import Wire

TARGET = "subject"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One thing to ask of a handler, as a contract writes it, and what tells that the result is the answer to it."""

    operation: str
    request: Mapping[str, Any]
    answers: Callable[[Mapping[str, Any]], object] = bool


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """By which codes a handler tells of each kind of trouble.

    `away`: nobody listens. `silent`: nothing comes. `broken`: the connection ends, or what comes makes no sense. A
    handler that waits for its server to come back, in a call's time, tells of each by that time.
    """

    away: frozenset[str] = frozenset({"unreachable"})
    silent: frozenset[str] = frozenset({"timeout"})
    broken: frozenset[str] = frozenset({"unreachable", "protocol_error"})


@dataclass(frozen=True, kw_only=True)
class Member:
    """One handler in the suite.

    - `ask(n)`: a call that works and is safe to repeat; its result tells n, so that mixed-up answers show.
    - `port`: where its server listens, for the whole session; None for a handler without a server, which takes part in
      what makes sense without one. `target(port)` is what a host contract writes of a server at that port.
    - `wire_port`: where the wire listens; any free port, unless the server itself tells its clients where to come to.
    - `hopeless_s`: how long a call is given that cannot work. A handler that sees this at once is not to need it; one
      that waits for its server to come back needs all of it, so little is enough.
    - `slow`: a call to which the server gives no answer within ten seconds, safe to repeat.
    - `unsafe`: a call that must not be repeated where it may have been done, if the handler has such.
    - `refused`: a call that the server refuses for its own sake, with the code of the error: it is not retryable.
    - `cuts`: after how many bytes of answers a connection breaks off: each is before the end of the answer to `ask`.
    - `secrets`: what stands in `settings` or `target` and nobody may see.
    - `rubbish`: what a server of another kind might say, beside what the suite sends.
    """

    factory: HandlerFactory
    ask: Callable[[int], Ask]
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: int | None = None
    wire_port: int = 0
    hopeless_s: float = 2.0
    target: Callable[[int], Mapping[str, Any]] = lambda _port: {}
    slow: Ask | None = None
    unsafe: Ask | None = None
    refused: tuple[Ask, str] | None = None
    cuts: tuple[int, ...] = (1, 2, 5, 10, 20, 40, 80)
    secrets: tuple[str, ...] = ()
    rubbish: tuple[bytes, ...] = ()
    trouble: Trouble = Trouble()


@dataclass
class HandlerWorld:
    """A member, the wire to its server, and every text in which a secret could have been told."""

    member: Member
    log: list[logging.LogRecord]
    wire: Wire
    told: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Handler | InlineHandler]:
        """Open the handler as a host does, behind its limits and figures."""
        description = self.member.factory.description
        targets = {}
        if description.target is not None:
            targets[TARGET] = description.target.model_validate(self.member.target(self.wire.port))
        settings = description.settings.model_validate(self.member.settings)
        self.told += [repr(settings), str(settings), repr(targets)]
        limits = {name: TargetLimits() for name in targets}
        async with self.member.factory.open(settings=settings, targets=targets) as opened:
            handler: Any = opened
            yield handler if is_inline(handler) else MeasuredHandler(LimitedHandler(handler, limits), {})

    def call(self, ask: Ask, *, timeout_s: float) -> HandlerCall:
        """Plan a call as the runtime does."""
        description = self.member.factory.description
        return HandlerCall(
            handler_type=description.handler_type,
            operation=ask.operation,
            request=description.operations[ask.operation].request.model_validate(ask.request),
            target=None if description.target is None else TARGET,
            timeout_s=timeout_s,
            call_id=uuid4(),
        )

    async def result(self, handler: Handler | InlineHandler, ask: Ask, *, timeout_s: float = 10.0) -> Mapping[str, Any]:
        """Do a call."""
        call = self.call(ask, timeout_s=timeout_s)
        subject: Any = handler
        return subject.execute_inline(call) if is_inline(handler) else await subject.execute(call)

    async def works(self, handler: Handler | InlineHandler, number: int = 0) -> bool:
        """Do a working call, and say whether its result is the answer to it."""
        ask = self.member.ask(number)
        return bool(ask.answers(await self.result(handler, ask)))

    async def failure(self, handler: Handler | InlineHandler, ask: Ask, *, timeout_s: float = 10.0) -> HandlerError:
        """Do a call that fails, give its error, and note what it tells. Any other exception is a bug."""
        try:
            result = await self.result(handler, ask, timeout_s=timeout_s)
        except HandlerError as error:
            self.told += [str(error), repr(error), str(error.details)]
            return error
        raise AssertionError(f"the call gave {result!r}, expected a HandlerError")

    async def in_vain(self, handler: Handler | InlineHandler, ask: Ask) -> HandlerError:
        """Do a call that cannot work, and give its error."""
        return await self.failure(handler, ask, timeout_s=self.member.hopeless_s)

    def assert_nothing_told(self) -> None:
        """Look for secrets in everything that was said: errors, the models' texts, logs of every level."""
        lines = [*self.told, *(f"{record.getMessage()} {record.exc_text}" for record in self.log)]
        for secret in self.member.secrets:
            assert not [line for line in lines if secret in line]
