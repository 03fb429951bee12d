"""`runtime-host run`: one host in the foreground."""

import asyncio
import ctypes
import faulthandler
import gc
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.ports import Observer
from omnibase_infra.cli.completion import complete_hosts
from omnibase_infra.host.loading import contracts_dir_of, load_host
from omnibase_infra.host.settings import process_secrets, process_settings

_STDIN = 0
_STDERR = 2
_M_ARENA_MAX = -8
"""A parameter of mallopt(3)."""
_PAST_DEADLINE_S = 1.0
"""So long after its deadline a host that still runs, since its loop or a client stands still, is ended from outside."""


@click.command()
@click.argument("host", type=click.Path(exists=True, dir_okay=False, path_type=Path), shell_complete=complete_hosts)
@click.option("--contracts", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the nodes.")
@click.option("--broker", metavar="ADDRESS", help="Address of Kafka, or `embedded` for the broker inside the host.")
@click.option("--strict", is_flag=True, help="Watch compute functions while they run; impure ones fail. Slower.")
def run(host: Path, contracts: Path | None, broker: str | None, *, strict: bool) -> None:
    """Run a host in the foreground until Ctrl-C or SIGTERM.

    Commands in flight then get their answers, and their offsets are committed, all within limits.stop_s seconds of the
    host contract. A second signal ends the host at once; SIGHUP is logged and ignored. Log lines go to the terminal;
    set RUNTIME_HOST_LOG_LEVEL and RUNTIME_HOST_LOG_FORMAT (json, console) to change them. Exit status 1: it failed, or
    it could not stop in time.

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
    from omnibase_infra.host.process import RuntimeHostProcess

    stop = stop_on_signals(within_s=loaded.contract.limits.stop_s)
    process = RuntimeHostProcess(
        loaded,
        settings=process_settings(),
        secrets=process_secrets(loaded.contract.secrets),
        contracts_dir=contracts_dir,
        strict=strict,
        abandon=_end_at_once,
    )
    outlive_hangups(stop, process.log)
    async with process as host:
        _spare_the_collector()
        await host.until(stop)
    if not process.stopped_in_time:
        _end_at_once()


def _end_at_once() -> None:
    """End the process without waiting for its threads: one of them waits for somebody who does not answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


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
    """Put another broker's address into a host. Raises NotKafka."""
    if broker is None:
        return loaded
    from omnibase_infra.kafka import check_addresses, kafka_settings  # whoever gets here has loaded it

    kafka_settings(loaded.settings.bus, host=loaded.contract.name)
    try:
        return loaded.with_bus(bootstrap_servers=check_addresses(broker))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--broker") from error


def stop_on_signals(*, within_s: float | None = None) -> asyncio.Event:
    """Return an event that the first SIGINT or SIGTERM sets. A second one ends the process at once.

    Neither is ever a KeyboardInterrupt, so that one which a node's function raises is that function's own. Where the
    process still runs a moment after `within_s` seconds, it is ended with status 1, and says what each thread does.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def first(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if within_s is not None:
            # Its thread needs neither the loop nor the interpreter's lock: whatever stands still does not hold it up.
            faulthandler.dump_traceback_later(within_s + _PAST_DEADLINE_S, exit=True, file=_STDERR)
        loop.call_soon_threadsafe(stop.set)

    # Not by the loop's own handlers: they are called by the loop, which a node's function may be holding up.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, first)
    return stop


def outlive_hangups(stop: asyncio.Event, log: Observer) -> None:
    """Have SIGHUP said in the log, and no more: by custom it asks a service to reload, and must not end one.

    Where it comes because the terminal has gone that the host runs in, nobody is there to end it: then it stops.
    """
    loop = asyncio.get_running_loop()
    in_terminal = os.isatty(_STDIN)

    def hung_up() -> None:
        if in_terminal and not os.isatty(_STDIN):
            log.event(
                "warning", "terminal_closed", meaning="the host stops; under nohup or a service manager it would not"
            )
            stop.set()
        else:
            meaning = "a host reloads nothing: restart it to make it read its contracts"
            log.event("warning", "signal_ignored", signal="SIGHUP", meaning=meaning)

    def at_signal(_number: int, _frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # The loop has ended, and the process is about to.
            loop.call_soon_threadsafe(hung_up)

    signal.signal(signal.SIGHUP, at_signal)
