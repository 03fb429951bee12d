"""HostClient: how a service that is no node sends commands to nodes, and reads their answers."""

from omnibase_infra.client.errors import CallFailed, NoAnswer, NodeNotThere
from omnibase_infra.client.host_client import HostClient, new_command
from omnibase_infra.kafka.command_sender import CommandNotSent, CommandUncertain

__all__ = ["CallFailed", "CommandNotSent", "CommandUncertain", "HostClient", "NoAnswer", "NodeNotThere", "new_command"]
