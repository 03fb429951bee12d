"""The `http` handler: one HTTP/1.1 request to a target of the host contract, and its answer as a typed result.

Where a request goes is the host contract's affair alone (`HttpTarget`); what it says is the node's (`HttpRequest`).
`models` holds what contracts may write, `verdicts` when a reply is an error, `client` does the I/O.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import BaseModel

from omnibase_infra.handlers.http.models import HttpRequest, HttpResponse, HttpSettings, HttpTarget
from omnibase_infra.handlers.http.verdicts import late, refusal
from omnibase_spi import Handler, HandlerDescription, OperationDescription

__all__ = ["HttpHandlerFactory", "HttpRequest", "HttpResponse", "HttpSettings", "HttpTarget"]


class HttpHandlerFactory:
    """Makes the `http` handler: one pool of connections for each target."""

    description = HandlerDescription(
        handler_type="http",
        operations={
            "request": OperationDescription(request=HttpRequest, result=HttpResponse, refusal=refusal, late=late)
        },
        settings=HttpSettings,
        target=HttpTarget,
        errors={
            "http_status": "The server's status is none that the request expects.",
            "unreachable": "There was no connection, or it broke off.",
            "timeout": "There was no connection, or no reply, in time.",
            "protocol_error": "The server's reply is no HTTP.",
            "response_too_large": "The reply's body is larger than the target's `response_bytes_max`.",
            "invalid_response": "The reply's body cannot be unpacked, or is not the JSON that it says it is.",
            "request_invalid": "The request has no form in HTTP, or replaces a header of the target.",
            "host_not_allowed": "The request names a host that the target does not allow.",
        },
    )

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:
        """Give the handler; closing it closes its connections. Raises HandlerError for an unusable `tls_ca_file`."""
        # httpx takes a quarter of a second to import: `check` and `send`, which call nobody, do not wait for it.
        from omnibase_infra.handlers.http.client import http_handler

        assert isinstance(settings, HttpSettings)  # noqa: S101 - narrows the type; the registry validated it
        http_targets = {name: target for name, target in targets.items() if isinstance(target, HttpTarget)}
        async with http_handler(settings=settings, targets=http_targets) as handler:
            yield handler
