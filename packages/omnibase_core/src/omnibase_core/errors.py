"""Every error of the system: one tree, each class named for its situation.

    OnexError
    ├── InvalidContracts          contracts with faults; carries every Problem
    ├── InvalidExpression         an expression that does not compile
    ├── InvalidTopicName          a name that is not one of ours
    ├── UndecodableEnvelope       bytes that are no envelope
    ├── CommandRejected           the sender's fault: answered, not dead-lettered
    ├── CommandFailed             a command at the end of its attempts: answered and dead-lettered
    │   ├── HandlerError          what a handler met in the outside world
    │   │   └── TargetBusy        a call that the host's own limits did not let through in time
    │   ├── FunctionInterrupted   a function that ran past its budget
    │   ├── StoreFailed           the store of recorded answers could not be asked
    │   ├── WorkerDied            a worker process that ended under a function
    │   ├── ImpureFunction        a function that was seen to do more than compute
    │   └── ExpressionFailed      an expression that could not be evaluated on this command
    ├── UnknownHandler            a handler type that nothing registered
    ├── StoreMissing              a node with idempotency, and no store for its answers
    ├── SecretMissing             a secret reference that nothing resolves
    ├── TransactionAborted        a transaction of which nothing happened; it may be tried again
    └── BusError                  the bus cannot go on
        └── PublishFailed         the broker refused a message for good

`code` is stable: programs may compare it. `retryable` says whether the same attempt may succeed later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Self

from omnibase_core.problem_codes import ProblemCode

CODE_LENGTH_MAX, _HALF_OF_A_TEXT = 200, 500
"""In characters. A megabyte of a command's own text in each message would fill the log, and `/health`."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a contract: where it is, what was found and what to write. Lines and columns count from 1.

    `code` is stable: programs may compare it. `width` is how many columns of the line are meant, from `column` on;
    `source` is that line as it is written, empty where there is none to show. `nearest` is the word to write in place
    of these columns, where one is near enough to be meant.
    """

    path: str
    line: int
    column: int
    message: str
    code: ProblemCode = field(kw_only=True)
    width: int = field(default=1, kw_only=True)
    nearest: str | None = field(default=None, kw_only=True, compare=False)
    source: str = field(default="", kw_only=True, compare=False, repr=False)

    def __str__(self) -> str:
        """`file:line:column: message`, the form that editors and terminals link."""
        return f"{self.path}:{self.line}:{self.column}: {self.message}"


class OnexError(Exception):
    """The root: catching it catches every error that this project raises on purpose."""

    code: str = "onex_error"
    retryable: bool = False
    quiet: str | None = None
    """What the log and `/health` are told where the message quotes values of a command; None where it does not."""


class InvalidContracts(OnexError):
    """Contracts with faults. All of them are collected before this is raised once."""

    code = "invalid_contracts"

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep the problems in the order of their places."""
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InvalidExpression(OnexError):
    """An expression that does not compile. `line` and `column` count from 1 within its `text`.

    `width` is how many characters of it are meant, `problem` the code under which a contract's fault is told, and
    `nearest` what was probably meant.
    """

    code = "invalid_expression"

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        line: int = 1,
        column: int = 1,
        width: int = 1,
        problem: ProblemCode = "bad-expression",
        nearest: str | None = None,
    ) -> None:
        """Take what is wrong and where in the expression."""
        self.text = text
        self.line = line
        self.column = column
        self.width = width
        self.problem: ProblemCode = problem
        self.nearest = nearest
        super().__init__(message)

    @classmethod
    def at(
        cls,
        message: str,
        *,
        text: str,
        offset: int,
        width: int = 1,
        problem: ProblemCode = "bad-expression",
        nearest: str | None = None,
    ) -> Self:
        """Return the error at so many characters from the start of the text."""
        before = text[:offset]
        line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
        return cls(message, text=text, line=line, column=column, width=width, problem=problem, nearest=nearest)

    @property
    def offset(self) -> int:
        """How many characters of the text are before the place."""
        before = self.text.split("\n")[: self.line - 1]
        return sum(len(line) + 1 for line in before) + self.column - 1


class InvalidTopicName(OnexError):
    """A topic name, or a part of one, that breaks the naming scheme."""

    code = "invalid_topic_name"


class UndecodableEnvelope(OnexError):
    """Bytes that are no envelope. `code` says why: `empty`, `not_json`, `not_an_object`, `unsupported_version`,
    `invalid_envelope`, `too_deep`, or `headers_unreadable` for a message that cannot be attributed without them.
    """

    def __init__(self, code: str, message: str) -> None:
        """Take which of the reasons it is."""
        self.code = code
        super().__init__(message)


class _Answered(OnexError):
    """What a command is answered with in place of a result.

    Its fields are checked where it is made, and by the engine, through `check`, once it was raised. A field of another
    type would end an attempt, a lane or an answer, far from whoever wrote it.
    """

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, details: Mapping[str, Any] | None = None
    ) -> None:
        """Take what it is, and whether the same may succeed later. Raises TypeError, ValueError."""
        if not isinstance(message, str):
            raise TypeError(f"message: found {type(message).__name__}, expected {str}")
        details = {} if details is None else details
        _check(code, retryable, details)
        self.code = code
        self.retryable = retryable
        self.details = dict(details)
        super().__init__(_cut(message))

    def check(self) -> None:
        """Raise TypeError or ValueError for a field that is off by now: whoever raises an error may have set it."""
        _check(self.code, self.retryable, self.details)


