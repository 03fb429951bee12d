"""When calls are over that all have the same time: one timer serves all of them."""

import asyncio


class Deadline:
    """One call's. `passed` once its task was cancelled for it."""

    __slots__ = ("cancelling", "ends_s", "passed", "task")

    def __init__(self, task: "asyncio.Task[object]", ends_s: float) -> None:
        """Begin; `ends_s` is a moment of the loop's clock."""
        self.task = task
        self.ends_s = ends_s
        self.passed = False
        self.cancelling = task.cancelling()

    def is_why(self, error: BaseException | None) -> bool:
        """Take back what the deadline did to the task, if it has passed. True where the error comes from it alone.

        As asyncio.timeout has it: where somebody else cancels the task, too, that counts.
        """
        if not self.passed:
            return False
        return self.task.uncancel() <= self.cancelling and isinstance(error, asyncio.CancelledError)


class Deadlines:
    """Cancels the tasks whose calls take longer than `timeout_s` seconds: calls are over in the order they began in."""

    __slots__ = ("_calls", "_loop", "_timeout_s", "_timer")

    def __init__(self, timeout_s: float) -> None:
        """Watch nothing yet."""
        self._timeout_s = timeout_s
        self._calls: dict[Deadline, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """Watch a call of the current task from now on, until `end`."""
        # To ask for the loop is a call to the system; all calls of a node are made on the same one.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - narrows the type: calls are made in tasks
        deadline = Deadline(task, loop.time() + self._timeout_s)
        self._calls[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.ends_s, self._look)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Watch the call no longer."""
        self._calls.pop(deadline, None)

    def _look(self) -> None:
        """End what is over, and come again when the next one is."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._calls:
            first = next(iter(self._calls))
            if first.ends_s > loop.time():
                self._timer = loop.call_at(first.ends_s, self._look)
                return
            del self._calls[first]
            first.passed = True
            first.task.cancel()
