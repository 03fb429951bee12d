"""The drawings of hosts: everything is in them, nothing lies on anything else, and no name breaks them."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from omnibase_core.contracts.node import NodeKind
from omnibase_infra.authoring.mermaid import mermaid
from omnibase_infra.authoring.svg import drawing
from omnibase_infra.authoring.topology import HandlerRows, HostTopology, NodeRow, TargetRows, landscape
from omnibase_infra.cli.inputs import hosts_at

CONTRACTS = Path(__file__).parents[3] / "contracts"
SVG = "{http://www.w3.org/2000/svg}"


def row(name: str, *operations: str) -> NodeRow:
    """Make a node."""
    return NodeRow(
        node=name,
        kind=NodeKind.EFFECT,
        version="1.0.0",
        description='About <this> & "that".',
        operations=operations or ("do",),
        commands=f"onex.app.dev.acme.cmd.node.{name}.v1",
        answers=f"onex.app.dev.acme.evt.node.{name}.v1",
    )


def scene(*served: HandlerRows, description: str = "A host.") -> HostTopology:
    """Make a host."""
    return HostTopology(
        host="big", description=description, group="onex.dev.acme.p", handlers=served, others=[("log", "x.y")]
    )


LONG = "a-name-that-is-as-long-as-any-name-of-a-node-is1"
MANY = [f"operation_{number}" * 4 for number in range(9)]
SCENES = [
    landscape(hosts_at(CONTRACTS)),
    [scene(HandlerRows("http", [TargetRows("crm", [row(f"node-{number}") for number in range(100)])]))],
    [
        scene(
            HandlerRows("http", [TargetRows(LONG, [row(LONG, *(f"operation_{it}" * 4 for it in range(9)))])]),
            description=LONG * 20,
        )
    ],
    [
        scene(
            HandlerRows("db", [TargetRows("", [row("a")]), TargetRows("b<&>", [row("c")])]),
            HandlerRows("local", [TargetRows("", [row("d")])]),
        )
    ],
]


def texts(svg: str) -> Iterator[tuple[float, float, str, str]]:
    """Yield each text with its place and class."""
    for it in ElementTree.fromstring(svg).iter(f"{SVG}text"):  # noqa: S314 - our own drawing
        yield float(it.attrib["x"]), float(it.attrib["y"]), it.attrib["class"], it.text or ""


@pytest.mark.parametrize("scenes", SCENES, ids=["examples", "hundred", "long", "odd"])
def test_every_node_and_topic_is_drawn(scenes: list[HostTopology]) -> None:
    """A name is written out, and a topic is there in full when it is pointed at."""
    svg = drawing(scenes)
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own drawing
    titles = {it.text for it in root.iter(f"{SVG}title")}
    names = [text for _, _, style, text in texts(svg) if style == "name"]
    for row_ in (row_ for it in scenes for served in it.handlers for asked in served.asked for row_ in asked.rows):
        assert row_.node in names
        assert {row_.commands, row_.answers} <= titles


@pytest.mark.parametrize("scenes", SCENES, ids=["examples", "hundred", "long", "odd"])
def test_nothing_lies_on_anything_else(scenes: list[HostTopology]) -> None:
    """Boxes of nodes do not meet, texts of a column have lines of their own, and all is within the page."""
    svg = drawing(scenes)
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own drawing
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = sorted(
        (float(it.attrib["y"]), float(it.attrib["height"]))
        for it in root.iter(f"{SVG}rect")
        if it.attrib["class"] == "node"
    )
    assert all(top + size <= below for (top, size), (below, _) in pairwise(boxes))
    places = list(texts(svg))
    assert all(0 < x < width and 0 < y < height for x, y, _, _ in places)
    assert len({(x, y) for x, y, _, _ in places}) == len(places)
    for x, y, style, text in places:
        room = min((other for other, at, _, _ in places if at == y and other > x), default=width) - x
        assert len(text) * (7.4 if style == "mono" else 5.0) < room, text


def test_the_name_of_a_target_is_never_out_of_sight() -> None:
    """It is repeated along a hundred nodes."""
    svg = drawing(SCENES[1])
    assert sum(text == "crm" for _, _, _, text in texts(svg)) == 10


def test_the_picture_in_the_readme_is_up_to_date() -> None:
    """It is what `graph` draws of the demo; `make fix` draws it again."""
    written = (CONTRACTS.parent / "docs" / "demo.svg").read_text()
    assert written == drawing(landscape(hosts_at(CONTRACTS / "hosts" / "demo.yaml"))) + "\n"


@pytest.mark.parametrize("scenes", SCENES, ids=["examples", "hundred", "long", "odd"])
def test_mermaid_draws_the_same(scenes: list[HostTopology]) -> None:
    """Each topic once, each name quoted, each line a statement."""
    chart = mermaid(scenes)
    assert chart.startswith("flowchart LR\n")
    rows = [row_ for it in scenes for served in it.handlers for asked in served.asked for row_ in asked.rows]
    assert len(re.findall(r'\[\("[^"<>]+"\)\] --> h\d+_n\d+ --> h\d+_x\d+$', chart, re.MULTILINE)) == len(rows)
    assert chart.count("subgraph") == chart.count("\n  end") == len(scenes)
    assert all(line.count('"') % 2 == 0 for line in chart.splitlines())
