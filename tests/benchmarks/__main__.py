"""`make bench`: our host beside its peers on one real Kafka, in interleaved runs; then the footprint of many nodes.

Every process runs from an environment that holds nothing else, as a user would have it.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.contestants import BASE, PLUGIN, Contestant, Field
from tests.benchmarks.document import Conditions, conditions, document
from tests.benchmarks.footprint import footprints, import_s
from tests.benchmarks.latency import Point, latencies, picture
from tests.benchmarks.report import Figures, absolutes, medians, ratios, spreads
from tests.benchmarks.runs import measure
from tests.support.brokers import broker
from tests.support.postgres import Postgres
from tests.support.wheels import build_wheels, environment_with

DRAWN = (BASE, "host, 1 node", "host, 500 nodes", "awaits, 1 node", "FastStream, batches", "Quix Streams")
WARM_UP_COMMANDS = 20_000
WARM_UP_S = 2.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write a document of them if that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--commands", type=int, default=120_000, help="how many wait for each contestant")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant runs")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the steady load lasts")
    parser.add_argument("--quick", action="store_true", help="few commands, one round: to see that it works")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the document of the figures")
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.commands, asked.rounds, asked.seconds = 2_000, 1, 2.0

    with TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        (folder / "broker").mkdir()
        server = broker(folder / "broker")
        server.start()
        stack.callback(server.stop)
        bin_folder = environment_with(folder, *build_wheels(folder / "dist").values(), PLUGIN)
        database = stack.enter_context(Postgres(folder / "postgres.log"))
        field = Field(folder, server.bootstrap_servers, bin_folder, database.dsn())
        stack.callback(field.close)
        here = conditions(server.name, bin_folder, commands=asked.commands, rounds=asked.rounds, seconds=asked.seconds)
        print("\n".join(here.lines), flush=True)

        contestants = field.all()
        runs = _rounds(contestants, server.bootstrap_servers, here)
        tables = _tables(runs)
        print("\n" + tables, flush=True)
        footprint = footprints(folder, server.bootstrap_servers, bin_folder)
        footprint += [
            "",
            f"import omnibase_core: {import_s(bin_folder) * 1000:.0f} ms (best of 5, with the interpreter)",
        ]
        print("\n" + "\n".join(footprint))
        drawn = _latencies([it for it in contestants if it.name in DRAWN], server.bootstrap_servers)
        if asked.write:
            asked.write.write_text(document(here, tables, "\n".join(footprint)))
            asked.write.with_name("latency.svg").write_text(drawn)


def _rounds(contestants: Sequence[Contestant], address: str, here: Conditions) -> dict[str, list[Figures]]:
    """Run every contestant once a round, forth and back by turns; a run that fails is told and left out."""
    runs: dict[str, list[Figures]] = {it.name: [] for it in contestants}
    for contestant in contestants:
        # The broker warms up: its compiler, and the logs of a thousand topics, which it opens at the first message.
        with suppress(AssertionError, TimeoutError):
            measure(contestant, address, backlog=WARM_UP_COMMANDS, steady_s=WARM_UP_S)
    for number in range(here.rounds):
        for contestant in contestants if number % 2 == 0 else contestants[::-1]:
            began = time.monotonic()
            try:
                figures = measure(contestant, address, backlog=here.commands, steady_s=here.seconds)
            except (AssertionError, TimeoutError) as error:
                print(f"round {number + 1}, {contestant.name}: failed: {error}", file=sys.stderr, flush=True)
                continue
            runs[contestant.name].append(figures)
            took_s = time.monotonic() - began
            print(
                f"round {number + 1}, {contestant.name}: {figures.rate:,.0f} msg/s, {figures.cpu_us:.0f} us,"
                f" {figures.p50_ms:.1f} ms, {figures.uncommitted:.0f} left, {figures.repeats:.0f} again;"
                f" {took_s:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return {name: found for name, found in runs.items() if found}


def _latencies(contestants: Sequence[Contestant], address: str) -> str:
    """Measure latency by rate, print it, and draw it."""
    lines: dict[str, list[Point]] = {}
    for contestant in contestants:
        lines[contestant.name] = latencies(contestant, address)
        told = ", ".join(f"{it.rate}/s {it.p50_ms:.1f} and {it.p99_ms:.1f} ms" for it in lines[contestant.name])
        print(f"p50 and p99 of {contestant.name}: {told}", flush=True)
    return picture(lines)


def _tables(runs: dict[str, list[Figures]]) -> str:
    results = {name: medians(found) for name, found in runs.items()}
    return "\n".join([*ratios(results, BASE), "", *absolutes(results), "", *spreads(runs)])


if __name__ == "__main__":
    main()
