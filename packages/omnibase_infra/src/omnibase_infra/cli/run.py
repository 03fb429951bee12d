"""`runtime-host run`: one host in the foreground."""

import asyncio
import ctypes
import gc
import signal
from contextlib import suppress
from pathlib import Path

import click

from omnibase_core.loaded import LoadedHost
from omnibase_infra.cli.completion import complete_hosts
from omnibase_infra.cli.contracts import contracts_dir_of, load_host
from omnibase_infra.settings import process_secrets, process_settings

_M_ARENA_MAX = -8
"""A parameter of mallopt(3)."""


@click.command()
@click.argument("host", type=click.Path(exists=True, dir_okay=False, path_type=Path), shell_complete=complete_hosts)
@click.option("--contracts", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the nodes.")
@click.option("--broker", metavar="ADDRESS", help="Address of Kafka, or `embedded` for the broker inside the host.")
@click.option("--strict", is_flag=True, help="Watch compute functions as they run; an impure one fails. Slower.")
def run(host: Path, contracts: Path | None, broker: str | None, *, strict: bool) -> None:
    """Run a host in the foreground until Ctrl-C or SIGTERM.

    Work in flight then gets its answers, and its offsets are committed. Log lines go to the terminal; set
    RUNTIME_HOST_LOG_LEVEL and RUNTIME_HOST_LOG_FORMAT (json, console) to change them.

    \b
    Example:
      runtime-host run contracts/hosts/demo.yaml --broker localhost:9092
    """
    folder = contracts or contracts_dir_of(host)
    loaded = with_broker(load_host(host, folder), broker)
    asyncio.run(_serve(loaded, folder, strict=strict))


async def _serve(loaded: LoadedHost, contracts_dir: Path, *, strict: bool) -> None:
    _share_memory_pools()
    # A host takes its time to import: the verbs that start none do not wait for it.
    from omnibase_infra.host import RuntimeHostProcess

    stop = stop_on_signals()
    process = RuntimeHostProcess(
        loaded,
        settings=process_settings(),
        secrets=process_secrets(loaded.contract.secrets),
        contracts_dir=contracts_dir,
        strict=strict,
    )
    async with process as host:
        _spare_the_collector()
        await host.until(stop)


def _share_memory_pools() -> None:
    """Let all threads of the process share two pools of glibc's: else each has its own, and keeps what it has freed."""
    with suppress(AttributeError):  # Other C libraries have no such pools, and no mallopt.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _spare_the_collector() -> None:
    """Let the garbage collector leave alone what stays for good, and come less often: it took a tenth of the time.

    Serving makes no cycles, so that what a command leaves behind is freed without it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def with_broker(loaded: LoadedHost, broker: str | None) -> LoadedHost:
    """Put another broker's address into a host."""
    if broker is None:
        return loaded
    from omnibase_infra.kafka import check_addresses  # whoever gets here has loaded it

    try:
        return loaded.with_bus(bootstrap_servers=check_addresses(broker))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--broker") from error


def stop_on_signals() -> asyncio.Event:
    """Give an event that the first SIGINT or SIGTERM sets. A second one ends the process at once.

    Neither is ever a KeyboardInterrupt, so that one which a node's function raises is that function's own.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def first(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first, number)
    return stop
