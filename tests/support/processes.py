"""Child processes of tests: servers and hosts. Each has a log file, and none outlives the tests."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.02
_TAIL_LINES = 30


def free_port() -> int:
    """Return a port of loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def reserved_port(port: int = 0) -> Iterator[int]:
    """Keep a port of loopback, any free one by default: nobody is given it, and who says `reuse_port` may listen."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", port))
        found: int = reserved.getsockname()[1]
        yield found


def until(holds: Callable[[], object], *, within_s: float, what: str) -> None:
    """Wait until something holds. Raises TimeoutError, which says what did not come."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(_LOOK_EVERY_S)


class Child:
    """A process that dies with the tests, whatever becomes of them."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Start it, as another user if root says so; what it writes goes to the end of the log file."""
        self.log = log
        self._name = Path(command[0]).name
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                user=user,
                extra_groups=None if user is None else [],
                preexec_fn=_die_with_parent,  # it calls one function of libc and takes no lock
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def until_says(self, text: str, *, within_s: float) -> None:
        """Wait until its log holds a text. Raises AssertionError with the end of the log when it ends before."""

        def said() -> bool:
            if text in self.log.read_text(errors="replace"):
                return True
            assert self._process.poll() is None, f"{self._name} ended:\n{self.tail()}"
            return False

        try:
            until(said, within_s=within_s, what=f"{text!r} of {self._name}")
        except TimeoutError as error:
            raise AssertionError(f"{error}:\n{self.tail()}") from error

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = 30) -> int:
        """Send a signal and give the exit status; one that does not heed it is killed, and that is an error."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError(f"{self._name} did not end within {within_s:g} s:\n{self.tail()}") from error

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self._process.kill()
        self._process.wait()

    def wait(self, *, within_s: float) -> int:
        """Wait for it to end by itself, and give its exit status."""
        return self._process.wait(within_s)

    def tail(self) -> str:
        """Return the last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
