"""Latency by rate, up to where a contestant no longer keeps up: an open loop, drawn as a picture.

The sender keeps to its pace whatever comes back, so that a contestant that falls behind is seen to.
"""

from collections.abc import Mapping, Sequence
from math import log10
from typing import NamedTuple

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.load import Load
from tests.benchmarks.report import percentile
from tests.support.processes import Child

RATES = (50, 100, 200, 500, 1000, 2000, 4000, 6000)
SECONDS = 3.0
READY_S = 120.0
HOPELESS_MS = 1000.0
"""Where the median is beyond that, a contestant does not keep up, and higher rates would only show it again."""

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 180, 30, 50
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_DECADES_MS = (1, 10, 100, 1000)


class Point(NamedTuple):
    """How long answers took at one rate: commands a second, and milliseconds."""

    rate: int
    p50_ms: float
    p99_ms: float


def latencies(contestant: Contestant, broker: str) -> list[Point]:
    """Measure a contestant at each rate, from low to high, until it falls behind."""
    load = Load(broker, contestant.routes, contestant.positions, contestant.headers)
    children: list[Child] = []
    points: list[Point] = []
    try:
        probes = load.probe()
        children += contestant.start()
        load.answered(probes, within_s=READY_S)
        load.steady(per_second=RATES[0], seconds=1.0)
        for rate in RATES:
            found_ms = load.steady(per_second=rate, seconds=SECONDS)
            points.append(Point(rate, percentile(found_ms, 50), percentile(found_ms, 99)))
            if points[-1].p50_ms > HOPELESS_MS:
                break
    finally:
        for child in children:
            child.kill()
        load.close()
    return points


def picture(lines: Mapping[str, Sequence[Point]]) -> str:
    """Draw the median of each contestant as a line, and its 99th percentile as a dashed one; both axes logarithmic."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_grid(),
    ]
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        for key, dash in (("p50_ms", ""), ("p99_ms", ' stroke-dasharray="4 3"')):
            path = " ".join(f"{_x(it.rate):.1f},{_y(getattr(it, key)):.1f}" for it in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        y = _TOP + 12 + 20 * number
        parts.append(f'<rect x="{_WIDTH - _RIGHT + 12}" y="{y - 9}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 30}" y="{y + 2}">{name}</text>')
    parts.append(f'<text x="{_LEFT}" y="18">latency in ms: median, and 99th percentile (dashed)</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 10}">commands a second, sent at a steady pace</text>')
    return "\n".join([*parts, "</svg>", ""])


def _grid() -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value in _DECADES_MS:
        y = _y(value)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for rate in RATES:
        x = _x(rate)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{rate}</text>')
    return parts


def _x(rate: float) -> float:
    share = (log10(rate) - log10(RATES[0])) / (log10(RATES[-1]) - log10(RATES[0]))
    return _LEFT + share * (_WIDTH - _RIGHT - _LEFT)


def _y(latency_ms: float) -> float:
    low, high = log10(_DECADES_MS[0]), log10(_DECADES_MS[-1])
    share = (log10(min(max(latency_ms, _DECADES_MS[0]), _DECADES_MS[-1])) - low) / (high - low)
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)
