"""Whether the broker can be reached: said once when it cannot, and once when it can again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException

from omnibase_core.ports import Observer

_PROBE_S = 1.0

_SUSPICIOUS = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})
_TOLD_ONCE = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})


class BrokerConnectivity:
    """Hears the clients' errors on their threads, and tells the observer on the loop."""

    def __init__(self, observer: Observer, address: str) -> None:
        """Believe in the broker until a client complains."""
        self.down = False
        self.fatal: str | None = None
        self._observer = observer
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._suspect = False
        self._why = ""
        self._told: set[str] = set()

    def error(self, error: KafkaError) -> None:
        """Take an error of a client. A lost connection is only a suspicion: brokers close idle ones."""
        if error.fatal():
            self.fatal = error.str()
        elif error.code() in _SUSPICIOUS:
            self._suspect = True
            if error.code() != KafkaError._ALL_BROKERS_DOWN:  # that says less than what was told of each
                self._why = error.str()
        elif error.code() in _TOLD_ONCE:
            self._suspect = True
            self._tell_once(error)
        else:
            self._tell_once(error)

    def transaction_error(self, error: KafkaError) -> None:
        """Take an error of a transactional client, which is replaced when it cannot go on."""
        if not error.fatal():
            self.error(error)

    def check(self, list_topics: Callable[..., object]) -> bool:
        """Ask the broker, if there is a reason to, and say whether it can be reached. Blocks for a second at most."""
        if not (self._suspect or self.down):
            return True
        try:
            list_topics(timeout=_PROBE_S)
        except KafkaException as error:
            self.lost(error.args[0])
            return False
        self.found()
        return True

    def lost(self, error: KafkaError) -> None:
        """Record that the broker cannot be reached."""
        if not self.down:
            self.down = True
            reason = self._why or error.str()
            self._tell("error", "broker_unreachable", address=self._address, reason=reason, next="trying on")

    def found(self) -> None:
        """Record that the broker answered."""
        self._suspect = False
        self._why = ""
        self._told.clear()
        if self.down:
            self.down = False
            self._tell("info", "broker_reachable", address=self._address)

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Report an event to the observer, from any thread."""
        self._tell(level, name, **fields)

    def _tell_once(self, error: KafkaError) -> None:
        if error.str() not in self._told:
            self._told.add(error.str())
            self._tell("warning", "broker_error", address=self._address, reason=error.str())

    def _tell(self, level: str, name: str, **fields: object) -> None:
        with suppress(RuntimeError):  # A loop that is closed has nobody left who listens.
            self._loop.call_soon_threadsafe(lambda: self._observer.event(level, name, **fields))
