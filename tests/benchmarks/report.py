"""What the runs gave, as tables of 80 columns. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run of one contestant, or the medians of several. All of its processes together."""

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    idle_mib: float
    loaded_mib: float
    ready_s: float
    idle_cpu: float
    threads: float
    connections: float
    others: float = 0
    uncommitted: float = 0
    repeats: float = 0


@dataclass(frozen=True)
class Column:
    """How a figure is shown: under which title, in which form, and in which tables."""

    key: str
    title: str
    form: str
    width: int
    ratio: bool = True


_NAME_WIDTH = 19
_COLUMNS = (
    Column("rate", "msg/s", "{:,.0f}", 8),
    Column("cpu_us", "CPU us", "{:.0f}", 7),
    Column("p50_ms", "p50 ms", "{:.1f}", 7),
    Column("p99_ms", "p99 ms", "{:.1f}", 7),
    Column("idle_mib", "idle", "{:.0f}", 6),
    Column("loaded_mib", "peak", "{:.0f}", 6),
    Column("ready_s", "up s", "{:.2f}", 6),
    Column("idle_cpu", "idle%", "{:.1f}", 6, ratio=False),
    Column("threads", "thr", "{:.0f}", 4, ratio=False),
    Column("connections", "con", "{:.0f}", 4, ratio=False),
)
_SPREADS = (
    Column("rate", "msg/s", "{:,.0f}", 15),
    Column("cpu_us", "CPU us", "{:.0f}", 11),
    Column("p50_ms", "p50 ms", "{:.1f}", 15),
    Column("p99_ms", "p99 ms", "{:.0f}", 12),
    Column("others", "others%", "{:.0f}", 8),
)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)]


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure by itself."""
    return Figures(**{it.name: median(getattr(run, it.name) for run in runs) for it in fields(Figures)})


def ratios(results: Mapping[str, Figures], base: str) -> list[str]:
    """Write each contestant's figures as multiples of those of one of them."""
    columns = [it for it in _COLUMNS if it.ratio]
    lines = [f"times {base}", _line("", [it.title.split()[0] for it in columns], columns)]
    for name, figures in results.items():
        cells = [_ratio(getattr(figures, it.key), getattr(results[base], it.key)) for it in columns]
        lines.append(_line(name, cells, columns))
    return lines


def absolutes(results: Mapping[str, Figures]) -> list[str]:
    """Write each contestant's figures."""
    lines = [_line("", [it.title for it in _COLUMNS], _COLUMNS)]
    for name, figures in results.items():
        lines.append(_line(name, [it.form.format(getattr(figures, it.key)) for it in _COLUMNS], _COLUMNS))
    return lines


def spreads(runs: Mapping[str, Sequence[Figures]]) -> list[str]:
    """Write from what to what the figures of the rounds went."""
    lines = [_line("lowest-highest", [it.title for it in _SPREADS], _SPREADS)]
    for name, found in runs.items():
        values = [[getattr(run, it.key) for run in found] for it in _SPREADS]
        cells = [
            f"{it.form.format(min(some))}-{it.form.format(max(some))}"
            for it, some in zip(_SPREADS, values, strict=True)
        ]
        lines.append(_line(name, cells, _SPREADS))
    return lines


def _line(name: str, cells: Sequence[str], columns: Sequence[Column]) -> str:
    padded = (f"{cell:>{it.width}}" for cell, it in zip(cells, columns, strict=True))
    return (f"{name:<{_NAME_WIDTH}}" + "".join(padded)).rstrip()


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.2f}" if base else "-"
