"""Scenes as Mermaid flow charts, for pages that draw them (GitHub, GitLab). Pure."""

from collections.abc import Iterator, Sequence

from omnibase_infra.authoring.topology import HostTopology


def mermaid(scenes: Sequence[HostTopology]) -> str:
    """Draw a chart: topics on the left, nodes and handlers inside of their host, answers on the right."""
    return "\n".join(["flowchart LR", *(line for number, scene in enumerate(scenes) for line in _scene(number, scene))])


def _scene(number: int, scene: HostTopology) -> Iterator[str]:
    rows = [
        (row, served.handler, asked.name) for served in scene.handlers for asked in served.asked for row in asked.rows
    ]
    at = f"h{number}"
    handlers: dict[tuple[str, str], str] = {}
    for _, handler, asked in rows:
        handlers.setdefault((handler, asked), f"{at}_x{len(handlers)}")
    yield f"  subgraph {at} [{_text(scene.host)}]"
    for index, (row, _, _) in enumerate(rows):
        yield f"    {at}_n{index}[{_text(row.node, *row.operations)}]"
    for (handler, asked), name in handlers.items():
        yield f"    {name}{{{{{_text(handler, *([asked] if asked else []))}}}}}"
    yield "  end"
    for index, (row, handler, asked) in enumerate(rows):
        yield f"  {at}_c{index}[({_text(row.commands)})] --> {at}_n{index} --> {handlers[handler, asked]}"
        yield f"  {at}_n{index} -- answers --> {at}_e{index}[({_text(row.answers)})]"
    for index, (purpose, topic) in enumerate(scene.others):
        yield f"  {at} -. {purpose} .-> {at}_o{index}[({_text(topic)})]"


def _text(first: str, *more: str) -> str:
    """Quote a label: the first line as it is, the others small."""
    return '"' + "<br>".join([_escaped(first), *(f"<small>{_escaped(it)}</small>" for it in more)]) + '"'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
