"""What a call can end with instead of a result. Each says whether the command may still be served."""

from collections.abc import Mapping
from typing import Any

from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import BusError, OnexError


class CallFailed(OnexError):
    """The node answered with an error.

    - `code` and `message` are those of the answer.
    - `retryable` says whether the same command may succeed later.
    - `details` are what the node adds to the code, `answer` is the whole envelope.
    """

    def __init__(self, answer: OnexEnvelope) -> None:
        """Take the error out of an error answer."""
        error = answer.error
        assert error is not None  # noqa: S101 - made of error answers alone
        super().__init__(error.message)
        self.code = error.code
        self.retryable = error.retryable
        self.details: Mapping[str, Any] = error.details
        self.answer = answer


class NoAnswer(BusError):
    """The broker has the command, and no answer came in time. A host that takes it later answers `expired`."""

    code = "no_answer"


class NodeNotThere(BusError):
    """There is no topic of that node: none of its hosts has ever run here, or the name is wrong."""

    code = "node_not_there"
