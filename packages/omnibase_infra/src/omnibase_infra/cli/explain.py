"""`runtime-host explain`: what a code of a problem means, with a wrong contract and the right one."""

import click

from omnibase_core.contracts.yaml.document import suggestion
from omnibase_infra.cli.error_pages import page, pages


@click.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Explain the CODE of a problem; alone, list all codes.

    \b
    Example:
      runtime-host explain unknown-key
    """
    if code is None:
        for name, meaning in pages().items():
            click.echo(f"{name:<22} {meaning}")
        return
    asked = code.strip("[]").lower()
    if asked not in pages():
        hint, _ = suggestion(asked, pages(), otherwise="`runtime-host explain` lists them all")
        raise click.UsageError(f"there is no code {code!r}; {hint}")
    click.echo(page(asked), nl=False)
