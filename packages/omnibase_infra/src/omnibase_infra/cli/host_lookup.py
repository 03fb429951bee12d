"""Finds the host that a verb is about: named with --host, or one that runs on this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.yaml.document import suggestion
from omnibase_core.errors import OnexError
from omnibase_infra.cli.completion import complete_hosts
from omnibase_infra.cli.run import with_broker
from omnibase_infra.host.loading import load_host
from omnibase_infra.host.settings import process_secrets, process_state_dir
from omnibase_infra.host.state import find_host, running_hosts
from omnibase_infra.kafka import KafkaSettings, kafka_settings
from omnibase_infra.secrets.current import resolved

Command = TypeVar("Command", bound=Callable[..., Any])


class NodeNotServed(OnexError):
    """The host has no such node."""

    code = "node_not_served"


def host_option(command: Command) -> Command:
    """Add --host."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option("--host", type=path, shell_complete=complete_hosts, help="Host contract to use.")(command)


def broker_option(command: Command) -> Command:
    """Add --broker."""
    return click.option("--broker", metavar="ADDRESS", help="Address of Kafka; default: the one in the host contract.")(
        command
    )


def host_of(node: str | None, host: Path | None, broker: str | None) -> LoadedHost:
    """Load the host contract that was named, or that of a host which runs here and serves the node."""
    if host is None:
        state = find_host(running_hosts(process_state_dir()), node)
        loaded = load_host(Path(state.contract_path), Path(state.contracts_dir))
        return with_broker(loaded, broker or state.bootstrap_servers)
    loaded = with_broker(load_host(host, None), broker)
    if bus_of(loaded).embedded:
        # The contract does not know where the embedded broker is; the running host does.
        running = running_hosts(process_state_dir())
        state = find_host([it for it in running if it.host == loaded.contract.name], node)
        return with_broker(loaded, state.bootstrap_servers)
    return loaded


def bus_of(loaded: LoadedHost) -> KafkaSettings:
    """Return the settings of a host's bus, secrets and all. Raises NotKafka."""
    settings = kafka_settings(loaded.settings.bus, host=loaded.contract.name)
    return resolved(settings, process_secrets(loaded.contract.secrets))


def major_of(loaded: LoadedHost, node: str) -> int:
    """Return the major version in which a host serves a node. Raises NodeNotServed, which names the nearest."""
    majors = {it.contract.name: it.contract.major for it in loaded.nodes}
    if node not in majors:
        hint, _ = suggestion(node, majors)
        raise NodeNotServed(f"host {loaded.contract.name!r} has no node {node!r}; {hint}")
    return majors[node]
