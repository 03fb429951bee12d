"""`runtime-host new`: the files that a node or a host starts from."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath

import click

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.node import NodeKind
from omnibase_core.contracts.yaml.document import suggestion
from omnibase_core.errors import InvalidContracts, InvalidTopicName, OnexError
from omnibase_core.handlers.compute import COMPUTE
from omnibase_core.ports import ContractDocument, HandlerDescription
from omnibase_core.topics import SLUG_LENGTH_MAX, check_slug
from omnibase_infra.authoring.scaffold import NewNode, compute_node, effect_node, function_path, host
from omnibase_infra.host.contract_files import read_contracts
from omnibase_infra.host.loading import is_host, registry_of
from omnibase_infra.host.plugins import catalog

_FIRST_HOST = "local"
_PACKAGE_DOC = '"""The pure functions of the compute nodes."""\n'

_directory = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("contracts"),
    show_default=True,
    help="Folder of the contracts.",
)


class AlreadyThere(OnexError):
    """A file that would be written is there."""

    code = "already_there"


@click.group()
def new() -> None:
    """Start a node or a host: contract, test and function.

    \b
    Example:
      runtime-host new node shout --kind compute
    """


@new.command(name="node")
@click.argument("name")
@click.option("--kind", type=click.Choice([NodeKind.EFFECT.value, NodeKind.COMPUTE.value]), default="effect")
@click.option("--handler", help="Handler of an effect node; default: local.")
@click.option("--target", help="Target of the handler, if it has targets; default: example.")
@_directory
def node(name: str, *, kind: str, handler: str | None, target: str | None, folder: Path) -> None:
    """Start a node: its contract, its test and, for compute, its function.

    Where there is no host contract yet, one is made, so that the node can be run at once. No file is overwritten.

    \b
    Example:
      runtime-host new node shout --kind compute
      runtime-host new node find-user --kind effect --handler http --target crm
    """
    _check_name(name, "NAME")
    known = catalog().handlers
    if kind == NodeKind.COMPUTE.value:
        _refuse(handler is not None, "--handler is for --kind effect; a compute node has no handler")
        _refuse(target is not None, "--target is for --kind effect; a compute node has no handler")
        made = compute_node(name)
    else:
        made = _effect(name, _handler(handler or "local", known), target)
    files = _files_of(name, made, folder)
    _refuse_overwriting([path for path in files if path.name != "__init__.py"])
    if not _has_host(folder):
        path = folder / "hosts" / f"{_FIRST_HOST}.yaml"
        files[path] = host(_FIRST_HOST, [_compiled(made.contract)], known)
    _write(files)
    if _has_host_without(folder, name):
        click.echo(
            f"\nAdd {name} to the nodes of a host contract in {folder / 'hosts'}, and run: runtime-host check {folder}"
        )
    else:
        click.echo(f"\nNext: runtime-host check {folder}")


@new.command(name="host")
@click.argument("name")
@_directory
def host_(name: str, *, folder: Path) -> None:
    """Start a host that serves every node of the folder, on a broker inside it.

    \b
    Example:
      runtime-host new host staging
    """
    _check_name(name, "NAME")
    path = folder / "hosts" / f"{name}.yaml"
    _refuse_overwriting([path])
    nodes = _nodes_in(folder)
    _refuse(not nodes, f"there is no node in {folder}; make one with: runtime-host new node NAME")
    _write({path: host(name, nodes, catalog().handlers)})


def _check_name(name: str, parameter: str) -> None:
    try:
        check_slug(name, what="name")
    except InvalidTopicName as error:
        valid = _valid(name)
        hint = f"; did you mean {valid!r}?" if valid else ""
        raise click.BadParameter(f"{error}{hint}", param_hint=parameter) from error


def _valid(name: str) -> str:
    """Return the nearest name that is allowed; nothing where too little is left."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    words = re.sub(r"[^a-z0-9]+", "-", parted).strip("-0123456789")
    return words[:SLUG_LENGTH_MAX].rstrip("-")


def _handler(name: str, known: Mapping[str, HandlerDescription]) -> HandlerDescription:
    offered = [it for it in known if it != COMPUTE]
    if name not in offered:
        hint, _ = suggestion(name, offered)
        raise click.BadParameter(f"handler {name!r} is not registered; {hint}", param_hint="--handler")
    return known[name]


def _effect(name: str, handler: HandlerDescription, target: str | None) -> NewNode:
    if handler.target is None:
        _refuse(target is not None, f"the handler {handler.handler_type} has no targets; leave --target out")
    else:
        target = target or "example"
        _check_name(target, "--target")
    return effect_node(name, handler, target, lambda files: _compiled(*files.values()))


def _compiled(text: str) -> CompiledNode:
    registry = registry_of([ContractDocument(PurePath("new.yaml"), text)])
    return next(iter(registry.nodes.values()))


def _files_of(name: str, made: NewNode, folder: Path) -> dict[Path, str]:
    nodes = folder / "nodes"
    files = {nodes / f"{name}.yaml": made.contract, nodes / f"{name}.test.yaml": made.test}
    if made.function is not None:
        module = Path(function_path(name))
        files[module] = made.function
        if not (package := module.with_name("__init__.py")).exists():
            files[package] = _PACKAGE_DOC
    return files


def _documents_in(folder: Path) -> list[ContractDocument]:
    return list(read_contracts(folder)) if any(folder.rglob("*.y*ml")) else []


def _nodes_in(folder: Path) -> list[CompiledNode]:
    nodes = [it for it in _documents_in(folder) if not is_host(it)]
    return list(registry_of(nodes).nodes.values()) if nodes else []


def _has_host(folder: Path) -> bool:
    return any(is_host(it) for it in _documents_in(folder))


def _has_host_without(folder: Path, name: str) -> bool:
    """Check whether the folder's hosts leave the node out; hosts with problems are not looked into."""
    try:
        hosts = registry_of(_documents_in(folder)).hosts.values()
    except InvalidContracts:
        return True
    return not any(name in loaded.contract.nodes for loaded in hosts)


def _refuse(wrong: bool, message: str) -> None:  # noqa: FBT001 - it reads as a sentence: refuse this, saying that
    if wrong:
        raise click.UsageError(message)


def _refuse_overwriting(paths: list[Path]) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise AlreadyThere(f"{', '.join(there)} already exists; nothing was written. Remove it, or choose another name")


def _write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
