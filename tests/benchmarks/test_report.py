"""The statistics and tables of the benchmarks, without a benchmark."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.benchmarks.latency import Point, picture
from tests.benchmarks.load import COMMAND_BYTES, command
from tests.benchmarks.report import Figures, absolutes, medians, percentile, ratios, spreads

LINES = {"one": [Point(50, 1.0, 2.0), Point(6000, 2000.0, 3000.0)], "another": [Point(50, 0.2, 5.0)]}
SLOW = Figures(
    rate=1000,
    cpu_us=1245,
    p50_ms=1258.6,
    p99_ms=2000,
    idle_mib=697.5,
    loaded_mib=705,
    ready_s=14.12,
    idle_cpu=12.5,
    threads=100,
    connections=30,
)
FAST = replace(SLOW, rate=25_000.4, cpu_us=50, p50_ms=2.5)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0.1, 1)])
def test_percentile_is_a_value_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    """Percentile is a value that so many do not exceed."""
    assert percentile(range(100, 0, -1), percent) == expected


def test_percentile_of_one_value_is_that_value() -> None:
    """Percentile of one value is that value."""
    assert percentile([7], 99) == 7


def test_medians_are_taken_of_each_figure_by_itself() -> None:
    """Medians are taken of each figure by itself."""
    runs = [SLOW, replace(SLOW, rate=3000, cpu_us=10), replace(SLOW, rate=2000, cpu_us=20)]
    assert medians(runs) == replace(SLOW, rate=2000, cpu_us=20)


def test_ratios_are_multiples_of_the_base() -> None:
    """Ratios are multiples of the base."""
    [title, _, base, fast] = ratios({"base": SLOW, "fast": FAST}, "base")
    assert title == "times base"
    assert set(base.split()[1:]) == {"1.00"}
    assert fast.split()[:4] == ["fast", "25.00", "0.04", "0.00"]


def test_ratio_to_nothing_is_left_out() -> None:
    """Ratio to nothing is left out."""
    base = replace(SLOW, cpu_us=0)
    assert ratios({"base": base}, "base")[2].split()[2] == "-"


def test_tables_fit_a_terminal() -> None:
    """Tables fit a terminal."""
    name = "a name of 19 letter"
    results = {"base": SLOW, name: FAST}
    lines = [*ratios(results, "base"), *absolutes(results), *spreads({name: [SLOW, FAST]})]
    assert max(map(len, lines)) <= 80
    assert f"{name}  25,000" in absolutes(results)[2]
    assert "1,000-25,000" in lines[-1]


def test_commands_are_of_one_size() -> None:
    """Commands are of one size."""
    assert {len(command(node, n)[1]) for node in ("echo-0", "echo-499") for n in (0, 29_999)} == {COMMAND_BYTES}


def test_the_picture_has_two_lines_a_contestant_within_its_bounds() -> None:
    """A median and a 99th percentile each; what is beyond the axes stands at their ends."""
    drawn = ElementTree.fromstring(picture(LINES))  # noqa: S314 - it is our own
    lines = [it for it in drawn.iter() if it.tag.endswith("polyline")]
    assert len(lines) == 4
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    paths = [[tuple(map(float, it.split(","))) for it in line.attrib["points"].split()] for line in lines]
    assert all(0 < x < width and 0 < y < height for path in paths for x, y in path)
    assert paths[0][1] == paths[1][1]
    assert paths[0][0][1] == paths[2][0][1] > paths[1][0][1] > paths[3][0][1] > paths[0][1][1]
    assert {it.text for it in drawn.iter() if it.text in LINES} == set(LINES)
