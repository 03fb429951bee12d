"""Commands and nodes for tests, made of the same parts that users write."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict

from omnibase_core.codec import decode, encode
from omnibase_core.contracts.catalog import Catalog, LoadedHost
from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.handlers.compute import COMPUTE_DESCRIPTION
from omnibase_core.handlers.local import LOCAL_DESCRIPTION
from omnibase_core.ports import ContractDocument, HandlerDescription, Message, OperationDescription, PureFunction


class AnyModel(BaseModel):
    """Takes anything."""

    model_config = ConfigDict(extra="allow")


SCRIPTED_DESCRIPTION = HandlerDescription(
    handler_type="scripted",
    operations={"do": OperationDescription(request=AnyModel, result=AnyModel)},
    settings=AnyModel,
    transactional=True,
)
"""A handler whose behaviour a test writes."""


def no_functions(name: str) -> PureFunction:
    """Find no function at all."""
    raise LookupError(f"there is no {name}")


def catalog(*more: HandlerDescription, import_function: Any = no_functions) -> Catalog:
    """Return the handlers of core, one that tests script, and more."""
    known = (LOCAL_DESCRIPTION, COMPUTE_DESCRIPTION, SCRIPTED_DESCRIPTION, *more)
    handlers = {it.handler_type: it for it in known}
    stores = {"memory": AnyModel}
    return Catalog(handlers=handlers, bus=AnyModel, import_function=import_function, stores=stores)


def registry(files: Mapping[str, str], *more: HandlerDescription, **options: Any) -> FileRegistry:
    """Load contracts from texts by file name; `more` are handlers that they may name."""

    def read(_: PurePath) -> Iterable[ContractDocument]:
        return [ContractDocument(PurePath(name), text) for name, text in files.items()]

    return FileRegistry(PurePath(), read, catalog(*more, **options))


def node(name: str, *, delivery: str = "{}", operations: str | None = None, handler: str = "scripted") -> str:
    """Write a node contract that hands its payload to a handler."""
    described = operations or '{do: {input: {type: object}, request: "${ payload }"}}'
    return f"""
contract: node/v1
name: {name}
kind: effect
version: 1.0.0
description: A node of a test.
handler: {handler}
operations: {described}
delivery: {delivery}
"""


ECHO = '{echo: {input: {type: object}, request: {message: "${ payload }"}, answer: "${ result.message }"}}'


def host(*nodes: str, limits: str = "{}", guarantee: str = "at_least_once") -> str:
    """Write a host contract."""
    return f"""
contract: host/v1
name: test-host
version: 1.0.0
description: A host of a test.
environment: dev
tenant: test
pool: pool
nodes: [{", ".join(nodes)}]
limits: {limits}
""" + ("" if guarantee == "at_least_once" else f"guarantee: {guarantee}\n")


def loaded_host(
    nodes: Mapping[str, str],
    *handlers: HandlerDescription,
    limits: str = "{}",
    guarantee: str = "at_least_once",
    more: str = "",
    **options: Any,
) -> LoadedHost:
    """Load a host of these node contracts and more handlers; `more` are further keys of its own."""
    files = {f"nodes/{name}.yaml": text for name, text in nodes.items()}
    written = host(*nodes, limits=limits, guarantee=guarantee) + more
    return registry({**files, "hosts/test.yaml": written}, *handlers, **options).hosts["test-host"]


def envelope(node_slug: str, payload: Mapping[str, Any] | None = None, **changes: Any) -> OnexEnvelope:
    """Make a command."""
    identity: UUID = changes.pop("envelope_id", None) or uuid4()
    return OnexEnvelope(
        envelope_version=ENVELOPE_VERSION,
        envelope_id=identity,
        correlation_id=identity,
        node_slug=node_slug,
        payload=dict(payload or {}),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        **changes,
    )


def command(
    topic: str, node_slug: str, payload: Mapping[str, Any] | None = None, *, key: bytes | None = None, **changes: Any
) -> Message:
    """Make a command as the message that carries it."""
    return Message(topic, key, encode(envelope(node_slug, payload, **changes)))


def payloads(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Read the payloads of answers."""
    return [decode(message.value).payload for message in messages]
