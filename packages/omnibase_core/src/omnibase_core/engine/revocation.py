"""A command's place in a partition that may leave, and waiting that ends at once when it does."""

import asyncio
from typing import Protocol


class CommandPosition(Protocol):
    """Where a command stands, as long as its partition is this host's."""

    @property
    def leaving(self) -> asyncio.Event:
        """Set when the partition is about to leave: nothing is begun any more."""

    def is_closed(self) -> bool:
        """Check whether the partition is another host's by now: nothing counts any more."""

    def is_first(self) -> bool:
        """Check whether everything before the command is done, so that what follows waits for it alone."""


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for so long, or until the event is set; say whether it is."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
