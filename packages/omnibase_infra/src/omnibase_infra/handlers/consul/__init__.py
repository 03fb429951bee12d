"""The `consul` handler: keys, services, health, sessions of a Consul agent, and waits for their changes.

Which agent a node asks, and as whom, is the host contract's affair alone (`ConsulTarget`).

    target                  what a host contract writes
    kv, services,           what contracts may ask, how it is written and read; in the words of `values`
    registration, sessions
    operations              what all of these have in common, how a query is followed, when a reply is an error
    client                  the handler
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from omnibase_infra.handlers.consul import kv, registration, services, sessions
from omnibase_infra.handlers.consul.operations import following, late
from omnibase_infra.handlers.consul.target import ConsulSettings, ConsulTarget
from omnibase_infra.handlers.consul.values import faults_of_keys
from omnibase_spi import ErrorDescription, Handler, HandlerDescription, OperationDescription

__all__ = ["ConsulHandlerFactory", "ConsulSettings", "ConsulTarget"]

_IF_SAFE = "unless it may have been done and must not be done again"


def _read(request: type[BaseModel], result: type[BaseModel]) -> OperationDescription:
    return OperationDescription(request=request, result=result, late=late, faults=_faults(request), following=following)


def _write(request: type[BaseModel], result: type[BaseModel]) -> OperationDescription:
    return OperationDescription(request=request, result=result, late=late, faults=_faults(request))


def _faults(request: type[BaseModel]) -> Callable[[Any], Iterable[Any]] | None:
    return None if request.model_fields.keys().isdisjoint({"key", "prefix"}) else faults_of_keys


class ConsulHandlerFactory:
    """Makes the `consul` handler: connections of its own for each target."""

    description = HandlerDescription(
        handler_type="consul",
        operations={
            "get": _read(kv.Get, kv.KvResult),
            "list": _read(kv.List, kv.KvEntries),
            "keys": _read(kv.ListKeys, kv.Keys),
            "put": _write(kv.Put, kv.Written),
            "delete": _write(kv.Delete, kv.Deleted),
            "delete_tree": _write(kv.DeleteTree, kv.Deleted),
            "acquire": _write(kv.Acquire, kv.Acquired),
            "release": _write(kv.Release, kv.Released),
            "services": _read(services.ListServices, services.Services),
            "instances": _read(services.ListInstances, services.Instances),
            "health": _read(services.ReadHealth, services.Health),
            "register": _write(registration.Register, registration.Registered),
            "deregister": _write(registration.Deregister, registration.Deregistered),
            "report": _write(registration.Report, registration.Reported),
            "create_session": _write(sessions.CreateSession, sessions.Created),
            "renew_session": _write(sessions.RenewSession, sessions.Renewed),
            "destroy_session": _write(sessions.DestroySession, sessions.Destroyed),
        },
        settings=ConsulSettings,
        target=ConsulTarget,
        errors={
            "access_denied": ErrorDescription("The agent does not let the host's token do this, or does not know it."),
            "session_invalid": ErrorDescription("There is no session of this id, or no longer."),
            "no_leader": ErrorDescription("The agent has no cluster that could answer just now.", retryable=True),
            "server_busy": ErrorDescription("The agent has too much to do.", retryable=True),
            "server_failed": ErrorDescription("The agent could not do it.", retryable=_IF_SAFE),
            "request_refused": ErrorDescription("The agent rejects the request as invalid."),
            "unreachable": ErrorDescription(
                "There was no connection to the agent, or it broke off.", retryable=_IF_SAFE
            ),
            "timeout": ErrorDescription("There was no connection, or no reply, in time.", retryable=_IF_SAFE),
            "protocol_error": ErrorDescription("The reply is not HTTP.", retryable=_IF_SAFE),
            "response_too_large": ErrorDescription("The reply is larger than the target's `response_bytes_max`."),
            "invalid_response": ErrorDescription(
                "The reply is none of Consul's, or a value has not the form that it is read as."
            ),
            "request_invalid": ErrorDescription("The request has no form in HTTP."),
        },
    )

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:  # noqa: ARG002 - there is nothing to set
        """Yield the handler; closing it closes its connections. Raises HandlerError for an unusable TLS file."""
        # The HTTP library takes long to import: `check` and `send`, which call nobody, do not wait for it.
        from omnibase_infra.handlers.consul.client import consul_handler

        agents = {name: target for name, target in targets.items() if isinstance(target, ConsulTarget)}
        async with consul_handler(agents) as handler:
            yield handler
