"""What went wrong between the handler and a server, as HandlerErrors. Without any vendor's library."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from omnibase_core.errors import HandlerError
from omnibase_core.ports import ErrorDescription
from omnibase_infra.http.retry_after import retry_after_s

_EXCERPT_LENGTH_MAX = 500
_OK = 200
_AGAIN_STATUSES = frozenset({408, 409, 425, *range(500, 600)})
_REFUSED_TYPES = frozenset(
    {"invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large"}
)
"""Errors within an answer that has begun, by Anthropic's names, that another attempt would meet again."""

ERRORS: Mapping[str, ErrorDescription] = {
    "unreachable": ErrorDescription("There was no connection, or it broke off.", retryable=True),
    "timeout": ErrorDescription("There was no answer in time, or none of its tokens for too long.", retryable=True),
    "protocol_error": ErrorDescription(
        "The response does not have the form of the API, or not all of one.", retryable=True
    ),
    "rate_limited": ErrorDescription("The server wants fewer requests or tokens in this time.", retryable=True),
    "quota_exhausted": ErrorDescription("The account at the server has nothing left."),
    "server_error": ErrorDescription("The server failed, or is overloaded.", retryable=True),
    "unauthorized": ErrorDescription("The server does not take the API key, or not for this."),
    "refused": ErrorDescription("The server does not take the request."),
    "response_too_large": ErrorDescription("The answer is larger than the target's `answer_bytes_max`."),
    "output_invalid": ErrorDescription("The model returned no answer that matches the schema in any attempt."),
    "over_budget": ErrorDescription(
        "What the host contract lets be spent in a window is spent, or reserved for calls under way."
    ),
    "model_not_allowed": ErrorDescription("The request names a model that the target does not list."),
    "not_offered": ErrorDescription("The target's API has no such operation."),
    "request_invalid": ErrorDescription("The request names no target of the host contract."),
}


def status_error(
    what: str, *, status: int, headers: Mapping[str, str], body: object, secret: str | None
) -> HandlerError:
    """Return the error for a status that is no success, or for an error that came in the middle of an answer."""
    kinds = set(_kinds(body))
    text = body if isinstance(body, str) else to_json(body, fallback=str).decode()
    excerpt = redacted(text, secret)[:_EXCERPT_LENGTH_MAX]
    code, retryable = _verdict(status, kinds)
    told = "an error within the answer" if status == _OK else f"status {status}"
    return HandlerError(
        code,
        f"{what}: {told}: {excerpt}",
        retryable=retryable,
        retry_after_s=retry_after_s(headers) if retryable else None,
        details={"status": status, "body": excerpt},
    )


def redacted(text: str, secret: str | None) -> str:
    """Return a text without the API key: servers and vendors like to repeat what they were sent."""
    return text.replace(secret, "***") if secret else text


def late(what: str, timeout_s: float) -> HandlerError:
    """Return the error for a call that was not done in its time."""
    return HandlerError("timeout", f"{what}: not done within {timeout_s:g} s", retryable=True)


def _verdict(status: int, kinds: set[str]) -> tuple[str, bool]:
    if status in (401, 403):
        return "unauthorized", False
    if "insufficient_quota" in kinds:
        return "quota_exhausted", False
    if status == 429 or "rate_limit_error" in kinds:
        return "rate_limited", True
    if status in _AGAIN_STATUSES or (status == _OK and not kinds & _REFUSED_TYPES):
        return "server_error", True
    return "refused", False


def _kinds(body: object) -> list[str]:
    """Return the names by which a body tells its error: OpenAI's stand at the top, Anthropic's below `error`."""
    if not isinstance(body, Mapping):
        return []
    inner: Any = body.get("error")
    named = [
        body.get("type"),
        body.get("code"),
        *([inner.get("type"), inner.get("code")] if isinstance(inner, Mapping) else []),
    ]
    return [name for name in named if isinstance(name, str)]
