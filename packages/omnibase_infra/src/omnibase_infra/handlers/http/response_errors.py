"""When an exchange is an error of the `http` handler, and which one. Without I/O: tests of contracts ask here too."""

from collections.abc import Mapping

from pydantic_core import to_json

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.http.models import HttpRequest, HttpResponse
from omnibase_infra.http.retry_after import retry_after_s

_RETRYABLE_STATUSES = frozenset({408, 429, *range(500, 600)})
_UNDONE_STATUSES = frozenset({408, 429, 503})
"""With these a server says that it has not done what was asked: asking again repeats nothing."""
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be repeated (RFC 9110, section 9.2.2)."""
_EXCERPT_LENGTH_MAX = 500


def is_repeatable(method: str) -> bool:
    """Check whether a request of this method may be made again when nobody knows whether it was served."""
    return method in _IDEMPOTENT


def is_expected(status: int, expect: list[int] | None) -> bool:
    """Check whether a status is a result, by the rule at HttpRequest.expect."""
    return status not in _RETRYABLE_STATUSES if expect is None else status in expect


def status_error(
    what: str, request: HttpRequest, status: int, headers: Mapping[str, str], body: str, *, repeatable: bool
) -> HandlerError:
    """Return the error for a status that is no result."""
    expected = "" if request.expect is None else f", expected {' or '.join(str(it) for it in request.expect)}"
    return HandlerError(
        "http_status",
        f"{what}: status {status}{expected}",
        retryable=status in (_RETRYABLE_STATUSES if repeatable else _UNDONE_STATUSES),
        retry_after_s=retry_after_s(headers),
        details={"status": status, "body": body[:_EXCERPT_LENGTH_MAX]},
    )


def refusal(request: HttpRequest, response: HttpResponse) -> HandlerError | None:
    """Return the error that the handler raises in place of a response; None where it gives it."""
    if is_expected(response.status, request.expect):
        return None
    body = to_json(response.json_body).decode() if response.text is None else response.text
    repeatable = is_repeatable(request.method)
    return status_error(_what(request), request, response.status, response.headers, body, repeatable=repeatable)


def late(request: HttpRequest, timeout_s: float) -> HandlerError:
    """Return the error that the handler raises when the time is over."""
    message = f"{_what(request)}: not done within {timeout_s:g} s"
    return HandlerError("timeout", message, retryable=is_repeatable(request.method))


def _what(request: HttpRequest) -> str:
    return f"{request.method} {request.escaped_path}"
