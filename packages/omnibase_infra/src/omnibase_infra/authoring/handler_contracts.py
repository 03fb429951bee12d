"""The file of a handler's contract, `contract: handler/v1`. Pure."""

from omnibase_core.contracts.handler import handler_contract
from omnibase_core.ports import HandlerDescription
from omnibase_infra.authoring.formatting import formatted
from omnibase_infra.authoring.yaml_text import yaml_text

_HEAD = """\
# yaml-language-server: $schema=../schema/handler.schema.json
# Written by `runtime-host export handlers {name}`: change the handler, not this file.
"""


def handler_contract_text(handler: HandlerDescription) -> str:
    """Return the contract as the text of its file."""
    name = handler.handler_type
    return formatted(f"{name}.yaml", _HEAD.format(name=name) + yaml_text(handler_contract(handler)))
