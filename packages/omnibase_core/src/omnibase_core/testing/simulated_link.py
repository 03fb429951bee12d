"""A Kafka in virtual time: the way between one client and the broker, which takes time and may break."""

import asyncio
from collections.abc import Callable

from omnibase_core.testing.simulated_cluster import SimulatedCluster


class SimulatedLink:
    """Carries what one client and the broker send each other, each on a way of random length.

    Nothing arrives while the link is down or the broker away: it does so afterwards. Once `is_cut`, nothing ever does.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        """Be up."""
        self.is_cut = False
        self._cluster = cluster
        self._loop = asyncio.get_running_loop()
        self._down_until_s = 0.0

    @property
    def down_s(self) -> float:
        """For how long nothing will arrive, in seconds; 0 for now."""
        now_s = self._loop.time()
        return max(0.0, self._down_until_s - now_s, self._cluster.away_until_s - now_s)

    @property
    def is_broken(self) -> bool:
        """Whether the link itself is down, and not the broker."""
        return self.is_cut or self._down_until_s > self._loop.time()

    @property
    def way_s(self) -> float:
        """How long the next way takes."""
        return self._cluster.dice.between(0, self._cluster.faults.latency_s)

    def break_for(self, seconds: float) -> None:
        """Let nothing arrive for a while."""
        self._down_until_s = max(self._down_until_s, self._loop.time() + seconds)

    def send(self, then: Callable[[], None]) -> None:
        """Do something at the other end."""
        self._loop.call_later(self.way_s, self._pass, then)

    def _pass(self, then: Callable[[], None]) -> None:
        if self.is_cut:
            return
        if down_s := self.down_s:
            self._loop.call_later(down_s + self.way_s, self._pass, then)
        else:
            then()
