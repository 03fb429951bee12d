"""The `runtime-host` command. Exit status: 0 success, 1 the job failed, 2 wrong usage, 3 no answer (`send`)."""

import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import click

from omnibase_core.errors import InvalidContracts, OnexError
from omnibase_infra.cli.check import check, topics
from omnibase_infra.cli.completion import completion
from omnibase_infra.cli.demo import demo
from omnibase_infra.cli.dlq import dlq
from omnibase_infra.cli.docs import docs
from omnibase_infra.cli.eval import evaluate
from omnibase_infra.cli.explain import explain
from omnibase_infra.cli.export import export
from omnibase_infra.cli.fmt import fmt
from omnibase_infra.cli.graph import graph
from omnibase_infra.cli.new import new
from omnibase_infra.cli.problems import report, summary, terminal_width
from omnibase_infra.cli.run import run
from omnibase_infra.cli.schema import schema
from omnibase_infra.cli.send import send
from omnibase_infra.cli.test import test

_VERBS = {
    "Run": (demo, run, send, dlq),
    "Write contracts": (new, check, explain, evaluate, test, fmt),
    "Show contracts": (docs, graph, export, topics),
    "Set up": (schema, completion),
}
"""The verbs as the help lists them: by what somebody is about, each section in the order of use."""


class _Commands(click.Group):
    """Says an error of ours in its own words, without a traceback; lists the verbs by their sections."""

    def invoke(self, ctx: click.Context) -> None:
        try:
            super().invoke(ctx)
        except InvalidContracts as error:
            click.echo(report(error.problems, "text", width=terminal_width()), err=True)
            click.echo(f"\nNothing was started: {summary(error.problems)}", err=True)
            ctx.exit(1)
        except OnexError as error:
            click.echo(f"error: {error.code}: {error}", err=True)
            ctx.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        width = max(len(name) for name in self.commands)
        for title, verbs in _VERBS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{verb.name:<{width}}", verb.get_short_help_str(64)) for verb in verbs])


@click.group(cls=_Commands, context_settings={"max_content_width": 80, "help_option_names": ["-h", "--help"]})
@click.version_option(version("omnibase-infra"), prog_name="runtime-host")
def main() -> None:
    """Run dozens to hundreds of event-driven nodes in one process on Kafka.

    A node is a YAML contract. Start with: runtime-host demo
    """
    # A compute node's functions are found from the folder that a verb is run in, behind all that is installed.
    with suppress(OSError):
        here = str(Path.cwd())
        sys.path += [] if here in sys.path else [here]


for _verbs in _VERBS.values():
    for _verb in _verbs:
        main.add_command(_verb)
