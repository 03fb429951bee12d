"""The one guard around one command: whatever escapes from serving it becomes a dead letter of bytes alone.

A node's own errors are answered where they arise. What gets here is a fault of the engine, or an error whose own code
fails; either must cost no more than its command, since a lane that ended by it would hold all that follow for ever.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from omnibase_core.dead_letters import size_of
from omnibase_core.engine.in_flight import Assignment, InFlightCommand, Run
from omnibase_core.engine.instance import NodeInstance, is_cancelled
from omnibase_core.engine.nodes import HostedNodes
from omnibase_core.ports import Delivery, Message

TURN_S = 0.05
"""For so long commands of nodes that await nothing are served in one turn of the event loop."""
_MOMENT_S = 0.001
"""For so long the commands of a run share a moment: to write one down costs as much as a field of an answer."""


def serve_run(
    roster: HostedNodes,
    assignment: Assignment,
    instance: NodeInstance,
    deliveries: deque[Delivery],
    *,
    room_bytes: int,
    until_s: float,
) -> Run:
    """Serve the commands of one partition in front, of a node that awaits nothing, while there is room, and time."""
    run = Run(assignment, instance)
    partition, events = deliveries[0].partition, instance.replies.events
    clock, size_bytes = instance.clock, 0
    now, read_s = clock.now(), clock.monotonic_s()
    while deliveries and (delivery := deliveries[0]).partition is partition and size_bytes < room_bytes:
        deliveries.popleft()
        try:
            messages = instance.serve_inline(delivery, now)
        except BaseException as error:  # noqa: BLE001 - nothing is awaited here, so that nobody can have cancelled it
            work = InFlightCommand(delivery, instance, assignment, origin=delivery)
            messages = roster.raw_letter(work, error)
        run.deliveries.append(delivery)
        run.answers.append(messages)
        run.offsets.append(delivery.offset)
        size_bytes += size_of(delivery)
        for message in messages:
            size_bytes += size_of(message)
        if messages[-1].topic is not events:
            run.letters += 1
            if not instance.serves_at_once:
                break  # Its breaker has opened.
        if (time_s := clock.monotonic_s()) >= until_s:
            break
        if time_s - read_s > _MOMENT_S:
            now, read_s = clock.now(), time_s
    run.size_bytes = size_bytes
    return run


def serve_at_once(roster: HostedNodes, work: InFlightCommand) -> None:
    """Serve a command that is done as soon as it is taken: what it waits for is the broker alone."""
    work.in_line = False
    work.assignment.active += 1
    try:
        work.messages = work.messages or work.instance.serve_inline(work.delivery, work.instance.clock.now())
    except BaseException as error:  # noqa: BLE001 - nothing is awaited here, so that nobody can have cancelled it
        work.messages = roster.raw_letter(work, error)
    work.size_bytes = size_of(work.delivery)
    for message in work.messages:
        work.size_bytes += size_of(message)


async def serve(
    roster: HostedNodes, work: InFlightCommand, *, is_ending: Callable[[], bool]
) -> Sequence[Message] | None:
    """Return the messages that end the work; None when its partition is leaving: its next owner does the work.

    Raises CancelledError where the engine is at its end, which `is_ending` says, and nothing else.
    """
    assignment = work.assignment
    if assignment.leaving.is_set():
        return None
    assignment.active += 1
    try:
        serving = roster.attempts(work)
        # What is left to another host goes on as it came; all else is served as it was first delivered.
        delivery = work.origin if work.stray is None else work.delivery
        messages = await serving.serve(delivery, work, work.tried)
    except BaseException as error:
        # The engine cancels what it serves at its own end alone, not when a partition leaves. Any other cancellation
        # comes from the handler itself: to let it end the lane would end one host after the other with this command.
        if is_cancelled(error) and is_ending():
            raise
        _take_back_cancellations()
        messages = roster.raw_letter(work, error)
    if messages is None:
        assignment.active -= 1
    return messages


def _take_back_cancellations() -> None:
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
