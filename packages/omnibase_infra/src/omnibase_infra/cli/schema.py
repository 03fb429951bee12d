"""`runtime-host schema`: the contract languages as JSON Schema, for editors."""

import json

import click

from omnibase_infra.documents.language import host_schema, node_schema
from omnibase_infra.wiring import catalog


@click.command()
@click.argument("language", type=click.Choice(["node", "host"]))
def schema(language: str) -> None:
    """Print the JSON Schema of a contract language, for an editor.

    It knows the handlers that are installed here. An editor with a YAML language server completes and explains keys
    in a contract that starts with a line such as:

    \b
      # yaml-language-server: $schema=../schema/node.schema.json

    \b
    Example:
      runtime-host schema node > contracts/schema/node.schema.json
    """
    known = catalog()
    document = node_schema(known.handlers) if language == "node" else host_schema(known.handlers, known.bus)
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
