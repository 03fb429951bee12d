"""`runtime-host completion`: what a shell needs to complete verbs, options, hosts and nodes."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from omnibase_core.errors import OnexError
from omnibase_infra.host.settings import process_state_dir
from omnibase_infra.host.state import running_hosts

_PROGRAM = "runtime-host"
_WHERE = ("*.yaml", "hosts/*.yaml", "contracts/hosts/*.yaml")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete runtime-host.

    \b
    Put this line into ~/.bashrc:  eval "$(runtime-host completion bash)"
                     ~/.zshrc:     eval "$(runtime-host completion zsh)"
                     ~/.config/fish/config.fish:
                                   runtime-host completion fish | source

    \b
    Example:
      runtime-host completion bash
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - narrows the type; click knows each of the shells above
    click.echo(kind(context.find_root().command, {}, _PROGRAM, "_RUNTIME_HOST_COMPLETE").source())


def complete_nodes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the nodes of the hosts that run on this machine."""
    del context, parameter
    try:
        names = {name for state in running_hosts(process_state_dir()) for name in state.nodes}
    except OnexError:
        return []  # It is the command that says what is wrong with the folder, and not the key Tab.
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def complete_hosts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the files that may be host contracts; once a path is begun, every file."""
    del context, parameter
    if "/" in incomplete or incomplete.startswith("."):
        return [CompletionItem(incomplete, type="file")]
    found = sorted({str(path) for pattern in _WHERE for path in Path().glob(pattern)})
    return [CompletionItem(it) for it in found if it.startswith(incomplete)]
