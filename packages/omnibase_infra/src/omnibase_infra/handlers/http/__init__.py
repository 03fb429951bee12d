"""The `http` handler: a request to a target of the host contract, and its answer as a typed result.

Where a request goes is the host contract's affair alone (`HttpTarget`); what it says is the node's (`HttpRequest`).

    target, models      what contracts may write, in the words of `values`
    addresses           which addresses may be connected to
    messages, bodies    what goes over the wire, and where a reply may lead
    oauth2_tokens       credentials that are asked for
    exchange            redirects, reading within limits
    checks              what of a request can be known to be refused
    response_errors     when a reply is an error, and which
    client              the handler: checks addresses when it connects, reads pages, tells failures
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from pydantic import BaseModel

from omnibase_infra.handlers.http.checks import clashes_of_request, faults_of_request
from omnibase_infra.handlers.http.models import HttpRequest, HttpResponse
from omnibase_infra.handlers.http.response_errors import late, refusal
from omnibase_infra.handlers.http.target import HttpSettings, HttpTarget
from omnibase_spi import ErrorDescription, Handler, HandlerDescription, OperationDescription

__all__ = ["HttpHandlerFactory", "HttpRequest", "HttpResponse", "HttpSettings", "HttpTarget"]

_IF_SAFE = "unless a POST or PATCH may have been done"


class HttpHandlerFactory:
    """Makes the `http` handler: connections of its own for each target.

    `resolve` gives the addresses of a host name and a port; by default, the system is asked.
    """

    description = HandlerDescription(
        handler_type="http",
        operations={
            "request": OperationDescription(
                request=HttpRequest,
                result=HttpResponse,
                refusal=refusal,
                late=late,
                faults=faults_of_request,
                clashes=clashes_of_request,
            )
        },
        settings=HttpSettings,
        target=HttpTarget,
        errors={
            "http_status": ErrorDescription(
                "The server's status is none that the request expects.",
                retryable="5xx, 408 and 429; of a POST or PATCH 503, 408 and 429",
            ),
            "unreachable": ErrorDescription("There was no connection, or it broke off.", retryable=_IF_SAFE),
            "timeout": ErrorDescription("There was no connection, or no reply, in time.", retryable=_IF_SAFE),
            "protocol_error": ErrorDescription("The server's reply is not HTTP.", retryable=_IF_SAFE),
            "response_too_large": ErrorDescription(
                "The reply's body is larger than the target's `response_bytes_max`."
            ),
            "invalid_response": ErrorDescription(
                "The reply's body cannot be unpacked, or is not the JSON that its content type claims."
            ),
            "request_invalid": ErrorDescription("The request has no form in HTTP, or replaces a header of the target."),
            "host_not_allowed": ErrorDescription("The request names a host that the target does not allow."),
            "address_refused": ErrorDescription(
                "The name leads to an address that is not public, which the target does not allow."
            ),
            "redirect_refused": ErrorDescription(
                "A redirect leads out of the target, or is one more than the request follows."
            ),
            "page_refused": ErrorDescription("The address of the next page leads out of the target."),
            "token_refused": ErrorDescription(
                "The token server returns no token: perhaps the secret of `auth` is being changed.",
                retryable="where another secret may cure it",
            ),
            "token_unavailable": ErrorDescription("The token server could not answer.", retryable=True),
        },
    )

    def __init__(self, *, resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None) -> None:
        """Keep the resolver."""
        self._resolve = resolve

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:
        """Yield the handler; closing it closes its connections. Raises HandlerError for an unusable TLS file."""
        # httpcore takes long to import: `check` and `send`, which call nobody, do not wait for it.
        from omnibase_infra.handlers.http.client import http_handler, system_resolve

        assert isinstance(settings, HttpSettings)  # noqa: S101 - narrows the type; the registry validated it
        http_targets = {name: target for name, target in targets.items() if isinstance(target, HttpTarget)}
        resolve = self._resolve or system_resolve
        async with http_handler(settings=settings, targets=http_targets, resolve=resolve) as handler:
            yield handler
