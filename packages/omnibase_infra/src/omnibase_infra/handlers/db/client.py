"""What the `db` handler does: a transaction for each call, on a connection of the target's pool."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.db.connections import OpenTarget, opened_target
from omnibase_infra.handlers.db.models import DbTarget
from omnibase_infra.handlers.db.work import Result, work_of


@asynccontextmanager
async def db_handler(targets: Mapping[str, DbTarget]) -> AsyncIterator["DbHandler"]:
    """Give the handler with a pool for each target; no connection is waited for. Raises InvalidDsn."""
    async with AsyncExitStack() as stack:
        opened = {
            name: await stack.enter_async_context(opened_target(name, target)) for name, target in targets.items()
        }
        yield DbHandler(opened)


class DbHandler:
    """Does statements on the targets. A Handler; used concurrently, and usable after any cancellation.

    Raises HandlerError by a code of `verdicts.MEANINGS`, with the server's SQLSTATE and the constraint in `details`:

    - retryable, since nothing was done: `timeout`, `lock_timeout`, `unreachable`, `credentials_refused`,
      `pool_exhausted`, `connection_lost`, `overloaded`, `serialization_failure`, `deadlock_detected`.
    - retryable where the call reads only or is marked idempotent: `commit_unknown`.
    - not retryable: all others.
    """

    def __init__(self, targets: Mapping[str, OpenTarget]) -> None:
        """Hold the opened targets by the names under which nodes know them."""
        self._targets = targets

    async def execute(self, call: HandlerCall, /) -> Result:
        """Do what the request says in one transaction, and give what came of it."""
        opened = self._targets.get(call.target or "")
        if opened is None:
            raise HandlerError("request_invalid", f"there is no db target {call.target!r}")
        return await opened.transact(work_of(call), timeout_s=call.timeout_s)
