"""Hosts of one pool and their broker, and everything that happens to them in a test of chaos."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from typing import Any

from tests.support.brokers import Broker
from tests.support.hosts import Machine, RunningHost

_FROZEN_S = 8.0
"""Longer than the session: the group goes on without it, and it comes back to find itself replaced."""
_BROKER_AWAY_S = 3.0
_BROKER_EVERY_S = 10.0
_SLACK_S = 4.0
"""For the end of a process itself, on a machine that is busy."""


class Hosts:
    """Hosts of a machine: two that come to harm, one that is never ended (`veteran`), and one that joins and leaves."""

    def __init__(self, machine: Machine, *, stop_s: float) -> None:
        """Start three."""
        self._machine = machine
        self._stop_s = stop_s
        self.victims = [machine.start() for _ in range(2)]
        self.veteran = machine.start()
        self.guest: RunningHost | None = None
        self.statuses: Counter[int] = Counter()
        self.longest_stop_s = 0.0
        self.died: list[str] = []
        for host in self.all():
            host.until_started()

    def all(self) -> list[RunningHost]:
        """Return those that run."""
        return [*self.victims, self.veteran, *([self.guest] if self.guest is not None else [])]

    def pids(self) -> list[int]:
        """Return their processes."""
        return [host.child.pid for host in self.all()]

    def kill(self, index: int) -> None:
        """End a victim at once, and start another in its place."""
        self._see_that_it_lives(self.victims[index])
        self.victims[index].child.kill()
        self._replace(index)

    def stop(self, index: int) -> None:
        """End a victim in order, and start another in its place."""
        self._end(self.victims[index])
        self._replace(index)

    def join(self) -> None:
        """Let a fourth host join, or leave if it is there."""
        if self.guest is None:
            self.guest = self._machine.start()
            self.guest.until_started()
        else:
            guest, self.guest = self.guest, None
            self._end(guest)

    def freeze(self, host: RunningHost) -> None:
        """Let a host stand still for longer than its session."""
        os.kill(host.child.pid, signal.SIGSTOP)
        time.sleep(_FROZEN_S)
        os.kill(host.child.pid, signal.SIGCONT)

    def standing(self) -> dict[str, Any]:
        """Return what their health says of partitions that are held or lag, and of trouble; empty if all is well."""
        told: dict[str, Any] = {}
        for number, host in enumerate(self.all()):
            report = host.health()
            kept = {name: report[name] for name in ("reasons", "client_failure", "partitions") if report[name]}
            kept |= {name: report[name] for name in ("in_flight", "bytes_in_flight") if report[name]}
            if kept:
                told[f"host {number}"] = kept
        return told

    def stop_all(self) -> list[int]:
        """End all in order, and give their statuses."""
        return [self._end(host) for host in self.all()]

    @property
    def statuses_told(self) -> str:
        """How many ended with which status."""
        return ", ".join(f"{count} with status {status}" for status, count in sorted(self.statuses.items()))

    def _replace(self, index: int) -> None:
        self.victims[index] = self._machine.start()
        self.victims[index].until_started()

    def _end(self, host: RunningHost) -> int:
        """End a host in order: in time, with status 0, or with 1 where something did not answer in time."""
        self._see_that_it_lives(host)
        began_s = time.monotonic()
        status = host.child.stop(within_s=self._stop_s + _SLACK_S)
        self.longest_stop_s = max(self.longest_stop_s, time.monotonic() - began_s)
        self.statuses[status] += 1
        if status not in (0, 1):
            self.died.append(f"status {status}:\n{host.child.tail()}")
        return status

    def _see_that_it_lives(self, host: RunningHost) -> None:
        """Record a host that ended though nobody asked it to."""
        try:
            self.died.append(f"status {host.child.wait(within_s=0)}:\n{host.child.tail()}")
        except subprocess.TimeoutExpired:
            return


class Torment:
    """Does one thing after the other to hosts, and restarts their broker beside that, each from a thread of its own.

    A child dies with the thread that started it: the threads live, idle, until `close`.
    """

    def __init__(self, hosts: Hosts, broker: Broker, *, length_s: float) -> None:
        """Begin."""
        self._hosts = hosts
        self._broker = broker
        self._until_s = time.monotonic() + length_s
        self._done: Counter[str] = Counter()
        self._failed: list[BaseException] = []
        self._closing = threading.Event()
        self._ending = threading.Lock()
        self._running = 2
        self._threads = [
            threading.Thread(target=self._run, args=(it,), daemon=True) for it in (self._hurt_hosts, self._restart)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def goes_on(self) -> bool:
        """Whether something may still happen."""
        return self._running > 0 and not self._failed

    def told(self) -> str:
        """Return what happened how often. Raises what went wrong."""
        if self._failed:
            raise self._failed[0]
        return ", ".join(f"{number} {fault}" for fault, number in self._done.items())

    def close(self) -> None:
        """End the threads, and with them whatever they started and is not ended yet."""
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the end is waited for
            self._failed.append(error)
        with self._ending:
            self._running -= 1
        self._closing.wait()

    def _hurt_hosts(self) -> None:
        hosts = self._hosts
        faults: list[tuple[str, Callable[[], None]]] = [
            ("killed", lambda: hosts.kill(0)),
            ("joined or left", hosts.join),
            ("stopped", lambda: hosts.stop(1)),
            ("frozen", lambda: hosts.freeze(hosts.veteran)),
            ("killed", lambda: hosts.kill(1)),
            ("joined or left", hosts.join),
            ("frozen", lambda: hosts.freeze(hosts.victims[0])),
            ("stopped", lambda: hosts.stop(0)),
        ]
        for fault, act in cycle(faults):
            time.sleep(2)
            if time.monotonic() > self._until_s:
                return
            act()
            self._done[fault] += 1

    def _restart(self) -> None:
        for end in cycle(("stop", "kill")):
            time.sleep(_BROKER_EVERY_S)
            if time.monotonic() > self._until_s:
                return
            getattr(self._broker, end)()
            time.sleep(_BROKER_AWAY_S)
            self._broker.start()
            self._done[f"restarts of the broker by {'SIGTERM' if end == 'stop' else 'SIGKILL'}"] += 1
