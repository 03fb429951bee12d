"""When a reply is an error of the `consul` handler, and which. Without the client: tests of contracts ask here too."""

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.consul.operations import Operation
from omnibase_infra.rest import RestReply, RestRequest

_FORBIDDEN = (401, 403)
_UNDONE = frozenset({408, 429, 503})
"""With these the agent says that it has not done what was asked: asking again repeats nothing."""
_SERVER = range(500, 600)
_EXCERPT_LENGTH_MAX = 500
_NO_LEADER = ("no cluster leader", "no known consul servers", "raft: node is not the leader")
"""With these a 500 says that nobody could do it: an agent without a cluster, or one that votes."""
_NO_SESSION = ("invalid session",)


def refused(what: str, request: RestRequest, reply: RestReply, *, said: str) -> HandlerError:
    """Give the error for a status that is no result; `said` is the body, without secrets."""
    status, why = reply.status, said.strip()[:_EXCERPT_LENGTH_MAX]
    code, retryable = _verdict(status, why.lower(), repeatable=request.repeatable)
    message = f"{what}: status {status}" + (f": {why}" if why else "")
    return HandlerError(
        code,
        message,
        retryable=retryable,
        retry_after_s=reply.retry_after_s,
        details={"status": status, "body": why},
    )


def late(request: Operation, timeout_s: float) -> HandlerError:
    """Give the error that the handler raises when the time is over."""
    message = request.message(timeout_s)
    return HandlerError("timeout", f"{message}: not done within {timeout_s:g} s", retryable=message.repeatable)


def _verdict(status: int, said: str, *, repeatable: bool) -> tuple[str, bool]:
    if status in _FORBIDDEN:
        return "access_denied", False
    if status in _SERVER and any(words in said for words in _NO_SESSION):
        return "session_invalid", False
    if status in _SERVER and any(words in said for words in _NO_LEADER):
        return "no_leader", True
    if status in _UNDONE:
        return "server_busy", True
    if status in _SERVER:
        return "server_failed", repeatable
    return "request_refused", False