class CommandRejected(_Answered):
    """The command itself is at fault (off its schema, expired, unknown operation): it gets an error answer.

    Serving it again could not help, so it is not retried and gets no dead letter. `cause` is the code of the handler's
    failure for which the contract declares this error, or None: the log tells it, the sender is not told.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        details: Mapping[str, Any] | None = None,
        cause: str | None = None,
    ) -> None:
        """Take what is wrong with the command."""
        super().__init__(code, message, retryable=retryable, details=details)
        self.cause = cause


class CommandFailed(_Answered):
    """Serving the command failed: it gets an error answer and, at the end of its attempts, a dead letter too."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_s: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Take what failed, whether a later attempt may succeed, and in how many seconds the other side wants it."""
        super().__init__(code, message, retryable=retryable, details=details)
        _check_wait(retry_after_s)
        self.retry_after_s = retry_after_s

    def check(self) -> None:  # noqa: D102 - as above
        super().check()
        _check_wait(self.retry_after_s)

    @property
    def tells_of_trouble(self) -> bool:
        """Whether what was asked is not well, rather than what it was asked for: such failures open its breaker."""
        return self.retryable


class FunctionInterrupted(CommandFailed):
    """A function that ran past its budget. It is its own trouble: until it is let in again, its commands wait."""

    tells_of_trouble = True


class StoreFailed(CommandFailed):
    """The store of recorded answers could not be asked: nobody knows whether the command was served before."""

    def __init__(self, message: str) -> None:
        """Take what the store met."""
        super().__init__("idempotency_store_failed", message, retryable=True)


class WorkerDied(CommandFailed):
    """A worker process that ended under a function: until the node is let in again, its commands wait.

    Retryable where it was ended from outside, or another function of it may be the cause: what a function did to its
    process, it would do again.
    """

    tells_of_trouble = True


class ImpureFunction(CommandFailed):
    """A function that was seen to do more than compute, where functions are watched."""


class HandlerError(CommandFailed):
    """What a handler met in the outside world, translated from the vendor's own error."""


class TargetBusy(HandlerError):
    """A call that the host's own limits did not let through in time: the target was not asked.

    So it is no attempt, and tells nothing of how the target is. Its command waits, and asks again.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """Take which limit it was, and after how many seconds there may be a turn, if that is known."""
        super().__init__("target_busy", message, retryable=True, retry_after_s=retry_after_s)


class ExpressionFailed(CommandFailed):
    """An expression that could not be evaluated on this command."""

    def __init__(self, message: str, *, where: str) -> None:
        """Name the place of the expression in its contract."""
        super().__init__("expression_failed", f"{where}: {message}", details={"where": where})


class UnknownNode(OnexError):
    """A registry was asked for a node that it has not read."""

    code = "no_such_node"


class UnknownHandler(OnexError):
    """A node asks for a handler type that nothing registered."""

    code = "unknown_handler"


class StoreMissing(OnexError):
    """A node keeps its answers under a key, and its host has no store for them."""

    code = "store_missing"


class SecretMissing(OnexError):
    """A secret reference that nothing resolves."""

    code = "secret_missing"


class TransactionAborted(OnexError):
    """A transaction of which nothing happened, for a reason that may pass."""

    code = "transaction_aborted"
    retryable = True


class BusError(OnexError):
    """The bus cannot go on: the host has to stop, uncommitted work is delivered again after a restart."""

    code = "bus_failed"


class PublishFailed(BusError):
    """The broker refused a message for good.

    `code` is `message_too_large`, `unknown_topic`, `not_authorised` or `publish_refused`.
    """

    def __init__(self, code: str, message: str) -> None:
        """Take why the broker refused it."""
        self.code = code
        super().__init__(message)


def _check(code: object, retryable: object, details: object) -> None:
    if not (isinstance(code, str) and 0 < len(code) <= CODE_LENGTH_MAX):
        raise ValueError(f"code: found {_cut(repr(code))}, expected a text of 1 to {CODE_LENGTH_MAX} characters")
    for name, found, expected in (("retryable", retryable, bool), ("details", details, Mapping)):
        if not isinstance(found, expected):
            raise TypeError(f"{name}: found {type(found).__name__}, expected {expected}")


def _check_wait(retry_after_s: object) -> None:
    if retry_after_s is not None and not (isinstance(retry_after_s, int | float) and 0 <= retry_after_s < inf):
        raise ValueError(f"retry_after_s: found {_cut(repr(retry_after_s))}, expected seconds, or None")


def sendable(value: object) -> str:
    """Return a value as text that can be sent: what has no form in UTF-8 becomes a question mark. Never raises."""
    try:
        return str(value).encode(errors="replace").decode()
    except BaseException:  # noqa: BLE001 - `__str__` is anybody's code, and this is the last resort of every error
        return "(its text cannot be had)"


def quietly(error: OnexError) -> str:
    """Return the text of an error for the log and `/health`: no value of a command's payload stands in it."""
    return error.quiet or sendable(error)


def described(error: BaseException) -> str:
    """Return the class and the text of any exception, cut to what a log bears, whatever its code does. Never raises."""
    return f"{type(error).__name__}: {_cut(sendable(error))}"


def _cut(text: str) -> str:
    """Leave out the middle of what is too long for a log: a sender's own text may be most of it."""
    return text if len(text) <= 2 * _HALF_OF_A_TEXT else f"{text[:_HALF_OF_A_TEXT]} ... {text[-_HALF_OF_A_TEXT:]}"
