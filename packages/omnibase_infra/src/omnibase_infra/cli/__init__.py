"""The `runtime-host` command. Exit status: 0 success, 1 the job failed, 2 wrong usage, 3 no answer (`send`)."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click

from omnibase_core.errors import InvalidContracts, OnexError

_VERBS: Mapping[str, Sequence[str]] = {
    "Run": ("demo", "run", "send", "dlq"),
    "Write contracts": ("new", "check", "explain", "eval", "test", "fmt"),
    "Show contracts": ("docs", "graph", "export", "topics"),
    "Set up": ("schema", "completion"),
}
"""The verbs as the help lists them: by what somebody is about, each section in the order of use.

Each stands in the module of its name, which is imported when it is called for: a host that runs for months need not
hold what draws pictures.
"""


class _Commands(click.Group):
    """Says an error of ours in its own words, without a traceback; lists the verbs by their sections."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for names in _VERBS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found = vars(import_module(f"{__name__}.{cmd_name}")).values()
        return next(it for it in found if isinstance(it, click.Command) and it.name == cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from omnibase_core.contracts.yaml.document import nearest

            near = nearest(args[0], self.list_commands(ctx))
            hint = f" Did you mean {near!r}?" if near else ""
            raise click.UsageError(error.message + hint, ctx) from None

    def invoke(self, ctx: click.Context) -> None:
        try:
            super().invoke(ctx)
        except InvalidContracts as error:
            from omnibase_infra.cli.problems import report, summary, terminal_width

            click.echo(report(error.problems, "text", width=terminal_width()), err=True)
            click.echo(f"\nNothing was started: {summary(error.problems)}", err=True)
            ctx.exit(1)
        except OnexError as error:
            click.echo(f"error: {error.code}: {error}", err=True)
            ctx.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.list_commands(ctx))
        for title, names in _VERBS.items():
            with formatter.section(title):
                verbs = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl([(f"{name:<{width}}", verb.get_short_help_str(64)) for name, verb in verbs if verb])


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
