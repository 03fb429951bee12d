"""Test gear that is public: a bus in memory and a clock that stands still. Real behaviour, no mocks."""

from omnibase_core.testing.clock import FixedClock
from omnibase_core.testing.memory_bus import MemoryBroker, MemoryBus
from omnibase_core.testing.observer import RecordingObserver

__all__ = ["FixedClock", "MemoryBroker", "MemoryBus", "RecordingObserver"]
