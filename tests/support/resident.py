"""How much memory processes hold, looked at while something happens to them."""

import threading
from collections.abc import Callable, Iterable

import psutil

MEGABYTE = 1_000_000
_EVERY_S = 0.5


class ResidentMemory:
    """Notes the resident memory of each process, in MB, from the moment on that it is there, until `close`."""

    def __init__(self, pids: Callable[[], Iterable[int]], *, every_s: float = _EVERY_S) -> None:
        """Begin to look at the processes of these ids."""
        self.samples_mb: dict[int, list[float]] = {}
        self._pids = pids
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look at nothing any more."""
        self._stopping.set()
        self._thread.join()

    @property
    def most_mb(self) -> float:
        """The most that any of them held, in MB."""
        return max((max(samples) for samples in self.samples_mb.values()), default=0.0)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            for pid in list(self._pids()):
                try:
                    used_mb = psutil.Process(pid).memory_info().rss / MEGABYTE
                except psutil.NoSuchProcess:
                    continue
                self.samples_mb.setdefault(pid, []).append(used_mb)


def resident_mb(pid: int) -> float:
    """Return what a process holds now, in MB."""
    used: int = psutil.Process(pid).memory_info().rss
    return used / MEGABYTE
