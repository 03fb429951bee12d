"""The `runtime-host` command. Exit status: 0 success, 1 the job failed, 2 wrong usage, 3 no answer (`send`)."""

from importlib.metadata import version

import click

from omnibase_core.errors import InvalidContracts, OnexError
from omnibase_infra.cli.check import check, topics
from omnibase_infra.cli.demo import demo
from omnibase_infra.cli.dlq import dlq
from omnibase_infra.cli.eval import evaluate
from omnibase_infra.cli.explain import explain
from omnibase_infra.cli.problems import report, summary, terminal_width
from omnibase_infra.cli.run import run
from omnibase_infra.cli.send import send


class _Commands(click.Group):
    """Says an error of ours in its own words, without a traceback."""

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


@click.group(cls=_Commands, context_settings={"max_content_width": 80, "help_option_names": ["-h", "--help"]})
@click.version_option(version("omnibase-infra"), prog_name="runtime-host")
def main() -> None:
    """Run dozens to hundreds of event-driven nodes in one process on Kafka.

    A node is a YAML contract. Start with: runtime-host demo
    """


for verb in (run, send, check, explain, evaluate, topics, dlq, demo):
    main.add_command(verb)
