"""`runtime-host eval`: a playground for the expressions of contracts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from omnibase_core.contracts.compiler.compiled import CompiledNode, CompiledOperation
from omnibase_core.contracts.yaml.document import suggestion
from omnibase_core.errors import ExpressionFailed, InvalidExpression
from omnibase_core.expressions import (
    ANSWER_NAMES,
    DYNAMIC,
    REQUEST_NAMES,
    Coercions,
    Expression,
    Scope,
    Type,
    without_braces,
)
from omnibase_infra.cli.inputs import object_of
from omnibase_infra.client import new_command
from omnibase_infra.host.contract_files import read_contracts
from omnibase_infra.host.loading import registry_of


@click.command("eval")
@click.argument("expression")
@click.option(
    "--payload", metavar="JSON|@FILE|-", help="The payload, a JSON object; default: the first example of the schema."
)
@click.option("--metadata", default="{}", metavar="JSON|@FILE|-", help="The metadata, a JSON object.")
@click.option("--result", metavar="JSON|@FILE|-", help="The result of the handler or function, a JSON object.")
@click.option(
    "--node",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A node's contract: the expression is checked against its schemas, as in the contract itself.",
)
@click.option("--operation", help="Operation of the node; default: its first.")
def evaluate(
    expression: str, *, payload: str | None, metadata: str, result: str | None, node: Path | None, operation: str | None
) -> None:
    """Evaluate an EXPRESSION as a contract would, and print JSON.

    It is CEL, and reads payload, metadata, envelope and, with --result, result.

    \b
    Example:
      runtime-host eval 'size(payload.items)' --payload @order.json
    """
    ground = _ground(node, operation, answered=result is not None)
    try:
        compiled = Expression(without_braces(expression), types=ground.types, where="it failed")
        value = compiled.evaluate(_scope(ground, payload, metadata, result))
    except InvalidExpression as error:
        click.echo(f"error: {error}\n{_shown(error)}", err=True)
        raise SystemExit(1) from error
    except ExpressionFailed as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


class _Ground(NamedTuple):
    """What an expression stands on: a node's operation, or nothing at all."""

    node: str
    operation: CompiledOperation | None
    types: Mapping[str, Type]
    coercions: Coercions


def _ground(path: Path | None, name: str | None, *, answered: bool) -> _Ground:
    names = ANSWER_NAMES if answered else REQUEST_NAMES
    if path is None:
        return _Ground("eval", None, dict.fromkeys(names, DYNAMIC), Coercions())
    nodes: list[Any] = list(registry_of(read_contracts(path)).nodes.values())
    if not nodes:
        raise click.UsageError(f"--node: {path} is a host contract; expected a node's (contract: node/v1)")
    node: CompiledNode = nodes[0]
    operation = next(iter(node.operations.values())) if name is None else _named(node, name)
    return _Ground(node.contract.name, operation, {key: operation.types[key] for key in names}, operation.coercions)


def _scope(ground: _Ground, payload: str | None, metadata: str, result: str | None) -> Scope:
    """Read what the expression reads. Without a payload, it is the first example of the node's schema."""
    schema = {} if ground.operation is None else ground.operation.input_schema
    examples: Any = schema.get("examples") or [{}]
    given = examples[0] if payload is None else object_of("--payload", payload)
    if ground.operation is not None and (faults := ground.operation.input.faults(given)):
        raise click.UsageError("--payload: " + "; ".join(faults))
    name = None if ground.operation is None else ground.operation.name
    command = new_command(ground.node, name, given, metadata=object_of("--metadata", metadata))
    return Scope(command, None if result is None else object_of("--result", result), ground.coercions)


def _named(node: CompiledNode, name: str) -> CompiledOperation:
    if name not in node.operations:
        hint, _ = suggestion(name, node.operations)
        raise click.UsageError(f"--operation: node {node.contract.name!r} has no operation {name!r}; {hint}")
    return node.operations[name]


def _shown(error: InvalidExpression) -> str:
    """Show the line and, below it, carets at the place."""
    line = error.text.split("\n")[error.line - 1] if error.text else ""
    width = max(1, min(error.width, len(line) - error.column + 1))
    return f"  {line}\n  {' ' * (error.column - 1)}{'^' * width}"
