"""By which a handler publishes for a command: on the host's own bus, or in the transaction of the command's answer."""

from collections.abc import Callable
from uuid import UUID

from omnibase_core.dead_letters import size_of
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Delivery, EnvelopeBus, Headers, Message

CAUSE = "onex-causation-id"
"""The header that names the command for which a message was published: of equal ones, the later is a repeat."""

DEPTH = "onex-depth"
"""The header that says of a request how many nodes wait for it: 1 or more."""
ADDRESSEE = "onex-request-for"
"""The header that names the command topic of the node that a request is for."""

_DIGITS_MAX = 4
_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
"""W3C Trace Context: what is carried on from a command."""


class Outgoing(Message):
    """A message that a handler publishes for a command, in the transaction of its answer."""

    __slots__ = ()


class CommandOutlet:
    """Publishes for one attempt at one command. An Outlet.

    With exactly once nothing is published here: `kept` goes into the transaction of the command's answer, and what an
    attempt that fails had kept is gone with it.
    """

    def __init__(
        self,
        bus: EnvelopeBus,
        delivery: Delivery,
        command: OnexEnvelope,
        closed: Callable[[], bool] = lambda: False,
        *,
        transacts: bool,
    ) -> None:
        """Publish for this command until `closed` says that its partition is another host's."""
        self.kept: list[Outgoing] = []
        self._closed = closed
        self._bus = bus
        self._command = command
        self._headers = delivery.headers
        self._transacts = transacts

    @property
    def correlation_id(self) -> UUID:
        """Return the command's."""
        return self._command.correlation_id

    @property
    def depth(self) -> int:
        """Return how many nodes wait for the command."""
        found = dict(self._headers).get(DEPTH)
        return int(found) if found and len(found) < _DIGITS_MAX and found.isdigit() else 0

    async def publish(self, message: Message, /) -> None:
        """Publish, or keep for the transaction. Raises PublishFailed.

        Not once the partition is given up: its next owner serves the command again, and what came from here would
        arrive behind what follows there.
        """
        if self._closed():
            raise PublishFailed("partition_lost", "the command's partition went to another host in the meantime")
        cause = (CAUSE, str(self._command.envelope_id).encode())
        headers = (*message.headers, cause, *trace_of(self._headers))
        outgoing = Outgoing(message.topic, message.key, message.value, headers)
        if (size := size_of(outgoing)) > self._bus.message_bytes_max:
            raise PublishFailed(
                "message_too_large", f"the message has {size} bytes, the bus takes {self._bus.message_bytes_max}"
            )
        if self._transacts:
            self.kept.append(outgoing)
            return
        for refusal in await self._bus.publish([outgoing]):
            raise refusal.error


def trace_of(headers: Headers) -> Headers:
    """Return what of a command's headers is carried on."""
    for header in headers:
        if header[0] not in _TRACE_HEADERS:
            return [header for header in headers if header[0] in _TRACE_HEADERS]
    return headers
