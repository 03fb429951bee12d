"""One run of one contestant: start, idle, steady load, backlog, stop; and what was measured on the way."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.load import Load
from tests.benchmarks.report import Figures, percentile
from tests.support.processes import Child, until

READY_S = 120.0
IDLE_S = 3.0
PER_SECOND = 200
BACKLOG_S = 300.0
MIB = 1024 * 1024


def measure(contestant: Contestant, broker: str, *, backlog: int, steady_s: float) -> Figures:
    """Run a contestant once, and give its figures."""
    load = Load(broker, contestant.routes, contestant.positions, contestant.headers)
    children: list[Child] = []
    try:
        probes = load.probe()
        began = time.monotonic()
        children += contestant.start()
        load.answered(probes, within_s=READY_S)
        ready_s = time.monotonic() - began
        processes = [psutil.Process(it.pid) for it in children]

        time.sleep(1)  # What start-up left to do is not idleness yet.
        before_s = _cpu_s(processes)
        time.sleep(IDLE_S)
        idle_cpu = (_cpu_s(processes) - before_s) / IDLE_S
        idle_rss = sum(it.memory_info().rss for it in processes)

        quiet = _Others()
        latencies_ms = load.steady(per_second=PER_SECOND, seconds=steady_s)

        count = int(backlog * contestant.share)
        with _stopped(children):
            ids = load.pile_up(count)
            before_s = _cpu_s(processes)
        until(lambda: _pause() or load.answers_at_the_broker() >= count, within_s=BACKLOG_S, what=contestant.name)
        cpu_s = _cpu_s(processes) - before_s
        others = quiet.percent()
        threads = sum(it.num_threads() for it in processes)
        connections = sum(_connections(it, broker) for it in processes)
        loaded_rss = sum(_peak_bytes(it.pid) for it in children)

        for child in children:
            os.kill(child.pid, signal.SIGTERM)
        for child in children:
            child.wait(within_s=60)
        found = load.answered(ids, within_s=60)
        left = sum(load.uncommitted(group, routes) for group, routes in contestant.groups.items())
        stamps_ms = found.stamps_ms.values()
        first_ms = min(stamps_ms)
        later = sum(it > first_ms for it in stamps_ms)  # The first ones were made before the first stamp.
        return Figures(
            rate=later / (max(stamps_ms) - first_ms) * 1000,
            cpu_us=cpu_s / count * 1e6,
            p50_ms=percentile(latencies_ms, 50),
            p99_ms=percentile(latencies_ms, 99),
            idle_mib=idle_rss / MIB,
            loaded_mib=loaded_rss / MIB,
            ready_s=ready_s,
            idle_cpu=idle_cpu * 100,
            threads=threads,
            connections=connections,
            others=others,
            uncommitted=left,
            repeats=found.repeats,
        )
    finally:
        for child in children:
            child.kill()
        load.close()


class _stopped:  # noqa: N801 - reads as what it is
    """Stops processes while a backlog piles up, and lets them go on at the end."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children

    def __enter__(self) -> None:
        for child in self._children:
            os.kill(child.pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            os.kill(child.pid, signal.SIGCONT)


class _Others:
    """What of the machine's CPU time goes to processes that have nothing to do with the benchmark."""

    def __init__(self) -> None:
        self._before = self._now()

    def percent(self) -> float:
        """Return their share since this was made."""
        busy, total, ours = (now - then for now, then in zip(self._now(), self._before, strict=True))
        return max(busy - ours, 0) / total * 100

    def _now(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        total = sum(times) - times.guest - times.guest_nice
        this = psutil.Process()
        return total - times.idle - times.iowait, total, _cpu_s([this, *this.children(recursive=True)])


def _pause() -> None:
    time.sleep(0.5)  # Asking for the ends of a thousand partitions is work for the broker.


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (it.cpu_times() for it in processes))


def _peak_bytes(pid: int) -> int:
    [line] = [it for it in Path(f"/proc/{pid}/status").read_text().splitlines() if it.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def _connections(process: psutil.Process, broker: str) -> int:
    port = int(broker.rpartition(":")[2])
    return sum(1 for it in process.net_connections("tcp") if it.status == "ESTABLISHED" and it.raddr.port == port)
