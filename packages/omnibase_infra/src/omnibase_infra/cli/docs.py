"""`runtime-host docs`: a reference page for each node."""

from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from typing import Any

import click

from omnibase_core.errors import OnexError
from omnibase_core.handlers.compute import COMPUTE
from omnibase_infra.authoring.example_responses import answers_of
from omnibase_infra.authoring.reference import MARK, reference
from omnibase_infra.cli.inputs import ContractSources, sources_argument, sources_at
from omnibase_infra.cli.pure_handlers import pure_handlers
from omnibase_infra.host.plugins import catalog


class PageNotOurs(OnexError):
    """A page would take the place of a file that this command did not write."""

    code = "page_not_ours"


@click.command()
@sources_argument("path")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reference"), show_default=True)
def docs(path: Path | None, out: Path) -> None:
    """Write a reference page for each node, in Markdown.

    PATH is a host contract or a folder with contracts; by default ./contracts. An index leads to the pages. A page says
    what a node takes and answers, how it fails and how it is asked, and links to the contract of its handler. Pages
    from an earlier time are written again, other files are left alone.

    \b
    Example:
      runtime-host docs contracts --out docs/nodes
    """
    sources = sources_at(path)
    links = {name: Path(relpath(file, out)).as_posix() for name, file in sources.handlers.items()}
    pages = reference(sources.nodes, sources.hosts, catalog().handlers, _answers(sources), links)
    _refuse_what_is_not_ours(out, pages)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (out / name).write_text(text, encoding="utf-8")
    click.echo(f"nodes: {len(sources.nodes)}, index: {out / 'index.md'}")


def _answers(sources: ContractSources) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Serve the examples; functions are called for nodes of hosts alone, whose contracts allow their packages."""
    hosted = {node.contract.name for host in sources.hosts for node in host.nodes}
    served = [it for it in sources.nodes if it.contract.name in hosted or it.handler_type != COMPUTE]
    with pure_handlers() as handlers:
        return answers_of(served, handlers)


def _refuse_what_is_not_ours(out: Path, pages: Mapping[str, str]) -> None:
    for name in pages:
        page = out / name
        if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(MARK):
            raise PageNotOurs(f"{page} was not written by this command; remove it, or name another folder with --out")
