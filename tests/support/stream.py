"""Commands that keep coming while a test does something to the brokers."""

import threading
import time
from uuid import UUID, uuid4

from omnibase_core.codec import decode
from tests.support.commands import command
from tests.support.traffic import publish

_SLICE = 1000
_KEYS = 100
_PAUSE_S = 0.05


class Stream:
    """Sends commands to a node from a thread of its own until it is stopped; a broker that is away is waited for."""

    def __init__(self, broker: str, topic: str) -> None:
        """Start to send."""
        self.commands: set[UUID] = set()
        self._broker = broker
        self._topic = topic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until the broker has everything."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            first = len(self.commands)
            messages = [
                command(self._topic, "echo", {"n": n}, key=b"%d" % (n % _KEYS), envelope_id=uuid4())
                for n in range(first, first + _SLICE)
            ]
            publish(self._broker, messages)
            self.commands |= {decode(it.value).envelope_id for it in messages}
            time.sleep(_PAUSE_S)
