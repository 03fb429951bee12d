"""`runtime-host schema`: the contract languages as JSON Schema, for editors."""

import json

import click

from omnibase_core.contracts.model_schema import JsonSchema
from omnibase_infra.authoring.editor_schema import handler_schema, host_schema, node_schema, schema_of_tests
from omnibase_infra.host.plugins import catalog


@click.command()
@click.argument("language", type=click.Choice(["node", "host", "handler", "test"]))
def schema(language: str) -> None:
    """Print the JSON Schema of a contract language, for editors.

    It knows the handlers that are installed here. An editor with a YAML language server completes and explains keys
    in a contract that starts with a line such as:

    \b
      # yaml-language-server: $schema=../schema/node.schema.json

    \b
    Example:
      runtime-host schema node > contracts/schema/node.schema.json
    """
    click.echo(json.dumps(_schema(language), indent=2, ensure_ascii=False))


def _schema(language: str) -> JsonSchema:
    known = catalog()
    match language:
        case "node":
            return node_schema(known.handlers)
        case "host":
            return host_schema(known.handlers, known.bus, known.buses)
        case "handler":
            return handler_schema()
    return schema_of_tests()
