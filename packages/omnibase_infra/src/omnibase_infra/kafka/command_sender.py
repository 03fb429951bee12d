"""Sends commands within their time, and says of one that was not taken what becomes of it."""

import asyncio

from confluent_kafka import KafkaError

from omnibase_core.errors import BusError
from omnibase_core.ports import Message
from omnibase_infra.kafka.producer import UNCERTAIN, WITHDRAWN, KafkaProducer
from omnibase_infra.kafka.settings import KafkaSettings

_DELIVERY_MS = 60_000
"""For so long a command may stay in the queue of a client that nobody waits for any more."""
_REPORT_S = 0.5


class CommandNotSent(BusError):
    """The command did not get to the broker in time, and never will."""

    code = "command_not_sent"


class CommandUncertain(BusError):
    """The command was on its way when its time was over: whether it is served shows later."""

    code = "command_uncertain"


class Troubles:
    """What the connection last complained of: it tells more than that an operation timed out. Any thread's."""

    def __init__(self, address: str) -> None:
        """Take where the broker is."""
        self.count = 0
        self._address = address
        self._last: str | None = None

    def note(self, error: KafkaError) -> None:
        """Take an error of a client: an error callback."""
        self.count += 1
        self._last = error.str()

    def said_since(self, count: int) -> str:
        """Return the address with what was last heard of it, where anything was heard since so many errors."""
        return f"Kafka at {self._address}: {self._last if self._last and self.count > count else 'no answer'}"


class Sender:
    """Owns the producer of a client. Belongs to the loop that it was made on."""

    def __init__(self, settings: KafkaSettings, *, name: str, troubles: Troubles) -> None:
        """Connect in the background; `name` is the client id."""
        config = {**settings.producer(client_id=name), "message.timeout.ms": _DELIVERY_MS}
        self._publisher = KafkaProducer(config, on_error=self._failed)
        self._troubles = troubles
        self._failures = 0
        self._under_way = 0

    async def send(self, message: Message, *, until_s: float) -> None:
        """Return when the broker has the message; `until_s` is a time of the loop.

        Raises CommandNotSent and CommandUncertain when it has not by then, BusError where it refuses the message.
        """
        errors_before, failures_before = self._troubles.count, self._failures
        published = self._publisher.publish([message])
        self._under_way += 1
        try:
            try:
                async with asyncio.timeout_at(until_s):
                    refusals = await asyncio.shield(published)
            except TimeoutError:
                # Nobody else's command may be withdrawn with it.
                if self._under_way > 1:
                    raise self._uncertain(errors_before) from None
                self._publisher.withdraw()
                await asyncio.wait([published], timeout=_REPORT_S)
                if not published.done():
                    raise self._uncertain(errors_before) from None
                refusals = published.result()
        finally:
            self._under_way -= 1
        if not refusals:
            return
        error = refusals[0].error
        # A request that failed puts its message back into the queue: only without any failure it has never left it.
        if error.code == WITHDRAWN and self._failures == failures_before:
            raise CommandNotSent(f"{self._not_taken(errors_before)}; the command was not sent")
        if error.code in {WITHDRAWN, UNCERTAIN}:
            raise self._uncertain(errors_before)
        raise BusError(f"{self._troubles.said_since(errors_before)}: {error}") from error

    def _failed(self, error: KafkaError) -> None:
        """Count an error of the producer itself: the consumer's say nothing of what became of a command."""
        self._failures += 1
        self._troubles.note(error)

    async def close(self) -> None:
        """Disconnect, without waiting for a broker that does not answer."""
        await self._publisher.close(within_s=0)

    def _uncertain(self, errors_before: int) -> CommandUncertain:
        why = self._not_taken(errors_before)
        return CommandUncertain(f"{why}; the command was on its way, and may still be served")

    def _not_taken(self, errors_before: int) -> str:
        return f"{self._troubles.said_since(errors_before)}; the broker did not take the command in time"
