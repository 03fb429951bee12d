"""Who talks to whom: hosts with their nodes, put together by the handler and the target that they ask. Pure values."""

from collections.abc import Sequence
from dataclasses import dataclass

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.node import NodeKind

EXPRESSIONS = "expressions"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """One node on one host, from its commands to its answers."""

    node: str
    kind: NodeKind
    version: str
    description: str
    operations: Sequence[str]
    commands: str
    answers: str


@dataclass(frozen=True, slots=True)
class TargetRows:
    """What nodes ask of a handler: a target, the functions of a module, or the handler as such (an empty name)."""

    name: str
    rows: Sequence[NodeRow]


@dataclass(frozen=True, slots=True)
class HandlerRows:
    """A handler, and who asks what of it."""

    handler: str
    asked: Sequence[TargetRows]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTopology:
    """One host. `others` are the topics that are no node's, each with what it is for."""

    host: str
    description: str
    group: str
    handlers: Sequence[HandlerRows]
    others: Sequence[tuple[str, str]]


def landscape(hosts: Sequence[LoadedHost]) -> list[HostTopology]:
    """Return a scene for each host: handlers and what is asked of them by name, nodes in the host's order."""
    return [_scene(host) for host in hosts]


def _scene(host: LoadedHost) -> HostTopology:
    names = host.contract.namespace
    rows: dict[str, dict[str, list[NodeRow]]] = {}
    for node in host.nodes:
        contract = node.contract
        row = NodeRow(
            node=contract.name,
            kind=contract.kind,
            version=contract.version,
            description=contract.description,
            operations=tuple(contract.operations),
            commands=names.command(contract.name, contract.major),
            answers=names.event(contract.name, contract.major),
        )
        rows.setdefault(node.handler_type, {}).setdefault(_asked_of(node), []).append(row)
    return HostTopology(
        host=host.contract.name,
        description=host.contract.description,
        group=names.group(host.contract.pool),
        handlers=[
            HandlerRows(handler, [TargetRows(name, asked[name]) for name in sorted(asked)])
            for handler, asked in sorted(rows.items())
        ],
        others=_others(host),
    )


def _asked_of(node: CompiledNode) -> str:
    if node.contract.kind is not NodeKind.COMPUTE:
        return node.contract.target or ""
    modules = {it.logic.partition(":")[0] for it in node.contract.operations.values() if it.logic}
    return ", ".join(sorted(modules)) or EXPRESSIONS


def _others(host: LoadedHost) -> list[tuple[str, str]]:
    names = host.contract.namespace
    purposes = {
        names.dead_letter(host.contract.pool): "dead letters",
        names.requests(host.contract.pool): "requests of nodes",
        names.retry(host.contract.pool): "retries",
        names.log(host.contract.name): "log",
    }
    return [(purposes[topic], topic) for topic in host.topics if topic in purposes]
