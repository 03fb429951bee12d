"""Scenes as one SVG: a panel for each host, a line for each node, from its commands to its answers. Pure.

Nodes that ask the same of a handler stand together, and the handler is as high as they are: so no line crosses another,
however many nodes there are. Widths of text are estimated on the safe side, since nobody knows the reader's fonts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from omnibase_core.contracts.node import NodeKind
from omnibase_infra.authoring.topology import HandlerRows, HostTopology, NodeRow, TargetRows

_MARGIN = 24
_PADDING = 28
_GAP = 56
_HEAD = 122
_LINE = 56
_BOX = 44
_LABEL = 30
_BETWEEN = 18
_FOOT_LINE = 30
_TEXT_MAX = 44
_REPEATED = 10

_STYLE = """
text { font-family: Inter, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #1f2937 }
.mono { font-family: "JetBrains Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12px }
.host { font-size: 20px; font-weight: 600 } .soft { fill: #6b7280; font-size: 12px }
.head { fill: #6b7280; font-size: 11px; font-weight: 600; letter-spacing: .08em }
.name { font-size: 14px; font-weight: 600 } .tiny { fill: #6b7280; font-size: 11px }
.page { fill: #f3f4f6 } .panel { fill: #ffffff; stroke: #e5e7eb } .rule { stroke: #e5e7eb }
.topic { fill: #f9fafb; stroke: #d1d5db } .node { fill: #ffffff; stroke: #cbd5e1 }
.effect { fill: #2563eb } .compute { fill: #7c3aed } .other { fill: #6b7280 }
.line { stroke: #94a3b8; stroke-width: 1.5; fill: none } .tip { fill: #94a3b8 }
.band { stroke-width: 1 } .asked { fill: #ffffff; fill-opacity: .75 } .asker { font-size: 13px }
.b0 { fill: #ecfdf5; stroke: #a7f3d0 } .b1 { fill: #fff7ed; stroke: #fed7aa } .b2 { fill: #eff6ff; stroke: #bfdbfe }
.b3 { fill: #fdf2f8; stroke: #fbcfe8 } .b4 { fill: #fefce8; stroke: #fde68a } .b5 { fill: #f5f3ff; stroke: #ddd6fe }
@media (prefers-color-scheme: dark) {
text { fill: #e5e7eb } .soft, .head, .tiny { fill: #9ca3af }
.page { fill: #0b0f17 } .panel { fill: #111827; stroke: #1f2937 } .rule { stroke: #1f2937 }
.topic { fill: #0f172a; stroke: #374151 } .node { fill: #1f2937; stroke: #374151 }
.line { stroke: #64748b } .tip { fill: #64748b } .asked { fill: #111827; fill-opacity: .6 }
.b0 { fill: #052e2b; stroke: #065f46 } .b1 { fill: #2c1a0b; stroke: #7c2d12 } .b2 { fill: #0c1e3e; stroke: #1e40af }
.b3 { fill: #2e0f22; stroke: #831843 } .b4 { fill: #2a2108; stroke: #713f12 } .b5 { fill: #1e1537; stroke: #4c1d95 }
}
"""

_BANDS = 6
_KINDS = {NodeKind.EFFECT: "effect", NodeKind.COMPUTE: "compute"}


def drawing(scenes: Sequence[HostTopology]) -> str:
    """Draw the scenes below each other."""
    bands = {
        name: index % _BANDS for index, name in enumerate(sorted({it.handler for s in scenes for it in s.handlers}))
    }
    columns = _Columns.of(scenes)
    parts: list[str] = []
    top = float(_MARGIN)
    for scene in scenes:
        panel = _Panel(scene, columns, top, bands)
        parts += panel.drawn()
        top = panel.bottom + _MARGIN
    width = columns.right + _PADDING + _MARGIN
    title = f"Hosts {', '.join(scene.host for scene in scenes)}: topics, nodes and handlers"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{top:g}" '
            f'viewBox="0 0 {width:g} {top:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 .5 8 4 0 7.5Z"/></marker></defs>',
            f'<rect class="page" width="{width:g}" height="{top:g}"/>',
            *parts,
            "</svg>",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """Left edge and width of each column: the same in every panel."""

    commands: tuple[float, float]
    nodes: tuple[float, float]
    handlers: tuple[float, float]
    answers: tuple[float, float]

    @classmethod
    def of(cls, scenes: Sequence[HostTopology]) -> "_Columns":
        rows = [row for scene in scenes for row in _rows(scene)]
        asked = [it.name for scene in scenes for served in scene.handlers for it in served.asked]
        handlers = [served.handler for scene in scenes for served in scene.handlers]
        streams = [_split(topic)[0] for row in rows for topic in (row.commands, row.answers)]
        topics = max(_mono(_split(it.commands)[1]) for it in rows) + 36
        topics = max(topics, *(_width(it, 11) + 8 for it in streams))
        nodes = max(max(_width(it.node, 14, bold=True) + 60, _width(_operations(it), 11) + 32) for it in rows)
        handled = max(
            150, *(_width(_cut(it), 13) + 56 for it in asked), *(_width(it, 14, bold=True) + 56 for it in handlers)
        )
        left = float(_MARGIN + _PADDING)
        widths = (topics, nodes, handled, topics)
        lefts = [left + sum(widths[:index]) + _GAP * index for index in range(len(widths))]
        return cls(*zip(lefts, widths, strict=True))

    @property
    def right(self) -> float:
        return sum(self.answers)


class _Panel:
    """One host, from its top edge down."""

    def __init__(self, scene: HostTopology, columns: _Columns, top: float, bands: dict[str, int]) -> None:
        self._scene = scene
        self._columns = columns
        self._top = top
        self._bands = bands
        served = sum(_height(it) + _BETWEEN for it in scene.handlers)
        self._foot = top + _HEAD + served
        self.bottom = self._foot + _FOOT_LINE * (len(scene.others) + 1) + 14

    def drawn(self) -> Iterator[str]:
        left = _MARGIN
        yield _rect("panel", left, self._top, self._columns.right + _PADDING - left, self.bottom - self._top, radius=14)
        yield from self._head()
        y = self._top + _HEAD
        for served in self._scene.handlers:
            yield from self._served(served, y)
            y += _height(served) + _BETWEEN
        yield from self._others()

    def _head(self) -> Iterator[str]:
        columns = self._columns
        x = columns.commands[0]
        wide = columns.right - x
        yield _text("host", x, self._top + 40, self._scene.host)
        yield _text("soft", x, self._top + 62, _fitting(self._scene.description, wide, 12))
        first = next(_rows(self._scene))
        heads = (
            (columns.commands, "COMMANDS", _split(first.commands)[0]),
            (columns.nodes, "NODES", f"group {self._scene.group}"),
            (columns.handlers, "HANDLERS", "shared by all nodes"),
            (columns.answers, "ANSWERS", _split(first.answers)[0]),
        )
        for (left, width), title, below in heads:
            yield _text("head", left, self._top + 92, title)
            yield _text("tiny", left, self._top + 108, _fitting(below, width, 11))

    def _served(self, served: HandlerRows, top: float) -> Iterator[str]:
        left, width = self._columns.handlers
        yield _rect(f"band b{self._bands[served.handler]}", left, top, width, _height(served), radius=10)
        yield _text("name", left + 14, top + 21, served.handler)
        y = top + _LABEL
        for asked in served.asked:
            yield from self._asked(asked, y)
            y += _LINE * len(asked.rows)

    def _asked(self, asked: TargetRows, top: float) -> Iterator[str]:
        left, width = self._columns.handlers
        height = _LINE * len(asked.rows)
        inner = (left + 10, top, width - 20, height - (_LINE - _BOX))
        if asked.name:
            yield _rect("asked", *inner, radius=7)
            # A name in the middle of a hundred lines is out of sight: it is repeated.
            times = max(1, round(len(asked.rows) / _REPEATED))
            for index in range(times):
                y = top + inner[3] * (2 * index + 1) / (2 * times) + 4.5
                yield _text("asker", left + width / 2, y, _cut(asked.name), middle=True)
        for index, row in enumerate(asked.rows):
            yield from self._row(row, top + _LINE * index)

    def _row(self, row: NodeRow, top: float) -> Iterator[str]:
        columns = self._columns
        middle = top + _BOX / 2
        yield from _topic(columns.commands, middle, row.commands)
        yield from _node(columns.nodes, top, row)
        yield from _topic(columns.answers, middle, row.answers)
        yield _arrow(sum(columns.commands), columns.nodes[0], middle)
        yield _arrow(sum(columns.nodes), columns.handlers[0], middle)
        yield _arrow(sum(columns.handlers), columns.answers[0], middle)

    def _others(self) -> Iterator[str]:
        x = self._columns.commands[0]
        yield f'<path class="rule" d="M{x:g} {self._foot + 4:g}H{self._columns.right:g}"/>'
        y = self._foot + 32
        for purpose, topic in self._scene.others:
            yield _text("head", x, y, purpose.upper())
            yield _text("mono", x + 130, y, topic)
            y += _FOOT_LINE


def _topic(column: tuple[float, float], middle: float, topic: str) -> Iterator[str]:
    """A topic is a pipe, seen from the side; the part of its name that all topics share is the head of the column."""
    left, width = column
    top, right = middle - 15, left + width
    yield "<g>"
    yield f"<title>{escape(topic)}</title>"
    yield (
        f'<path class="topic" d="M{left + 6:g} {top:g}H{right - 6:g}a6 15 0 0 1 0 30H{left + 6:g}a6 15 0 0 1 0 -30'
        f'a6 15 0 0 1 0 30"/>'
    )
    yield _text("mono", left + 22, middle + 4, _split(topic)[1])
    yield "</g>"


def _node(column: tuple[float, float], top: float, row: NodeRow) -> Iterator[str]:
    left, width = column
    yield "<g>"
    told = f"{row.node} {row.version} ({row.kind}): {row.description} Operations: {', '.join(row.operations)}"
    yield f"<title>{escape(told)}</title>"
    yield _rect("node", left, top, width, _BOX, radius=8)
    yield _rect(_KINDS.get(row.kind, "other"), left + 8, top + 10, 4, _BOX - 20, radius=2)
    yield _text("name", left + 22, top + 19, row.node)
    yield _text("tiny", left + 22, top + 35, _operations(row))
    yield "</g>"


def _arrow(start: float, end: float, y: float) -> str:
    return f'<path class="line" d="M{start + 6:g} {y:g}H{end - 4:g}" marker-end="url(#tip)"/>'


def _rect(style: str, x: float, y: float, width: float, height: float, *, radius: float) -> str:
    box = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="{style}" {box} rx="{radius:g}"/>'


def _text(style: str, x: float, y: float, text: str, *, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text class="{style}" x="{x:g}" y="{y:g}"{anchor}>{escape(text)}</text>'


# --- Sizes --------------------------------------------------------------------------------------------------------


def _height(served: HandlerRows) -> float:
    return _LABEL + sum(_LINE * len(asked.rows) for asked in served.asked) - (_LINE - _BOX) + 10


def _rows(scene: HostTopology) -> Iterator[NodeRow]:
    return (row for served in scene.handlers for asked in served.asked for row in asked.rows)


def _split(topic: str) -> tuple[str, str]:
    """Return what the topics of a column share, and the rest: the node and its major version."""
    shared, node, version = topic.rsplit(".", 2)
    return f"{shared}.", f"{node}.{version}"


def _operations(row: NodeRow) -> str:
    """List what fits, and say how many more there are."""
    text = ", ".join(row.operations)
    if len(text) <= _TEXT_MAX:
        return text
    shown: list[str] = []
    for name in row.operations:
        if len(", ".join([*shown, name])) > _TEXT_MAX - 10:
            break
        shown.append(name)
    if not shown:
        return _cut(row.operations[0]) + (f" and {len(row.operations) - 1} more" if len(row.operations) > 1 else "")
    return f"{', '.join(shown)} and {len(row.operations) - len(shown)} more"


def _cut(text: str) -> str:
    """Shorten in the middle: how a long name begins and ends tells it from its neighbours."""
    if len(text) <= _TEXT_MAX:
        return text
    half = (_TEXT_MAX - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _fitting(text: str, width: float, size: float) -> str:
    if _width(text, size) <= width:
        return text
    while text and _width(text, size) > width - size:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _mono(text: str) -> float:
    return len(text) * 12 * 0.61


def _width(text: str, size: float, *, bold: bool = False) -> float:
    """Estimate how wide text gets, as in the widest of the usual sans-serif fonts."""
    return sum(_char_width(it) for it in text) * size * (1.1 if bold else 1.0)


def _char_width(char: str) -> float:
    if char in "iljtfrI.,:;'|!()[] -":
        return 0.4
    if char in "mwMW@%" or ord(char) > 0x2E80:
        return 1.0
    return 0.75 if char.isupper() else 0.64
