"""What an operation of `consul` is: a request, how it is written, how its reply is read and judged. Pure."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.consul.values import ConsulModel, Query
from omnibase_infra.http import RestReply, RestRequest

_FORBIDDEN = (401, 403)
_UNDONE = frozenset({408, 429, 503})
"""With these the agent says that it has not done what was asked: asking again repeats nothing."""
_SERVER = range(500, 600)
_EXCERPT_LENGTH_MAX = 500
_NO_LEADER = ("no cluster leader", "no known consul servers", "raft: node is not the leader")
"""With these a 500 says that nobody could do it: an agent without a cluster, or one that votes."""
_NO_SESSION = ("invalid session",)


Value = TypeVar("Value")
_OK = 200


class ConsulOperation(ConsulModel):
    """The request of one operation."""

    expects: ClassVar[frozenset[int]] = frozenset({_OK})
    """The statuses that `result` reads; every other is an error."""

    @abstractmethod
    def message(self, timeout_s: float) -> RestRequest:
        """Write the request; `timeout_s` is what the call has."""

    @abstractmethod
    def result(self, reply: "ConsulReply") -> ConsulModel:
        """Read a reply. Raises HandlerError `invalid_response`."""


@dataclass(frozen=True, slots=True)
class ConsulReply:
    """A reply to what was asked, read in the forms of Consul's API."""

    what: str
    reply: RestReply

    @property
    def is_ok(self) -> bool:
        """Whether it is what was asked for, and not one of the other statuses that the operation expects."""
        return self.reply.status == _OK

    @property
    def index(self) -> int:
        """The index of what was read; 0 where the reply has none."""
        said = self.reply.headers.get("x-consul-index", "")
        return int(said[:20]) if said.isascii() and said.isdigit() else 0

    @property
    def flag(self) -> bool:
        """Whether it was done: `true` or `false`."""
        return self.read(_FLAG)

    def read(self, form: TypeAdapter[Value]) -> Value:
        """Read the body in its form."""
        try:
            return form.validate_python(self.reply.json(self.what))
        except ValidationError as error:
            raise self.refused(error) from error

    def refused(self, error: ValidationError) -> HandlerError:
        """Return the error for a reply that a model refuses."""
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the reply"
        return self.broken(f"{where}: {fault['msg']}")

    def broken(self, why: str) -> HandlerError:
        """Return the error for a reply that is not what Consul documents."""
        return HandlerError("invalid_response", f"{self.what}: the reply is none of Consul's: {why}")


_FLAG = TypeAdapter(bool)


def read(operation: ConsulOperation, answer: ConsulReply) -> Mapping[str, Any]:
    """Return the result as JSON values. Raises HandlerError `invalid_response`, also for what no Consul would say."""
    try:
        return operation.result(answer).model_dump(mode="json", by_alias=True)
    except ValidationError as error:
        raise answer.refused(error) from error


def following(request: Any, result: Mapping[str, Any]) -> Query:
    """Return the query that waits for what comes after a result.

    An index that went back, as it does when a snapshot is restored, says nothing of what follows: the query starts
    over. An index of 0 would not wait at all.
    """
    assert isinstance(request, Query)  # noqa: S101 - narrows the type; only queries can be followed
    index: int = result["index"]
    went_back = index < (request.index or 0)
    return request.model_copy(update={"index": None if went_back else max(index, 1)})


def refused(what: str, request: RestRequest, reply: RestReply, *, said: str) -> HandlerError:
    """Return the error for a status that is no result; `said` is the body, without secrets."""
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


def late(request: ConsulOperation, timeout_s: float) -> HandlerError:
    """Return the error that the handler raises when the time is over."""
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
